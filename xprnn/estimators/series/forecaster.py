"""Forecaster: fit recurrent networks to time series, and say what comes next."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from xprnn.arguments import among, optional, real_number, several, size, whole_number
from xprnn.data.gaps import calendars_of
from xprnn.data.series import as_series
from xprnn.data.table_form import TableForm
from xprnn.distributed.work import check_executor
from xprnn.estimators.estimator import TRAINING, no_target
from xprnn.estimators.series.conformal import INSIDE
from xprnn.estimators.series.distributions import DISTRIBUTIONS
from xprnn.estimators.series.kind import Kind, names_of, read
from xprnn.estimators.series.model import learn_model, learn_more
from xprnn.estimators.series.named import by_names
from xprnn.estimators.series.network import Members
from xprnn.estimators.series.panel import Panel, dates_of_rows, is_vector
from xprnn.estimators.series.rolling import RollingForecaster
from xprnn.estimators.series.saved import common_of
from xprnn.estimators.series.series_estimator import periods_of
from xprnn.randomness import Rng
from xprnn.train import Callback, Checkpoint
from xprnn.train.communicator import Communicator

Host = np.ndarray[Any, Any]
FUTURES = 1000  # from which quantiles are taken


class Forecaster(RollingForecaster):
    """Forecasts of one or several columns, of one or several series, from their recent past and the season.

    Several members are combined. Each transforms the series in its own way, by a power and differences that are undone
    at the end, and is a linear autoregression and a recurrent network that learns what the autoregression leaves over.
    The transforms are chosen on the last part of the series, by the autoregressions alone. A network is used where it
    is better on steps held out, and a member that is surely worse than another there is dropped. All columns are
    inputs, and all are forecast.

    Values may be missing (NaN): the last known one stands for them, beside how long ago it was, and errors of missing
    steps do not count.

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
        Steps of the past that a forecast sees. Default: as many as the chosen transforms and autoregressions need, and
        at least 30, where the series are long enough.
    horizon, strategy
        How many steps ahead are forecast by default, and for how many at least errors are measured for intervals, as
        far as the validation part reaches. "recursive": networks forecast one step, which is then the input for the
        next, as far ahead as you like. "direct": they forecast ``horizon`` steps at once, and no more.
    periods
        Lengths of seasons in steps, counted from the start of the series.
    transforms
        "auto": logarithms or square roots (of series above 0), differences and differences of seasons are tried.
        "none": the series is only scaled.
    members
        How many members are combined at most. They differ in transforms and lags, and in seeds. Default: 4, and 2 for
        ten series or more, since what is learned from many differs little.
    distribution
        The distribution of a step, from which futures are drawn. "errors": networks learn the mean squared error, and
        futures repeat errors that each member made on the validation part. "gaussian", "student": networks also give a
        scale, which may change from step to step, and learn the likelihood of a normal or Student's t distribution.
        "negative_binomial": for counts, 0, 1, 2, ...; networks give a dispersion, forecasts are above 0, futures are
        whole numbers, and the series is only scaled. "quantiles": networks learn 13 quantiles from 1 to 99 % by the
        pinball loss, which never cross, so that errors may have any shape; the forecast is the median.
    epochs, batch_size, learning_rate, clip_norm
        Training with Adam, gradients clipped to this global norm. Of a training part of more than 4,096 steps, an epoch
        is so many of them, drawn anew.
    validation, patience
        The share of the series, at its end, on which errors are measured. Training stops after ``patience`` epochs
        without a better error on it, and is then repeated on the whole series, for as many epochs as were best.
        ``validation=0`` trains on everything for all epochs, and gives no intervals.
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
        "members": optional(size),
        "distribution": among(tuple(DISTRIBUTIONS)),
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
        members: int | None = None,
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
        target: str | Sequence[str] | None = None,
        static: Sequence[str] | None = None,
        id: str | None = None,  # noqa: A002 - what it is called everywhere
        time: str | None = None,
        callbacks: Sequence[Callback] = (),
        communicator: Communicator | None = None,
        executor: Executor | None = None,
    ) -> Forecaster:
        """Learn from a series (T,) or (T, F) of any backend, a table of numbers, or a :class:`Panel`. Returns itself.

        Covariates in ``past`` (T, P) are known for each step once it has come, those in ``future`` (T, Q) beforehand: a
        plan, a price, the weather forecast; True and False, such as of holidays, are 1 and 0. For several series they
        are a dict or a list, as the series are. ``y`` must be None, as scikit-learn's pipelines give it: all columns
        are forecast.

        With a ``target``, the name of a column or several, one table holds everything: ``past`` and ``future`` are
        lists of names too, and ``time`` names the column of dates where there is more than one. In a long table of
        several series ``id`` names the column that says whose step a row is, and ``static`` columns that do not change
        in a series. Other columns are ignored. All other methods then take such tables.

        >>> forecaster.fit(sales, target="sold", future=["price"], id="shop", time="day")  # doctest: +SKIP
        >>> forecaster.predict(7, future=prices)  # doctest: +SKIP

        ``communicator`` is that of several processes which make the same call with the same data, as
        :func:`xprnn.distributed.world` gives it: they train one model together. With
        an ``executor`` of :mod:`concurrent.futures` members are learned side by side, to the same bits, without showing
        progress. Threads call callbacks at the same time; what callbacks note in other processes stays there.

        Raises ValueError for a series that is too short or has infinite values, and for tables beside it with other
        dates, and FloatingPointError if training diverges; a forecaster that was fitted before is then as it was. Warns
        of a column with so many values missing that its errors cannot be measured.
        """
        no_target("Forecaster.fit", y)
        names = by_names("Forecaster.fit", target, past, future, static, id, time)
        if names is not None:
            series, past, future = names.given("Forecaster.fit", series, static=True)
        given = series if isinstance(series, Panel) else as_series(series, "Forecaster", gaps=True)
        vector = is_vector(series) and isinstance(given, np.ndarray) and given.shape[1] == 1
        beside = {} if isinstance(given, Panel) else {"steps": series, "past": past, "future": future}
        called = {name: names_of(table, f"Forecaster: {name}") for name, table in beside.items()}
        dates = None if isinstance(given, Panel) else dates_of_rows(series, "Forecaster")
        calendars = calendars_of("Forecaster", {None: dates})
        one = Kind(None, False, vector, (TableForm.of(series, "Forecaster"),), called, calendars)
        kind, values, fixed = read("Forecaster", given, one, past, future)
        new = self._unfitted(communicator)
        new._require_counts("Forecaster", kind, [each.values for each in values])
        check_executor("Forecaster.fit", executor)
        if executor is not None and communicator is not None and communicator.size > 1:
            raise ValueError("Forecaster.fit: executor and communicator are both given; expected at most one")
        for k, each in enumerate(values):
            new._require_steps(kind.shown("Forecaster", k), len(each))
        horizon, longest = self.settings["horizon"], max(map(len, values))
        if horizon > longest:
            wrong = f"horizon is {horizon}, and the series has {longest} steps"
            raise ValueError(f"Forecaster: {wrong}; expected at most as many")
        callbacks = several("Forecaster.fit", "callbacks", callbacks)
        if any(isinstance(callback, Checkpoint) and callback.resume for callback in callbacks):
            raise ValueError("Forecaster.fit: a Checkpoint that resumes is of one training; expected none, of several")
        common, progress = common_of(values, fixed, new.settings["periods"]), self.progress and executor is None
        model, history = learn_model(
            common, values, new._options, new._cut, self._home(), callbacks, progress, communicator, executor
        )
        known = (~np.isnan(model.errors[:, 0])).sum(axis=0)
        for column in np.flatnonzero(known < min(2, len(model.errors)))[:1] if common.gaps else ():
            warnings.warn(
                f"Forecaster: column {column} has {known[column]} known values in the {len(model.errors)} steps on "
                "which errors are measured: intervals() has none to learn from, and quantiles are too sure",
                stacklevel=2,
            )
        network = Members([member.network for member in model.members])
        network.eval()
        recent = tuple(each.part(len(each) - model.window, len(each)) for each in values)
        fitted: dict[str, Any] = {
            "_names": names,
            "_network": network,
            "_training": history,
            "_model": model,
            "_common": common,
        }
        self._become(**vars(new) | fitted | {"_recent": recent, "_kind": kind})
        return self

    def observe(self, steps: Any, *, past: Any = None, future: Any = None) -> Forecaster:
        """Take in what came after the fitted series, without learning from it: ``predict`` goes on from there.

        steps (N,) or (N, F), with ``past`` and ``future`` of these steps where they were fitted; of several series a
        dict or a list of them. Returns itself.
        """
        whole, kind = self._joined("Forecaster.observe", steps, past, future)
        self._become(_recent=self._ends_of(whole), _kind=kind)
        return self

    def update(
        self, steps: Any, *, past: Any = None, future: Any = None, epochs: int = 1, callbacks: Sequence[Callback] = ()
    ) -> Forecaster:
        """Learn from what came after the fitted series too, and go on from there. Returns itself.

        Arguments as in :meth:`observe`. Autoregressions are solved for all steps that were ever learned, old and new;
        networks are trained further on the new ones, for so many ``epochs``. Transforms, lags, the measured errors and
        the scales of columns that had varied stay. Where all there was had been constant no error is known any more:
        :meth:`intervals` raises, and futures repeat errors on what was learned.

        Raises what :meth:`observe` and training do, FloatingPointError for steps that are too far from the others,
        RuntimeError for weights of 8 bits; the forecaster is then as it was. Warns of a step that is so far from the
        others that it outweighs them all.
        """
        if hasattr(self._fitted(self._network), "quantization"):
            raise RuntimeError(
                "Forecaster.update: its network has weights of 8 bits, which cannot learn: update the model that it "
                "was made of, or fit"
            )
        whole, kind = self._joined("Forecaster.update", steps, past, future)
        epochs = whole_number("Forecaster.update", "epochs", epochs)
        if (found := self._model.outweighing(whole)) is not None:
            k, row, column, far = found
            warnings.warn(
                f"{kind.shown('Forecaster.update', k)}: row {row - self.window_}, column {column} is "
                f"{whole[k].values[row, column]:g}, {far:.2g} standard deviations from the steps before: it outweighs "
                "all of them; give NaN where it is a fault, or fit anew",
                stacklevel=2,
            )
        model = learn_more(self._model, whole, self._options, epochs, callbacks, self.progress)
        network = Members([member.network for member in model.members])
        network.eval()
        self._become(_model=model, _network=network, _recent=self._ends_of(whole), _kind=kind)
        return self

    def predict(
        self, horizon: int | None = None, *, future: Any = None, quantiles: Sequence[float] | None = None
    ) -> Any:
        """The steps after the fitted series, and what was observed since, in the units of the series.

        Returns (horizon,) or (horizon, F), as the fitted series was, of several series a dict or a list of them; for a
        frame or a column of pandas or polars, or a table of Arrow, one of that kind, with the dates or the numbers of
        rows that come next. A file does not say which: where the model comes from one, it is that of what was observed
        since, and arrays before. So it is for each of several series that were such, or parts of a long one.
        Default horizon: the one of the settings, which is the most that the direct strategy can say.
        ``future`` (horizon, Q) is what is known of these steps, where it was fitted; dates of such a table that do not
        come after the series are a ValueError, and others than the next ones a warning. With ``quantiles`` (Q,) between
        0 and 1 those of a thousand futures that might be, (horizon, Q) or (horizon, F, Q).
        """
        if quantiles is not None:
            levels = self._levels(quantiles)
            futures = self._paths("Forecaster", horizon, FUTURES, future, self.settings["seed"])
            return self._kind.answer(list(np.moveaxis(np.quantile(futures, levels, axis=0), 0, -1)))
        horizon, series = self._ahead("Forecaster", horizon, future)
        return self._kind.rows(list(self._ends(series, horizon)), [each.start + len(each) for each in series])

    def sample(self, paths: int = 100, horizon: int | None = None, *, future: Any = None, rng: Rng = None) -> Any:
        """Possible futures, (paths, horizon) or (paths, horizon, F) for each series.

        Each is drawn step by step with one of the members, from its ``distribution``.
        """
        found = self._paths("Forecaster.sample", horizon, size("Forecaster.sample", "paths", paths), future, rng)
        return self._kind.answer(list(np.moveaxis(found, 1, 0)), columns=2)

    def intervals(self, horizon: int | None = None, *, coverage: float = 0.9, future: Any = None) -> Any:
        """The ends of an interval around each forecast, (horizon, 2) or (horizon, F, 2) of each series.

        Split conformal: so wide that the share ``coverage`` of the errors on the validation part, at as many steps
        ahead, lay inside, on the scale of the first member's power. Raises ValueError for more steps ahead than errors
        were measured for, for fewer errors than the coverage needs, and with ``validation=0``.
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
