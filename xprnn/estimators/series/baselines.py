"""Forecasters that need no network, with which every other one is compared.

All forecasters share one method: ``forecast(series, origins, horizon)`` gives (M, horizon, F), the forecasts of steps
origin, ..., origin + horizon - 1 from series[:origin] alone, for series (N, F) and origins (M,).
"""

from __future__ import annotations

import copy
from typing import Any, Protocol, TypeVar

import numpy as np

from xprnn.arguments import size, whole_number
from xprnn.data.series import as_series, check_origins, windows
from xprnn.estimators.parameters import Parameters, not_fitted

Host = np.ndarray[Any, Any]
Self = TypeVar("Self", bound="Naive")


class SeriesForecaster(Protocol):
    """What :func:`xprnn.estimators.backtest` needs."""

    @property
    def name(self) -> str:
        """How tables call it."""

    def fit(self, series: Host) -> Any:
        """Learn from a series (N, F)."""

    def forecast(self, series: Host, origins: Host, horizon: int) -> Host:
        """(M, horizon, F)."""


class Naive(Parameters):
    """Base of those that have nothing to learn."""

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self: Self, series: Any) -> Self:
        """Nothing to learn. Raises TypeError or ValueError for what is no series."""
        as_series(series, type(self).__name__)
        return self


class Persistence(Naive):
    """The last value goes on: y[t + k] = y[t - 1]."""

    name = "persistence"

    def forecast(self, series: Any, origins: Any, horizon: int) -> Host:
        """The last value, again and again."""
        series, horizon = as_series(series, "Persistence"), size("Persistence", "horizon", horizon)
        return np.repeat(series[check_origins(series, origins, 1) - 1][:, None], horizon, axis=1)


class Drift(Naive):
    """The line through the first step and the last: y[t + k] = y[t - 1] + (k + 1) (y[t - 1] - y[0]) / (t - 1)."""

    name = "drift"

    def forecast(self, series: Any, origins: Any, horizon: int) -> Host:
        """The line through the first step and the last one, carried on."""
        series, horizon = as_series(series, "Drift"), size("Drift", "horizon", horizon)
        origins = check_origins(series, origins, 2)
        slopes = (series[origins - 1] - series[0]) / (origins - 1)[:, None]
        return series[origins - 1][:, None] + np.arange(1, horizon + 1)[:, None] * slopes[:, None]


class SeasonalNaive(Naive):
    """The value one period ago: y[t + k] = y[t + k - P], as many whole periods back as it takes to be in the past.

    P is a whole number of steps: for a year of days, take 365. Raises ValueError for any other.
    """

    def __init__(self, period: int) -> None:
        whole_number("SeasonalNaive", "period", period)
        self.period = period

    @property
    def name(self) -> str:
        return f"seasonal naive ({self.period})"

    def fit(self, series: Any) -> SeasonalNaive:
        """Nothing to learn. Raises ValueError for a series shorter than one period."""
        series = as_series(series, "SeasonalNaive")
        if len(series) < self.period:
            raise ValueError(
                f"SeasonalNaive: the series has {len(series)} steps; expected at least one period, {self.period}"
            )
        return self

    def forecast(self, series: Any, origins: Any, horizon: int) -> Host:
        """The values of the last period before each origin, repeated."""
        series, horizon = as_series(series, "SeasonalNaive"), size("SeasonalNaive", "horizon", horizon)
        starts = check_origins(series, origins, self.period)[:, None] - self.period
        return series[starts + np.arange(horizon) % self.period]


class AutoRegression(Parameters):
    """AR(p) with intercept by least squares: y[t] = a + sum over k of A_k y[t - k]; on several columns, a VAR(p).

    Raises ValueError for an order that is no whole number of at least 1.
    """

    def __init__(self, order: int) -> None:
        whole_number("AutoRegression", "order", order)
        self.order = order
        self.coefficients: Host | None = None

    def __sklearn_is_fitted__(self) -> bool:
        return self.coefficients is not None

    @property
    def name(self) -> str:
        return f"AR({self.order})"

    def fit(self, series: Any) -> AutoRegression:
        """Least squares on every step that has p steps before it. Raises ValueError where there are too few."""
        series = as_series(series, "AutoRegression")
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

    def forecast(self, series: Any, origins: Any, horizon: int) -> Host:
        """Recursively: a forecast is the input of the next."""
        series, horizon = as_series(series, "AutoRegression"), size("AutoRegression", "horizon", horizon)
        if self.coefficients is None:
            raise not_fitted(self.name)
        columns = self.coefficients.shape[1]
        if series.shape[1] != columns:
            raise ValueError(f"{self.name}: the series has {series.shape[1]} columns; fitted on {columns}")
        recent = windows(series, origins, self.order)
        steps = []
        for _ in range(horizon):
            steps.append(_with_intercept(recent) @ self.coefficients)
            recent = np.concatenate([recent[1:], steps[-1][None]])
        return np.stack(steps, axis=1)


class Borrowed(Parameters):
    """A model of somebody else, such as AutoARIMA or AutoETS of statsforecast, as a baseline.

    ``model`` has their interface: ``forecast(y=y, h=h)`` on an array (T,) gives a dict whose "mean" is (h,), fitted on
    that y; with ``fit(y)`` and ``forward(y=y, h=h)`` it is fitted once, and goes on from any y. Each column has a copy.

    >>> Borrowed(AutoARIMA(season_length=12))  # doctest: +SKIP

    Raises TypeError for a model without them.
    """

    def __init__(self, model: Any) -> None:
        if isinstance(model, type) or not callable(getattr(model, "forecast", None)):
            shown = f"{model.__name__}, a class" if isinstance(model, type) else f"a {type(model).__name__}"
            raise TypeError(f"Borrowed: model is {shown}; expected an object with forecast(y=, h=)")
        self.model = model
        self._fitted: list[Any] | None = None

    def __sklearn_is_fitted__(self) -> bool:
        return self._fitted is not None

    @property
    def name(self) -> str:
        return str(getattr(self.model, "alias", None) or type(self.model).__name__)

    def fit(self, series: Any) -> Borrowed:
        """Fit a copy to each column."""
        series, fitted = as_series(series, "Borrowed"), []
        for column in series.T:
            model = copy.deepcopy(self.model)
            if hasattr(model, "forward"):
                model.fit(np.ascontiguousarray(column))
            fitted.append(model)
        self._fitted = fitted
        return self

    def forecast(self, series: Any, origins: Any, horizon: int) -> Host:
        """What the models forecast from each origin, one after the other."""
        series, horizon = as_series(series, "Borrowed"), size("Borrowed", "horizon", horizon)
        if self._fitted is None:
            raise not_fitted(self.name)
        if series.shape[1] != len(self._fitted):
            raise ValueError(f"{self.name}: the series has {series.shape[1]} columns; fitted on {len(self._fitted)}")
        origins = check_origins(series, origins, 1)
        found = np.empty((len(origins), horizon, series.shape[1]))
        for k, model in enumerate(self._fitted):
            say = getattr(model, "forward", model.forecast)
            for m, origin in enumerate(origins):
                found[m, :, k] = say(y=np.ascontiguousarray(series[:origin, k]), h=horizon)["mean"]
        return found


def _with_intercept(recent: Host) -> Host:
    """(p, M, F) to rows (M, p F + 1)."""
    steps, rows, columns = recent.shape
    flat = np.moveaxis(recent, 0, 1).reshape(rows, steps * columns)
    return np.concatenate([flat, np.ones((rows, 1))], axis=1)
