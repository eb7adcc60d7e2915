"""Forecaster: fit recurrent networks to time series, and say what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from xprnn.arguments import among, optional, probability, real_number, several, size, whole_number
from xprnn.backend import Rng
from xprnn.data.series import as_series
from xprnn.data.table_form import TableForm
from xprnn.distributed.work import check_executor
from xprnn.estimators.estimator import TRAINING, no_target
from xprnn.estimators.metrics import r_squared
from xprnn.estimators.series.backtest import Backtest, Informed, backtest
from xprnn.estimators.series.baselines import SeriesForecaster
from xprnn.estimators.series.learning import LIKELIHOODS
from xprnn.estimators.series.model import learn_model, learn_more
from xprnn.estimators.series.network import Members
from xprnn.estimators.series.panel import Kind, Panel, names_of, read
from xprnn.estimators.series.saved import common_of
from xprnn.estimators.series.series_estimator import INSIDE, LEAST_LEARNED, SeriesEstimator, periods_of
from xprnn.train import Callback, Checkpoint
from xprnn.train.communicator import Communicator

Host = np.ndarray[Any, Any]
FUTURES = 1000  # that quantiles are taken of


class Forecaster(SeriesEstimator):
    """Forecasts of one or several columns, of one or several series, from their recent past and the season.

    Several members are combined. Each makes the series ready in its own way, with a power and differences that it
    takes back at the end, has a linear autoregression, and a recurrent network that learns what that leaves over.
    Which ways are taken is found out on the last part of the series, by the autoregressions alone; a network is
    listened to where it is better on steps that it was not trained on. All columns are inputs, and all are forecast.

    Values may be missing (NaN): the last known one stands for them, beside how long ago it was, and errors of steps
    that nobody knows do not count.

    >>> forecaster = Forecaster(cell="lstm", periods=(365.25,), seed=0).fit(series)  # doctest: +SKIP
    >>> forecaster.predict(7)  # the next seven steps, in the units of the series  # doctest: +SKIP

    Parameters
    ----------
    cell
        "lstm", "gru", "rnn", "indrnn", "gru_reset_before", "lstm_peephole", "lstm_peephole_full",
        "gru_layer_norm", "lstm_layer_norm", "mgu", "slstm", "ctrnn", "antisymmetricrnn", "mingru", "minlstm",
        "qrnn", "sru", "lmu", "mlstm", "lru" or "s5".
    hidden, layers
        Hidden units of each layer; layers.
    window
        Steps of the past that a forecast sees. Default: as many as the transforms and autoregressions that are chosen
        need, and 30 at least, where the series are long enough.
    horizon, strategy
        "recursive": the networks say one step, and their own forecast is the input for the next; any number of steps.
        "direct": they say ``horizon`` steps at once. ``horizon`` must be 1 for the recursive strategy.
    periods
        Lengths of seasons in steps, counted from the start of the series.
    transforms
        "auto": logarithms or square roots (of series above 0), differences and differences of seasons are tried.
        "none": the series is only scaled.
    members
        How many forecasts are combined. They differ by their transforms and lags, and by their seeds.
    distribution
        Of a step, from which futures are drawn. "errors": those that each member made on the validation part, and
        networks learn the mean squared error. "gaussian", "student": networks say a scale beside the mean, which may
        change from step to step, and learn how likely the series is by a normal or Student's t distribution.
    epochs, batch_size, learning_rate, clip_norm
        Training with Adam, gradients clipped to this global norm. Where there is more to learn from than 4,096 steps,
        an epoch is so many of them, drawn anew.
    validation, patience
        The share of the series, at its end, that decides how long training is best, and measures errors; training stops
        after ``patience`` epochs without a better error on it. Then all is learned anew from the whole series, for as
        many epochs. ``validation=0`` trains on everything, to the end, and has no intervals.
    seed, random_state
        Same seed, same numbers. ``random_state``, where given, counts instead: a seed, or a generator to draw it.
    dtype, backend
        Of the networks; default: where ``use_backend`` says.
    progress
        Whether ``fit`` shows progress bars.

    Raises ValueError or TypeError for arguments out of range.
    """

    SETTINGS = TRAINING | {
        "window": optional(size),
        "horizon": size,
        "strategy": among(("recursive", "direct")),
        "periods": periods_of,
        "transforms": among(("auto", "none")),
        "members": size,
        "distribution": among(("errors", *LIKELIHOODS)),
        "batch_size": whole_number,
        "patience": whole_number,
    }

    def __init__(
        self,
        cell: str = "lstm",
        *,
        hidden: int = 32,
        layers: int = 1,
        window: int | None = None,
        horizon: int = 1,
        strategy: str = "recursive",
        periods: Sequence[float] = (),
        transforms: str = "auto",
        members: int = 4,
        distribution: str = "errors",
        epochs: int = 40,
        batch_size: int = 64,
        learning_rate: float = 3e-3,
        clip_norm: float = 1.0,
        validation: float = 0.15,
        patience: int = 6,
        seed: int = 0,
        random_state: Any = None,
        dtype: str = "float32",
        backend: str | None = None,
        progress: bool = False,
    ) -> None:
        super().__init__(locals())
        if strategy == "recursive" and horizon != 1:
            raise ValueError(
                f"Forecaster: horizon is {horizon}; expected 1, as the recursive strategy learns one step, and "
                "predict(k) goes as far as you like; use strategy='direct' to learn several steps at once"
            )

    @property
    def n_features_in_(self) -> int:
        """The columns of the fitted series."""
        return int(self._of_fit("n_features_in_").columns)

    @property
    def window_(self) -> int:
        """The steps that a forecast sees, given or chosen."""
        self._of_fit("window_")
        return self._model.window

    def fit(
        self,
        series: Any,
        y: None = None,
        *,
        past: Any = None,
        future: Any = None,
        callbacks: Sequence[Callback] = (),
        communicator: Communicator | None = None,
        executor: Executor | None = None,
    ) -> Forecaster:
        """Learn from a series (T,) or (T, F) of any backend, a table of numbers, or a :class:`Panel`. Returns itself.

        ``past`` (T, P) is known of each step when it has come, and ``future`` (T, Q) before: a plan, a price, the
        weather forecast. Of several series they are a dict or a list, as these are. There is no ``y``, which
        scikit-learn's pipelines give as None: all columns are forecast.

        ``communicator`` is that of several processes which make the same call with the same data, as
        :func:`xprnn.distributed.world` gives it: they train one model together. With
        an ``executor`` of :mod:`concurrent.futures` members are learned side by side, to the same bits, and no progress
        is shown; threads call callbacks at the same time, and what these note in processes stays there.

        Raises ValueError for a series that is too short or has infinite values, and FloatingPointError if training
        diverges; a forecaster that was fitted before is then as it was.
        """
        no_target("Forecaster.fit", y)
        given = series if isinstance(series, Panel) else as_series(series, "Forecaster", gaps=True)
        vector = np.ndim(series) == 1 and isinstance(given, np.ndarray) and given.shape[1] == 1
        beside = {} if isinstance(given, Panel) else {"steps": series, "past": past, "future": future}
        names = {name: names_of(table, f"Forecaster: {name}") for name, table in beside.items()}
        one = Kind(None, False, vector, TableForm.of(series, "Forecaster"), names)
        kind, values, static = read("Forecaster", given, one, past, future)
        new = self._unfitted(communicator)
        check_executor("Forecaster.fit", executor)
        if executor is not None and communicator is not None and communicator.size > 1:
            raise ValueError("Forecaster.fit: executor and communicator are both given; expected at most one")
        for k, each in enumerate(values):
            new._require_steps(kind.shown("Forecaster", k), len(each))
        callbacks = several("Forecaster.fit", "callbacks", callbacks)
        if any(isinstance(callback, Checkpoint) and callback.resume for callback in callbacks):
            raise ValueError("Forecaster.fit: a Checkpoint that resumes is of one training; expected none, of several")
        common, progress = common_of(values, static, new.settings["periods"]), self.progress and executor is None
        model, history = learn_model(
            common, values, new.settings, new._cut, self._home(), callbacks, progress, communicator, executor
        )
        network = Members([member.network for member in model.members])
        network.eval()
        recent = tuple(each.part(len(each) - model.window, len(each)) for each in values)
        fitted = {"_network": network, "_training": history, "_model": model, "_common": common}
        self._become(**vars(new) | fitted | {"_recent": recent, "_kind": kind})
        return self

    def observe(self, steps: Any, *, past: Any = None, future: Any = None) -> Forecaster:
        """Take note of what came after the fitted series, without learning from it: ``predict`` goes on from there.

        steps (N,) or (N, F), with ``past`` and ``future`` of these steps where they were fitted; of several series a
        dict or a list of them. Returns itself.
        """
        self._become(_recent=self._ends_of(self._joined("Forecaster.observe", steps, past, future)))
        return self

    def update(
        self, steps: Any, *, past: Any = None, future: Any = None, epochs: int = 1, callbacks: Sequence[Callback] = ()
    ) -> Forecaster:
        """Learn from what came after the fitted series too, and go on from there. Returns itself.

        Arguments as in :meth:`observe`. Autoregressions are those of all steps that were ever learned, old and new;
        networks are trained on with the new ones, for so many ``epochs``; transforms, lags, scales and what is known of
        errors stay. Raises what :meth:`observe` and training do; the forecaster is then as it was.
        """
        whole = self._joined("Forecaster.update", steps, past, future)
        epochs = whole_number("Forecaster.update", "epochs", epochs)
        model = learn_more(self._model, whole, self.settings, epochs, callbacks, self.progress)
        network = Members([member.network for member in model.members])
        network.eval()
        self._become(_model=model, _network=network, _recent=self._ends_of(whole))
        return self

    def predict(
        self, horizon: int | None = None, *, future: Any = None, quantiles: Sequence[float] | None = None
    ) -> Any:
        """The steps after the fitted series, and what was observed since, in the units of the series.

        Returns (horizon,) or (horizon, F), as the fitted series was, of several series a dict or a list of them; for a
        frame or a column of pandas or polars, or a table of Arrow, one of that kind, with the dates that come next (but
        arrays where the model comes from a file).
        Default horizon: the one the networks were built for, which is the most that the direct strategy can say.
        ``future`` (horizon, Q) is what is known of these steps, where it was fitted. With ``quantiles`` (Q,) between 0
        and 1 those of a thousand futures that might be, (horizon, Q) or (horizon, F, Q).
        """
        if quantiles is not None:
            levels = self._levels(quantiles)
            futures = self._paths("Forecaster", horizon, FUTURES, future, self.settings["seed"])
            return self._kind.answer(list(np.moveaxis(np.quantile(futures, levels, axis=0), 0, -1)))
        horizon, series = self._ahead("Forecaster", horizon, future)
        found = list(self._ends(series, horizon))
        if self._kind.table is not None:
            return self._kind.table.made(found[0], series[0].start + len(series[0]))
        return self._kind.answer(found)

    def sample(self, paths: int = 100, horizon: int | None = None, *, future: Any = None, rng: Rng = None) -> Any:
        """Futures that might be, (paths, horizon) or (paths, horizon, F) of each series.

        Each is a way that a member goes step by step, at each with a draw from its ``distribution``.
        """
        found = self._paths("Forecaster.sample", horizon, size("Forecaster.sample", "paths", paths), future, rng)
        return self._kind.answer(list(np.moveaxis(found, 1, 0)), columns=2)

    def intervals(self, horizon: int | None = None, *, coverage: float = 0.9, future: Any = None) -> Any:
        """The ends of an interval around each forecast, (horizon, 2) or (horizon, F, 2) of each series.

        Split conformal: as wide as held the share ``coverage`` of the errors on the validation part, at as many steps
        ahead, on the scale of the first member's power. Raises ValueError for more steps than errors were measured
        over, for fewer errors than the coverage needs, and with ``validation=0``.
        """
        owner = "Forecaster.intervals"
        level = real_number(owner, "coverage", coverage, "a share between 0 and 1", *INSIDE)
        horizon, series = self._ahead(owner, horizon, future)
        self._require_errors(owner, horizon)
        widths = self._model.widths(horizon, level)
        if not np.isfinite(widths).all():
            few = int((~np.isnan(self._model.errors[:, :horizon])).sum(axis=0).min())
            raise ValueError(f"{owner}: coverage is {level:g}, with as few as {few} errors to learn it from")
        return self._kind.answer(list(self._model.bands(np.arange(len(series)), self._ends(series, horizon), widths)))

    def rolling_intervals(
        self,
        series: Any,
        origins: Any,
        horizon: int,
        *,
        coverage: float = 0.9,
        rate: float = 0.02,
        past: Any = None,
        future: Any = None,
    ) -> Host:
        """The ends of intervals (M, horizon, F, 2) about forecasts from rising origins (M,), adaptive.

        At each origin the errors on the validation part count, and those of the origins before it that are known by
        then. After each miss intervals become wider, and after each hit a little narrower, so that in the long run the
        share ``coverage`` is inside (Gibbs and Candes 2021); ``rate`` 0 leaves that out. Other arguments as in
        :meth:`forecast`, errors as there and in :meth:`intervals`; infinite where there are too few errors.
        """
        owner = "Forecaster.rolling_intervals"
        level = real_number(owner, "coverage", coverage, "a share between 0 and 1", *INSIDE)
        whole, places, horizon = self._places(owner, series, origins, horizon, past, future)
        if (np.diff(places) <= 0).any():
            raise ValueError(f"{owner}: origins are {places.tolist()}; expected each after the one before it")
        self._require_errors(owner, horizon)
        return self._model.rolling_bands(whole, places, horizon, level, probability(owner, "rate", rate))

    def forecast(self, series: Any, origins: Any, horizon: int, *, past: Any = None, future: Any = None) -> Host:
        """Forecasts from many places: (M, horizon, F) from series[:origin] for each of the origins (M,).

        ``past`` and ``future`` (T, P) and (T, Q) of all steps of this series, where they were fitted.
        """
        whole, places, horizon = self._places("Forecaster.forecast", series, origins, horizon, past, future)
        return self._model.forecast([whole], np.zeros(len(places), dtype=np.int64), places, horizon)

    def score(self, series: Any, y: None = None) -> float:
        """R^2 = 1 - sum of e^2 / sum of (y - mean)^2 of all forecasts in a series, the mean of its columns.

        Each forecast sees the steps of this series before it, a window at least, and goes ``horizon`` steps ahead; 1
        is perfect, 0 is what the mean says. Raises ValueError for a series with less than two steps to forecast.
        """
        no_target("Forecaster.score", y)
        self._fitted(self._network)
        values, horizon, window = as_series(series, "Forecaster.score"), self.settings["horizon"], self._model.window
        origins = np.arange(window, len(values) - horizon + 1)
        if len(origins) < LEAST_LEARNED:
            least = window + horizon + LEAST_LEARNED - 1
            raise ValueError(f"Forecaster.score: the series has {len(values)} steps; expected at least {least}")
        actual = values[origins[:, None] + np.arange(horizon)]
        return r_squared(*(a.reshape(-1, values.shape[1]) for a in (actual, self.forecast(series, origins, horizon))))

    def backtest(
        self,
        series: Any,
        *,
        test: float | int = 0.2,
        horizon: int | None = None,
        baselines: Sequence[SeriesForecaster] = (),
        past: Any = None,
        future: Any = None,
        refit: str | int = "never",
        executor: Executor | None = None,
    ) -> Backtest:
        """Fit on the first part of a series and forecast from every step of the rest, beside baselines.

        ``past`` and ``future`` are this forecaster's alone. Other arguments and errors as in
        :func:`xprnn.estimators.backtest`.
        """
        horizon = self.settings["horizon"] if horizon is None else horizon
        told = self if past is None and future is None else Informed(self, past, future)
        baselines = several("Forecaster.backtest", "baselines", baselines)
        return backtest([told, *baselines], series, test=test, horizon=horizon, refit=refit, executor=executor)
