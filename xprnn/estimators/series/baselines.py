"""Forecasters that need no network, beside which every other one is shown.

All forecasters share one method: ``forecast(series, origins, horizon)`` gives (M, horizon, F), the forecasts of steps
origin, ..., origin + horizon - 1 from series[:origin] alone, for series (N, F) and origins (M,).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from xprnn.data.series import check_origins, windows

Host = np.ndarray[Any, Any]


class SeriesForecaster(Protocol):
    """What :func:`xprnn.estimators.backtest` needs."""

    @property
    def name(self) -> str:
        """How tables call it."""

    def fit(self, series: Host) -> Any:
        """Learn from a series (N, F)."""

    def forecast(self, series: Host, origins: Host, horizon: int) -> Host:
        """(M, horizon, F)."""


class Persistence:
    """Tomorrow is like today: y[t + k] = y[t - 1]."""

    name = "persistence"

    def fit(self, series: Host) -> Persistence:
        """Nothing to learn."""
        return self

    def forecast(self, series: Host, origins: Host, horizon: int) -> Host:
        """The last value, again and again."""
        return np.repeat(series[check_origins(series, origins, 1) - 1][:, None], horizon, axis=1)


class SeasonalNaive:
    """As one period ago: y[t + k] = y[t + k - P], with as many whole periods back as it takes to be in the past."""

    def __init__(self, period: int) -> None:
        if period < 1:
            raise ValueError(f"SeasonalNaive: period is {period}; expected at least 1 step")
        self.period = period

    @property
    def name(self) -> str:
        return f"seasonal naive ({self.period})"

    def fit(self, series: Host) -> SeasonalNaive:
        """Nothing to learn. Raises ValueError for a series shorter than one period."""
        if len(series) < self.period:
            raise ValueError(
                f"SeasonalNaive: the series has {len(series)} steps; expected at least one period, {self.period}"
            )
        return self

    def forecast(self, series: Host, origins: Host, horizon: int) -> Host:
        """The values of the last period before each origin, repeated."""
        starts = check_origins(series, origins, self.period)[:, None] - self.period
        return series[starts + np.arange(horizon) % self.period]


class AutoRegression:
    """AR(p) with intercept by least squares: y[t] = a + sum over k of A_k y[t - k]; on several columns, a VAR(p)."""

    def __init__(self, order: int) -> None:
        if order < 1:
            raise ValueError(f"AutoRegression: order is {order}; expected at least 1")
        self.order = order
        self.coefficients: Host | None = None

    @property
    def name(self) -> str:
        return f"AR({self.order})"

    def fit(self, series: Host) -> AutoRegression:
        """Least squares on every step that has p steps before it. Raises ValueError where there are too few."""
        unknowns = self.order * series.shape[1] + 1
        if len(series) - self.order < unknowns:
            raise ValueError(
                f"{self.name}: a series of {len(series)} steps gives {len(series) - self.order} equations "
                f"for {unknowns} coefficients of each column"
            )
        origins = np.arange(self.order, len(series))
        self.coefficients = np.linalg.lstsq(
            _with_intercept(windows(series, origins, self.order)), series[origins], rcond=None
        )[0]
        return self

    def forecast(self, series: Host, origins: Host, horizon: int) -> Host:
        """Recursively: a forecast is the input of the next."""
        if self.coefficients is None:
            raise RuntimeError(f"{self.name}: fit it first")
        recent = windows(series, origins, self.order)
        steps = []
        for _ in range(horizon):
            steps.append(_with_intercept(recent) @ self.coefficients)
            recent = np.concatenate([recent[1:], steps[-1][None]])
        return np.stack(steps, axis=1)


def _with_intercept(recent: Host) -> Host:
    """(p, M, F) to rows (M, p F + 1)."""
    flat = np.moveaxis(recent, 0, 1).reshape(recent.shape[1], -1)
    return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
