"""Forecaster: fit a recurrent network to a time series, and say what comes next."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import real_number, whole_number
from xprnn.backend import (
    Array,
    Backend,
    Rng,
    backend_of,
    check_dtype,
    default_backend,
    generator,
    get_backend,
    namespace,
)
from xprnn.data import Batches
from xprnn.data.series import StandardScaler, as_series, harmonics, windows
from xprnn.estimators.estimator import model_file
from xprnn.estimators.series.backtest import Backtest, backtest
from xprnn.estimators.series.baselines import SeriesForecaster
from xprnn.estimators.series.network import CELLS, ForecastNetwork
from xprnn.tensor import Tensor, no_grad
from xprnn.train import Adam, Callback, EarlyStopping, History, fit, mse, write_tensors

Host = np.ndarray[Any, Any]
ABOVE_ZERO = (math.ulp(0.0), sys.float_info.max)
ROWS_AT_ONCE = 2048  # forecasts made in one batch; bounds memory, changes no result


class Forecaster:
    """Forecasts of one or several columns from their recent past and, optionally, from the season.

    The network sees the last ``window`` steps, scaled with mean and deviation of the training part, and for each period
    in ``periods`` the sine and cosine of the step to come. All columns are inputs, and all are forecast.

    >>> forecaster = Forecaster(cell="lstm", window=30, periods=(365.25,), seed=0).fit(series)  # doctest: +SKIP
    >>> forecaster.predict(7)  # the next seven steps, in the units of the series  # doctest: +SKIP

    Parameters
    ----------
    cell
        "lstm", "gru" or "rnn".
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
    seed
        Same seed, same numbers.
    dtype, backend
        Of the network; default: where ``use_backend`` says.
    progress
        Whether ``fit`` shows a progress bar.

    Raises ValueError or TypeError for arguments out of range.
    """

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
        dtype: str = "float32",
        backend: str | None = None,
        progress: bool = False,
    ) -> None:
        if cell not in CELLS:
            raise ValueError(f"Forecaster: cell is {cell!r}; expected one of {', '.join(map(repr, CELLS))}")
        if strategy not in ("recursive", "direct"):
            raise ValueError(f"Forecaster: strategy is {strategy!r}; expected 'recursive' or 'direct'")
        counts = {
            "hidden": hidden,
            "layers": layers,
            "window": window,
            "horizon": horizon,
            "epochs": epochs,
            "batch_size": batch_size,
            "patience": patience,
        }
        sizes = {"learning_rate": learning_rate, "clip_norm": clip_norm}
        if strategy == "recursive" and horizon != 1:
            raise ValueError(
                f"Forecaster: horizon is {horizon}, but the recursive strategy learns one step, and predict(k) goes "
                "as far as you like; use strategy='direct' to learn several steps at once"
            )
        if not 0.0 <= validation < 1.0:
            raise ValueError(f"Forecaster: validation is {validation}; expected a share from 0 to below 1")
        if not isinstance(periods, (list, tuple)) or any(not 1.0 < period < math.inf for period in periods):
            raise ValueError(f"Forecaster: periods are {periods!r}; expected a list of lengths above 1 step")
        # Plain numbers, so that they can be written to a file.
        self.settings: dict[str, Any] = {
            **{name: whole_number("Forecaster", name, number) for name, number in counts.items()},
            **{
                name: real_number("Forecaster", name, number, "a number above 0", *ABOVE_ZERO)
                for name, number in sizes.items()
            },
            "cell": cell,
            "strategy": strategy,
            "periods": [float(period) for period in periods],
            "validation": float(validation),
            "seed": whole_number("Forecaster", "seed", seed, 0),
            "dtype": check_dtype(dtype),
        }
        self.backend = None if backend is None else get_backend(backend)
        self.progress = progress
        self.scaler = StandardScaler()
        self.network: ForecastNetwork | None = None
        self.training: History | None = None
        self._recent: Host = np.zeros((0, 0))  # the end of the fitted series, which predict starts from
        self._steps = 0  # its length
        self._vector = False  # whether it was given without columns

    @property
    def name(self) -> str:
        """How tables call it."""
        return f"xprnn {self.settings['cell']}"

    def fit(self, series: Any, *, callbacks: Sequence[Callback] = ()) -> Forecaster:
        """Learn from a series (N,) or (N, F) of any backend. Returns itself.

        Raises ValueError for a series that is too short or has values that are not finite, and FloatingPointError if
        training diverges; a forecaster that was fitted before is then as it was.
        """
        values = as_series(series, "Forecaster")
        options, home = self.settings, self._home()
        origins = np.arange(options["window"], len(values) - options["horizon"] + 1)
        held_out = max(1, round(options["validation"] * len(origins))) if options["validation"] else 0
        if len(origins) - held_out - options["horizon"] + 1 < 2:
            least = options["window"] + 2 * options["horizon"] + held_out
            raise ValueError(
                f"Forecaster: the series has {len(values)} steps; with window={options['window']}, "
                f"horizon={options['horizon']} and a validation part it needs at least {max(least, len(values) + 1)}"
            )
        validate = origins[len(origins) - held_out :]
        # What is learned ends before what is validated on begins, also where a target is several steps long.
        train = origins[: len(origins) - held_out - (options["horizon"] - 1 if held_out else 0)]
        scaler = StandardScaler().fit(values[: train[-1] + options["horizon"]])
        draws = generator(options["seed"])
        network = self._build(values.shape[1], draws)
        inputs = home.asarray(self._features(scaler.transform(values), 0).astype(options["dtype"]))
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
            callbacks=[*([EarlyStopping(options["patience"])] if held_out else []), *callbacks],
            progress=self.progress,
        )
        self.network, self.scaler, self.training = network.eval(), scaler, history  # type: ignore[assignment]
        self._recent, self._steps = values[len(values) - options["window"] :], len(values)
        self._vector = np.ndim(series) == 1
        return self

    def observe(self, steps: Any) -> Forecaster:
        """Take note of what came after the fitted series, without learning from it: ``predict`` goes on from there.

        steps (N,) or (N, F). Returns itself.
        """
        network, new = self._fitted(), as_series(steps, "Forecaster.observe")
        self._check_columns(network, new)
        self._recent = np.concatenate([self._recent, new])[-self.settings["window"] :]
        self._steps += len(new)
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
        return self._forecast(as_series(series, "Forecaster.forecast"), np.asarray(origins), horizon, 0)

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
        return backtest([self, *baselines], series, test=test, horizon=horizon)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted forecaster to a safetensors file, atomically."""
        network = self._fitted()
        arrays: dict[str, Any] = {f"network.{name}": array for name, array in network.state_dict().items()}
        arrays |= {"scaler.mean": self.scaler.mean, "scaler.std": self.scaler.std, "recent": self._recent}
        metadata = {
            "kind": "forecaster",
            "version": 1,
            "settings": self.settings,
            "steps": self._steps,
            "vector": self._vector,
        }
        write_tensors(path, arrays, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, backend: str | None = None) -> Forecaster:
        """Read what :meth:`save` wrote.

        Raises ValueError for a file that is damaged, lacks something, or is something else.
        """
        expected: dict[str, Any] = {
            "settings": cls().settings,
            "metadata": {"steps": int, "vector": bool},
            "arrays": {"recent": 2, "scaler.mean": 1, "scaler.std": 1},
        }
        with model_file(path, "forecaster", **expected, backend=backend) as (arrays, metadata):
            forecaster = cls(backend=backend, **metadata["settings"])
            columns = arrays["recent"].shape[1]
            for name in ("scaler.mean", "scaler.std"):
                if len(arrays[name]) != columns:
                    raise ValueError(f"{name} has {len(arrays[name])} numbers; expected {columns}, one a column")
            network = forecaster._build(columns, 0)
            weights = {name.removeprefix("network."): a for name, a in arrays.items() if name.startswith("network.")}
            network.load_state_dict(weights)
        network.eval()
        forecaster.network = network
        forecaster.scaler = StandardScaler(arrays["scaler.mean"], arrays["scaler.std"])
        forecaster._recent, forecaster._steps = arrays["recent"], metadata["steps"]
        forecaster._vector = metadata["vector"]
        return forecaster

    def _home(self) -> Backend:
        return self.backend or default_backend()

    def _build(self, columns: int, rng: Rng) -> ForecastNetwork:
        options = self.settings
        sizes = (columns, 2 * len(options["periods"]), options["hidden"], options["layers"], options["horizon"])
        network = ForecastNetwork(options["cell"], *sizes, options["dtype"], rng)
        network.to(self._home())
        return network

    def _fitted(self) -> ForecastNetwork:
        if self.network is None:
            raise RuntimeError("Forecaster: fit it first")
        return self.network

    def _features(self, scaled: Host, start: int) -> Host:
        """Each step's columns, and the season of the step after it: (N, F) to (N, F + S)."""
        following = start + 1 + np.arange(len(scaled))
        return np.concatenate([scaled, harmonics(following, self.settings["periods"])], axis=1)

    def _forecast(self, values: Host, origins: Host, horizon: int, start: int) -> Host:
        network, direct = self._fitted(), self.settings["strategy"] == "direct"
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
