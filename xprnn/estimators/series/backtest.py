"""Rolling-origin evaluation: what each forecaster would have said, had it stood at every step of a test part."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn.arguments import one_of, probability, real_number, whole_number
from xprnn.data.series import as_series
from xprnn.distributed.work import check_executor, each
from xprnn.estimators.series.accuracy import mae, mase, rmse, rmsse, smape
from xprnn.estimators.series.baselines import SeriesForecaster
from xprnn.estimators.series.conformal import rolling_widths

Host = np.ndarray[Any, Any]
Work = tuple[SeriesForecaster, Host, Host, int]
INSIDE = (math.ulp(0.0), math.nextafter(1.0, 0.0))


@dataclass(frozen=True)
class Backtest:
    """Forecasts of a test part and their errors.

    Attributes
    ----------
    series
        All of it, (N, F).
    train_size
        How many steps the forecasters were fitted on; the test part is the rest.
    origins
        (M,) the first step of each forecast.
    forecasts
        By name: (M, horizon, F).
    """

    series: Host
    train_size: int
    horizon: int
    origins: Host
    forecasts: dict[str, Host]

    @property
    def actual(self) -> Host:
        """What came, in the shape of the forecasts (M, horizon, F)."""
        return self.series[self.origins[:, None] + np.arange(self.horizon)]

    def scores(self, column: int = 0, *, season: int = 1) -> list[dict[str, Any]]:
        """RMSE, MAE, MASE, RMSSE and sMAPE of each forecaster, over all origins and steps ahead of a column.

        MASE and RMSSE are in units of the changes over ``season`` steps in the training part: 1 is as good as the last
        season was there, one step ahead (:mod:`xprnn.estimators.series.accuracy`). Raises ValueError for a column that
        is not there, and a season that is longer than the training part.
        """
        owner, columns = "Backtest.scores", self.series.shape[1]
        if whole_number(owner, "column", column, 0) >= columns:
            raise ValueError(f"{owner}: column is {column}; expected 0 to {columns - 1}")
        if whole_number(owner, "season", season) > self.train_size:
            raise ValueError(f"{owner}: season is {season}; expected 1 to {self.train_size}, the training part")
        actual, train, rows = self.actual[..., column], self.series[: self.train_size, column], []
        for name, forecast in self.forecasts.items():
            said = forecast[..., column]
            row = {"rmse": rmse(actual, said), "mae": mae(actual, said), "mase": mase(actual, said, train, season)}
            row |= {"rmsse": rmsse(actual, said, train, season), "smape": smape(actual, said)}
            rows.append({"forecaster": name, **row})
        return rows

    def intervals(self, name: str, coverage: float = 0.9, *, rate: float = 0.0, memory: int | None = None) -> Host:
        """The ends of intervals (M, horizon, F, 2) about a forecaster's forecasts, from its errors known by then.

        Split conformal, of the last ``memory`` errors at as many steps ahead or of all of them; with a ``rate``, such
        as 0.02, adaptive (:func:`xprnn.estimators.series.conformal.rolling_widths`). Infinite as long as there are too
        few. Raises ValueError for another name, and for a coverage or a rate outside 0 to 1.
        """
        owner = "Backtest.intervals"
        one_of(owner, "name", name, self.forecasts)
        level = real_number(owner, "coverage", coverage, "a share between 0 and 1", *INSIDE)
        errors = self.actual - self.forecasts[name]
        widths = rolling_widths(
            errors,
            self.origins,
            level,
            before=np.zeros((0, *errors.shape[1:])),
            rate=probability(owner, "rate", rate),
            memory=None if memory is None else whole_number(owner, "memory", memory),
        )
        return self.forecasts[name][..., None] + widths[..., None] * np.array([-1.0, 1.0])


class Informed:
    """A forecaster, and the covariates of the series that it is asked about: what ``backtest`` needs of it."""

    def __init__(self, forecaster: Any, past: Any, future: Any) -> None:
        self.forecaster, self.name = forecaster, forecaster.name
        self.past, self.future = (None if c is None else as_series(c, "backtest") for c in (past, future))

    def fit(self, series: Host) -> Informed:
        """Fit the forecaster with the covariates of these steps."""
        self.forecaster.fit(series, **self._until(len(series)))
        return self

    def forecast(self, series: Host, origins: Host, horizon: int) -> Host:
        """(M, horizon, F)."""
        return self.forecaster.forecast(series, origins, horizon, **self._until(len(series)))

    def _until(self, steps: int) -> dict[str, Host]:
        given = {"past": self.past, "future": self.future}
        return {name: rows[:steps] for name, rows in given.items() if rows is not None}


def backtest(
    forecasters: Sequence[SeriesForecaster],
    series: Any,
    *,
    test: float | int = 0.2,
    horizon: int = 1,
    refit: str | int = "never",
    executor: Executor | None = None,
) -> Backtest:
    """Fit each forecaster on the first part of a series and let it forecast from every step of the rest.

    Every forecast sees the true series up to its origin, and nothing after.

    Parameters
    ----------
    series
        (N,) or (N, F); NaN where a value is missing, for forecasters that take it.
    test
        The test part's share of the series, or its number of steps.
    horizon
        Steps ahead. Origins stop where the last step would be past the end.
    refit
        "never": nothing is fitted again. "always": before each forecast, on all that came before it. A number: before
        every so many forecasts. The forecasters themselves are left as the first part fitted them.
    executor
        Of :mod:`concurrent.futures` or alike, whose workers fit again, as :func:`xprnn.distributed.each` has them; by
        default nobody but the caller does.

    Raises TypeError for what is no forecaster or no executor; ValueError for none, two of one name, and an empty
    training or test part; and what the forecasters raise.
    """
    series = as_series(series, "backtest", gaps=True)
    size = count_test_steps(len(series), test)
    if whole_number("backtest", "horizon", horizon) > size:
        raise ValueError(f"backtest: horizon is {horizon}; expected 1 to {size}, the length of the test part")
    if not isinstance(forecasters, (list, tuple)) or not forecasters:
        raise ValueError(f"backtest: forecasters are {forecasters!r}; expected a list of at least one")
    for forecaster in forecasters:
        if isinstance(forecaster, type) or not all(hasattr(forecaster, part) for part in ("name", "fit", "forecast")):
            shown = f"{forecaster.__name__}, a class" if isinstance(forecaster, type) else f"{forecaster!r}"
            raise TypeError(f"backtest: a forecaster is {shown}; expected an object with name, fit and forecast")
    check_executor("backtest", executor)
    names = [forecaster.name for forecaster in forecasters]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"backtest: more than one forecaster is called {', '.join(sorted(doubled))}")
    train = series[: len(series) - size]
    origins = np.arange(len(train), len(series) - horizon + 1)
    first, *later = _blocks(origins, refit)
    for forecaster in forecasters:
        forecaster.fit(train)
    found = {f.name: [f.forecast(series, first, horizon)] for f in forecasters}
    work = [(forecaster, series, block, horizon) for block in later for forecaster in forecasters]
    forecasts = each(_fitted_again, work, executor, owner="backtest", name=_told)
    for (forecaster, *_), forecast in zip(work, forecasts, strict=True):
        found[forecaster.name].append(forecast)
    return Backtest(series, len(train), horizon, origins, {n: np.concatenate(parts) for n, parts in found.items()})


def _blocks(origins: Host, refit: str | int) -> list[Host]:
    """The origins that share a fit."""
    if isinstance(refit, str):
        one_of("backtest", "refit", refit, ("never", "always"))
        size = 1 if refit == "always" else len(origins)
    else:
        size = whole_number("backtest", "refit", refit)
    return [origins[k : k + size] for k in range(0, len(origins), size)]


def _told(work: Work) -> str:
    return f"the fit of {work[0].name} before step {work[2][0]}"


def _fitted_again(work: Work) -> Host:
    forecaster, series, origins, horizon = work
    forecaster = copy.deepcopy(forecaster)
    forecaster.fit(series[: origins[0]])
    return forecaster.forecast(series, origins, horizon)


def count_test_steps(steps: int, test: float | int) -> int:
    """The number of test steps, from a share between 0 and 1 or a number."""
    expected = f"a share between 0 and 1, or a number of steps below {steps}"
    number = real_number("backtest", "test", test, expected, high=steps - 1)
    size = round(steps * number) if number < 1 else int(number)
    if size < 1 or (number >= 1 and size != number):
        raise ValueError(f"backtest: test is {test}; expected {expected}")
    return size
