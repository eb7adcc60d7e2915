"""What a forecaster would have said: forecasts, futures and intervals from many places, scores, and backtests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from xprnn.arguments import probability, real_number, several, size
from xprnn.data.series import rows_of_series
from xprnn.estimators.estimator import no_target
from xprnn.estimators.metrics import r_squared
from xprnn.estimators.series.backtest import Informed, backtest
from xprnn.estimators.series.baselines import SeriesForecaster
from xprnn.estimators.series.conformal import INSIDE
from xprnn.estimators.series.named import by_names
from xprnn.estimators.series.panel import Panel
from xprnn.estimators.series.panel_backtest import backtest_panel
from xprnn.estimators.series.series_estimator import LEAST_LEARNED, SeriesEstimator
from xprnn.randomness import Rng

Host = np.ndarray[Any, Any]


class RollingForecaster(SeriesEstimator):
    """The methods of a :class:`Forecaster` that look back: each takes a series, and places in it to forecast from."""

    several = True
    """Of several series, one is named by its ``key``."""

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
        key: Any = None,
    ) -> Host:
        """The ends of intervals (M, horizon, F, 2) about forecasts from rising origins (M,), adaptive.

        At each origin the errors on the validation part count, and those of the origins before it that are known by
        then. After each miss intervals become wider, and after each hit a little narrower, so that in the long run the
        share ``coverage`` is inside (Gibbs and Candes 2021); ``rate`` 0 leaves that out. Other arguments as in
        :meth:`forecast`, errors as there and in :meth:`Forecaster.intervals`; infinite where there are too few errors.
        """
        owner = "Forecaster.rolling_intervals"
        level = real_number(owner, "coverage", coverage, "a share between 0 and 1", *INSIDE)
        whole, k, places, horizon = self._places(owner, series, origins, horizon, past, future, key)
        if (np.diff(places) <= 0).any():
            raise ValueError(f"{owner}: origins are {places.tolist()}; expected each after the one before it")
        self._require_errors(owner, horizon)
        return self._model.rolling_bands(whole, k, places, horizon, level, probability(owner, "rate", rate))

    def forecast(
        self, series: Any, origins: Any, horizon: int, *, past: Any = None, future: Any = None, key: Any = None
    ) -> Host:
        """Forecasts from many places: (M, horizon, F) from series[:origin] for each of the origins (M,).

        Seasons count from the first step of this series or, where dates are known, from where it stands beside the
        fitted one.

        ``past`` and ``future`` (T, P) and (T, Q) of all steps of this series, where they were fitted; ``key`` says
        which it is of several.
        """
        whole, k, places, horizon = self._places("Forecaster.forecast", series, origins, horizon, past, future, key)
        return self._model.forecast(whole, np.full(len(places), k), places, horizon)

    def futures(
        self,
        series: Any,
        origins: Any,
        horizon: int,
        paths: int = 100,
        *,
        past: Any = None,
        future: Any = None,
        key: Any = None,
        rng: Rng = None,
    ) -> Host:
        """Futures that might be from many places: (paths, M, horizon, F), arguments as in :meth:`forecast`.

        They are drawn as by :meth:`Forecaster.sample`; without ``rng`` by the seed of the settings.
        """
        owner = "Forecaster.futures"
        whole, k, places, horizon = self._places(owner, series, origins, horizon, past, future, key)
        count, draws = size(owner, "paths", paths), self.settings["seed"] if rng is None else rng
        return self._model.paths(whole, np.full(len(places), k), places, horizon, count, draws)

    def score(self, series: Any, y: None = None, *, past: Any = None, future: Any = None, key: Any = None) -> float:
        """R^2 = 1 - sum of e^2 / sum of (y - mean)^2 of all forecasts in a series, the mean of its columns.

        Each forecast sees the steps of this series before it, a window at least, and goes ``horizon`` steps ahead; 1
        is perfect, 0 is what the mean says. NaN is a missing value, which does not count. Other arguments as in
        :meth:`forecast`. Raises ValueError for a series with less than two steps to forecast in each column.
        """
        no_target("Forecaster.score", y)
        owner = "Forecaster.score"
        self._fitted(self._network)
        k = self._kind.place(owner, key)
        series, past, future = self._by_name(owner, series, past, future, one=True)
        steps, horizon, window = (
            len(rows_of_series(series, owner, gaps=True)),
            self.settings["horizon"],
            self._model.window,
        )
        origins = np.arange(window, steps - horizon + 1)
        if len(origins) < LEAST_LEARNED:
            least = window + horizon + LEAST_LEARNED - 1
            raise ValueError(f"{owner}: the series has {steps} steps; expected at least {least}")
        whole, k, places, horizon = self._placed(owner, series, past, future, origins, horizon, k)
        said = self._model.forecast(whole, np.full(len(places), k), places, horizon)
        actual = whole[k].values[origins[:, None] + np.arange(horizon)].reshape(-1, said.shape[2])
        said, known = said.reshape(actual.shape), ~np.isnan(actual)
        for column in np.flatnonzero(known.sum(axis=0) < LEAST_LEARNED):
            raise ValueError(
                f"{owner}: column {column} has {known[:, column].sum()} steps to forecast that are known; expected at "
                f"least {LEAST_LEARNED}"
            )
        each = [r_squared(actual[k, c, None], said[k, c, None]) for c, k in enumerate(known.T)]
        return float(np.mean(each))

    def backtest(
        self,
        series: Any,
        *,
        test: float | int = 0.2,
        horizon: int | None = None,
        baselines: Sequence[SeriesForecaster] = (),
        past: Any = None,
        future: Any = None,
        target: str | Sequence[str] | None = None,
        static: Sequence[str] | None = None,
        id: str | None = None,  # noqa: A002 - as in fit
        time: str | None = None,
        refit: str | int = "never",
        paths: int = 0,
        executor: Executor | None = None,
    ) -> Any:
        """Fit on the first part of a series and forecast from every step of the rest, beside baselines.

        ``past`` and ``future`` are this forecaster's alone; with a ``target`` they and the others are names, as in
        ``fit``. The rest, and errors, as in :func:`xprnn.estimators.backtest`, which gives a :class:`Backtest`; or, of
        several series, in :func:`xprnn.estimators.backtest_panel`, which gives a :class:`PanelBacktest`.
        """
        horizon = self.settings["horizon"] if horizon is None else horizon
        names = by_names("Forecaster.backtest", target, past, future, static, id, time)
        if names is not None:
            series, past, future = names.given("Forecaster.backtest", series, static=True)
        panel = series if isinstance(series, Panel) else None
        told = self if past is None and future is None else Informed(self, past, future, panel)
        compared: Callable[..., Any] = backtest if panel is None else backtest_panel
        before = getattr(self, "_model", None)
        found = compared(
            [told, *several("Forecaster.backtest", "baselines", baselines)],
            series, test=test, horizon=horizon, refit=refit, paths=paths, executor=executor,
        )  # fmt: skip
        if names is not None and getattr(self, "_model", None) is not before:  # it was fitted here, on arrays
            self._become(_names=names)
        return found
