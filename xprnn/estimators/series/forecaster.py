"""Forecaster: fit a recurrent network to a time series, and say what comes next."""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from xprnn import ops
from xprnn.arguments import among, real_number, several, whole_number
from xprnn.backend import Array, Rng, backend_of, generator, namespace
from xprnn.data import Batches
from xprnn.data.series import StandardScaler, as_series, check_origins, harmonics, windows
from xprnn.estimators.estimator import TRAINING, Estimator, no_target
from xprnn.estimators.metrics import r_squared
from xprnn.estimators.series.backtest import Backtest, backtest
from xprnn.estimators.series.baselines import SeriesForecaster
from xprnn.estimators.series.network import ForecastNetwork
from xprnn.tape import no_grad
from xprnn.tensor import Tensor
from xprnn.train import Adam, Callback, EarlyStopping, fit, mse

Host = np.ndarray[Any, Any]
ABOVE_ONE = (math.nextafter(1.0, 2.0), sys.float_info.max)
LEAST_LEARNED = 2  # origins: one alone has no deviation to scale by
ROWS_AT_ONCE = 2048  # forecasts made in one batch; bounds memory, changes no result


def _periods(owner: str, name: str, periods: Any) -> list[float]:
    if not isinstance(periods, (list, tuple)):
        raise ValueError(f"{owner}: {name} are {periods!r}; expected a list of lengths above 1 step")
    return [
        real_number(owner, f"{name}[{k}]", period, "a length above 1 step", *ABOVE_ONE)
        for k, period in enumerate(periods)
    ]


class Forecaster(Estimator):
    """Forecasts of one or several columns from their recent past and, optionally, from the season.

    The network sees the last ``window`` steps, scaled with mean and deviation of the training part, and for each period
    in ``periods`` the sine and cosine of the step to come. All columns are inputs, and all are forecast.

    >>> forecaster = Forecaster(cell="lstm", window=30, periods=(365.25,), seed=0).fit(series)  # doctest: +SKIP
    >>> forecaster.predict(7)  # the next seven steps, in the units of the series  # doctest: +SKIP

    Parameters
    ----------
    cell
        "lstm", "gru", "rnn", "indrnn", "gru_reset_before", "lstm_peephole", "lstm_peephole_full",
        "gru_layer_norm", "lstm_layer_norm", "mingru", "minlstm", "qrnn" or "sru".
    hidden, layers
        Hidden units of each layer; layers.
    window
        Steps of the past that a forecast sees.
    horizon, strategy
        "recursive": the network says one step, and its own forecast is the input for the next; any number of steps.
        "direct": it says ``horizon`` steps at once. ``horizon`` must be 1 for the recursive strategy.
    periods
        Lengths of seasons in steps, counted from the start of the series.
    epochs, batch_size, learning_rate, clip_norm
        Training with Adam on the mean squared error, gradients clipped to this global norm.
    validation, patience
        The share of the series, at its end, that training does not see; training stops after ``patience`` epochs
        without a better error on it, and takes the best weights. ``validation=0`` trains on everything, to the end.
    seed, random_state
        Same seed, same numbers. ``random_state``, where given, counts instead: a seed, or a generator to draw it.
    dtype, backend
        Of the network; default: where ``use_backend`` says.
    progress
        Whether ``fit`` shows a progress bar.

    Raises ValueError or TypeError for arguments out of range.
    """

    SETTINGS = TRAINING | {
        "window": whole_number,
        "horizon": whole_number,
        "strategy": among(("recursive", "direct")),
        "periods": _periods,
        "batch_size": whole_number,
        "patience": whole_number,
    }
    KIND = "forecaster"
    METADATA: ClassVar = {"steps": int, "vector": bool}
    ARRAYS: ClassVar = {"recent": 2, "scaler.mean": 1, "scaler.std": 1}

    def __init__(
        self,
        cell: str = "lstm",
        *,
        hidden: int = 32,
        layers: int = 1,
        window: int = 30,
        horizon: int = 1,
        strategy: str = "recursive",
        periods: Sequence[float] = (),
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
        self.scaler = StandardScaler()
        self._recent: Host = np.zeros((0, 0))  # the end of the fitted series, which predict starts from
        self._steps = 0  # its length
        self._vector = False  # whether it was given without columns

    @property
    def n_features_in_(self) -> int:
        """The columns of the fitted series."""
        return int(self._of_fit("n_features_in_").columns)

    def fit(self, series: Any, y: None = None, *, callbacks: Sequence[Callback] = ()) -> Forecaster:
        """Learn from a series (N,) or (N, F) of any backend, or a table of numbers. Returns itself.

        There is no ``y``, which scikit-learn's pipelines give as None: all columns are forecast.

        Raises ValueError for a series that is too short or has values that are not finite, and FloatingPointError if
        training diverges; a forecaster that was fitted before is then as it was.
        """
        no_target("Forecaster.fit", y)
        values = as_series(series, "Forecaster")
        new = self._unfitted()
        options, home = new.settings, self._home()
        learned, held_out = new._parts(len(values))
        if learned < LEAST_LEARNED:
            raise ValueError(
                f"Forecaster: the series has {len(values)} steps; with window={options['window']}, "
                f"horizon={options['horizon']} and validation={options['validation']:g} it needs at least "
                f"{new._least_steps()}"
            )
        origins = np.arange(options["window"], len(values) - options["horizon"] + 1)
        train, validate = origins[:learned], origins[len(origins) - held_out :]
        scaler = StandardScaler().fit(values[: train[-1] + options["horizon"]])
        draws = generator(options["seed"])
        network = new._build(values.shape[1], draws)
        inputs = home.asarray(new._features(scaler.transform(values), 0).astype(options["dtype"]))
        targets = home.asarray(scaler.transform(values).astype(options["dtype"]))

        def loss(model: Any, batch: tuple[Array, ...]) -> Tensor:
            x = _gather(inputs, batch[0], range(-options["window"], 0))
            y = _gather(targets, batch[0], range(options["horizon"]))
            prediction, _ = model(x)
            return mse(prediction, namespace(y).permute_dims(y, (1, 0, 2)))

        history = fit(
            network,
            Batches(home.asarray(train), batch_size=options["batch_size"], shuffle=True, rng=draws),
            loss,
            Adam(network.parameters(), lr=options["learning_rate"]),
            epochs=options["epochs"],
            validation=Batches(home.asarray(validate), batch_size=ROWS_AT_ONCE) if held_out else None,
            clip_norm=options["clip_norm"],
            callbacks=[
                *([EarlyStopping(options["patience"])] if held_out else []),
                *several("Forecaster.fit", "callbacks", callbacks),
            ],
            progress=self.progress,
        )
        network.eval()
        vector = np.ndim(series) == 1 and values.shape[1] == 1
        fitted = {"_network": network, "_training": history, "scaler": scaler}
        last = {"_recent": values[len(values) - options["window"] :], "_steps": len(values), "_vector": vector}
        self._become(**vars(new) | fitted | last)
        return self

    def observe(self, steps: Any) -> Forecaster:
        """Take note of what came after the fitted series, without learning from it: ``predict`` goes on from there.

        steps (N,) or (N, F). Returns itself.
        """
        network, new = self._fitted(self._network), as_series(steps, "Forecaster.observe")
        self._check_columns(network, new)
        recent = np.concatenate([self._recent, new])[-self.settings["window"] :]
        self._become(_recent=recent, _steps=self._steps + len(new))
        return self

    def predict(self, horizon: int | None = None) -> Host:
        """The steps after the fitted series, and what was observed since, in the units of the series.

        Returns (horizon,) or (horizon, F), as the fitted series was. Default horizon: the one the network was built
        for, which is the most that the direct strategy can say.
        """
        horizon = self.settings["horizon"] if horizon is None else horizon
        start = self._steps - len(self._recent)
        forecast = self._forecast(self._recent, np.asarray([len(self._recent)]), horizon, start)[0]
        return forecast[:, 0] if self._vector else forecast

    def forecast(self, series: Any, origins: Any, horizon: int) -> Host:
        """Forecasts from many places: (M, horizon, F) from series[:origin] for each of the origins (M,)."""
        values = as_series(series, "Forecaster.forecast")
        return self._forecast(values, check_origins(values, origins, self.settings["window"]), horizon, 0)

    def score(self, series: Any, y: None = None) -> float:
        """R^2 = 1 - sum of e^2 / sum of (y - mean)^2 of all forecasts in a series, the mean of its columns.

        Each forecast sees the steps of this series before it, ``window`` at least, and goes ``horizon`` steps ahead; 1
        is perfect, 0 is what the mean says. Raises ValueError for a series with less than two steps to forecast.
        """
        no_target("Forecaster.score", y)
        values, horizon = as_series(series, "Forecaster.score"), self.settings["horizon"]
        origins = np.arange(self.settings["window"], len(values) - horizon + 1)
        if len(origins) < LEAST_LEARNED:
            least = self.settings["window"] + horizon + LEAST_LEARNED - 1
            raise ValueError(f"Forecaster.score: the series has {len(values)} steps; expected at least {least}")
        actual = values[origins[:, None] + np.arange(horizon)]
        return r_squared(*(a.reshape(-1, values.shape[1]) for a in (actual, self.forecast(values, origins, horizon))))

    def backtest(
        self,
        series: Any,
        *,
        test: float | int = 0.2,
        horizon: int | None = None,
        baselines: Sequence[SeriesForecaster] = (),
    ) -> Backtest:
        """Fit on the first part of a series and forecast from every step of the rest, beside baselines.

        Arguments and errors as in :func:`xprnn.estimators.backtest`.
        """
        horizon = self.settings["horizon"] if horizon is None else horizon
        baselines = several("Forecaster.backtest", "baselines", baselines)
        return backtest([self, *baselines], series, test=test, horizon=horizon)

    def _described(self) -> tuple[dict[str, Any], dict[str, Any]]:
        arrays = {"scaler.mean": self.scaler.mean, "scaler.std": self.scaler.std, "recent": self._recent}
        return arrays, {"steps": self._steps, "vector": self._vector}

    def _restored(
        self, arrays: Mapping[str, Host], metadata: dict[str, Any], weights: Mapping[str, Host]
    ) -> dict[str, Any]:
        recent, mean, std = (arrays[name] for name in ("recent", "scaler.mean", "scaler.std"))
        columns, steps, vector = recent.shape[1], metadata["steps"], metadata["vector"]
        for name, numbers in (("scaler.mean", mean), ("scaler.std", std)):
            if len(numbers) != columns:
                raise ValueError(f"{name} has {len(numbers)} numbers; expected {columns}, one a column")
        if len(recent) != self.settings["window"] or not len(recent) <= steps <= sys.maxsize // 2:
            raise ValueError(f"recent has {len(recent)} rows of {steps} steps; expected one window")
        if columns == 0 or (vector and columns > 1) or (std < 0.0).any():
            raise ValueError(f"vector is {vector}, columns are {columns}, or a deviation is below 0")
        shapes = ForecastNetwork.shapes(*self._sizes(columns))
        network = self._read_network(weights, shapes, lambda: self._build(columns, 0))
        scaler = StandardScaler(mean, std)
        return {"_network": network, "scaler": scaler, "_recent": recent, "_steps": steps, "_vector": vector}

    def _parts(self, steps: int) -> tuple[int, int]:
        """How many origins of a series are learned from, and how many are held out at its end.

        What is learned ends before what is validated on begins, also where a target is several steps long.
        """
        horizon, share = self.settings["horizon"], self.settings["validation"]
        origins = steps - self.settings["window"] - horizon + 1
        held_out = max(1, round(share * origins)) if share else 0
        return origins - held_out - (horizon - 1 if held_out else 0), held_out

    def _least_steps(self) -> int:
        """The length of the shortest series that ``fit`` takes; with each step more, no less is learned from."""
        most = 1
        while self._parts(most)[0] < LEAST_LEARNED:
            most *= 2
        return bisect_left(range(most), LEAST_LEARNED, key=lambda steps: self._parts(steps)[0])

    def _build(self, columns: int, rng: Rng) -> ForecastNetwork:
        network = ForecastNetwork(*self._sizes(columns), self.settings["dtype"], rng)
        network.to(self._home())
        return network

    def _sizes(self, columns: int) -> tuple[str, int, int, int, int, int]:
        options = self.settings
        features = 2 * len(options["periods"])
        return options["cell"], columns, features, options["hidden"], options["layers"], options["horizon"]

    def _features(self, scaled: Host, start: int) -> Host:
        """Each step's columns, and the season of the step after it: (N, F) to (N, F + S)."""
        following = start + 1 + np.arange(len(scaled))
        return np.concatenate([scaled, harmonics(following, self.settings["periods"])], axis=1)

    def _forecast(self, values: Host, origins: Host, horizon: int, start: int) -> Host:
        network, direct = self._fitted(self._network), self.settings["strategy"] == "direct"
        most = self.settings["horizon"] if direct else None
        horizon = whole_number("Forecaster", "horizon", horizon)
        if most is not None and horizon > most:
            raise ValueError(f"Forecaster: horizon is {horizon}; expected 1 to {most}")
        self._check_columns(network, values)
        features = self._features(self.scaler.transform(values), start)
        parts = [
            self._steps_ahead(network, features, rows, horizon, start)
            for rows in np.array_split(origins, max(1, -(-len(origins) // ROWS_AT_ONCE)))
        ]
        return self.scaler.inverse(np.concatenate(parts))

    @staticmethod
    def _check_columns(network: ForecastNetwork, values: Host) -> None:
        if values.shape[1] != network.columns:
            raise ValueError(f"Forecaster: the series has {values.shape[1]} columns; fitted on {network.columns}")

    def _steps_ahead(self, network: ForecastNetwork, features: Host, origins: Host, horizon: int, start: int) -> Host:
        """Scaled forecasts (M, horizon, F) for one batch of origins, which come from the device together."""
        home, dtype = backend_of(network.parameters()[0].data), self.settings["dtype"]
        with no_grad():
            output, state = network(home.asarray(windows(features, origins, self.settings["window"]).astype(dtype)))
            steps = [output]
            following = start + origins + np.arange(1, horizon - output.shape[1] + 1)[:, None]
            for season in Tensor(home.asarray(harmonics(following, self.settings["periods"]).astype(dtype))):
                x = ops.concat([output[:, 0], season], axis=1)
                output, state = network(ops.expand_dims(x, 0), state)
                steps.append(output)
            return ops.concat(steps, axis=1).numpy()[:, :horizon].astype(np.float64)


def _gather(rows: Array, origins: Array, offsets: range) -> Array:
    """rows (N, C) at origin + offset: (len(offsets), M, C), on the device."""
    xp, ahead = namespace(rows), backend_of(rows).arange(len(offsets)) + offsets.start
    index = xp.reshape(xp.expand_dims(origins, axis=0) + xp.expand_dims(ahead, axis=1), (-1,))
    return xp.reshape(xp.take(rows, index, axis=0), (len(offsets), origins.shape[0], rows.shape[1]))
