"""Rolling-origin evaluation: what each forecaster would have said, had it stood at every step of a test part."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xprnn.arguments import one_of, probability, real_number, whole_number
from xprnn.arguments import size as size_of
from xprnn.data.series import as_series
from xprnn.distributed.work import check_executor, each
from xprnn.estimators.series.accuracy import coverage, crps, mae, mase, pinball, rmse, rmsse, smape
from xprnn.estimators.series.baselines import SeriesForecaster
from xprnn.estimators.series.conformal import INSIDE, rolling_widths
from xprnn.estimators.series.kind import Kind
from xprnn.estimators.series.panel import Panel

Host = np.ndarray[Any, Any]
LEVELS = np.linspace(0.05, 0.95, 19)  # of the quantiles that chances are judged by


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
    futures
        By the names of those that say some: (paths, M, horizon, F).
    """

    series: Host
    train_size: int
    horizon: int
    origins: Host
    forecasts: dict[str, Host]
    futures: dict[str, Host] = field(default_factory=dict)

    @property
    def actual(self) -> Host:
        """What came, in the shape of the forecasts (M, horizon, F)."""
        return self.series[self.origins[:, None] + np.arange(self.horizon)]

    def scores(self, column: int = 0, *, season: int = 1) -> list[dict[str, Any]]:
        """RMSE, MAE, MASE, RMSSE and sMAPE of each forecaster, over all origins and steps ahead of a column.

        MASE and RMSSE are in units of the changes over ``season`` steps in the training part: 1 is as good as the last
        season was there, one step ahead (:mod:`xprnn.estimators.series.accuracy`). Where there are futures, CRPS, the
        mean pinball loss of 19 quantiles of them, and the share of steps between those of 5 and 95 % too; a forecast
        alone counts as certain there. Raises ValueError for a column that is not there, and a season that is longer
        than the training part.
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
            if self.futures:
                row |= _chances(actual, self.futures[name][..., column] if name in self.futures else said[None])
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


def _chances(actual: Host, futures: Host) -> dict[str, float]:
    """Scores of futures (paths, M, horizon) against what came."""
    said = np.moveaxis(np.quantile(futures, LEVELS, axis=0), 0, -1)
    inside = coverage(actual, said[..., [0, -1]]) if len(futures) > 1 else float("nan")
    return {"crps": crps(actual, futures), "pinball": pinball(actual, said, LEVELS), "coverage": inside}


class Informed:
    """A forecaster, and the covariates of the series that it is asked about: what ``backtest`` needs of it.

    ``panel`` are the series, where there are several, of which ``past`` and ``future`` have a part each.
    """

    def __init__(self, forecaster: Any, past: Any, future: Any, panel: Panel | None = None) -> None:
        self.forecaster, self.name, self.several = forecaster, forecaster.name, learns_several(forecaster)
        kind = Kind(None if panel is None else panel.keys, False, False)
        self._known: dict[str, dict[Any, Host]] = {}
        for name, given in (("past", past), ("future", future)):
            if given is not None:
                rows = [
                    as_series(part, f"backtest: {name}", flags=True) for part in kind.split("backtest", name, given)
                ]
                self._known[name] = dict(zip(kind.keys or (None,), rows, strict=True))

    def fit(self, series: Any) -> Informed:
        """Fit the forecaster with the covariates of these steps."""
        if isinstance(series, Panel):
            each = dict(zip(series.keys, series.values, strict=True))
            told = {n: {key: rows[key][: len(v)] for key, v in each.items()} for n, rows in self._known.items()}
            self.forecaster.fit(series, **told)
        else:
            self.forecaster.fit(series, **self._until(len(series)))
        return self

    def forecast(self, series: Host, origins: Host, horizon: int, **of: Any) -> Host:
        """(M, horizon, F)."""
        return self.forecaster.forecast(series, origins, horizon, **of, **self._until(len(series), **of))

    def futures(self, series: Host, origins: Host, horizon: int, paths: int, **of: Any) -> Host:
        """(paths, M, horizon, F)."""
        return self.forecaster.futures(series, origins, horizon, paths, **of, **self._until(len(series), **of))

    def _until(self, steps: int, key: Any = None) -> dict[str, Host]:
        return {name: rows[key][:steps] for name, rows in self._known.items()}


@dataclass(frozen=True)
class Work:
    """A forecaster, the series it is asked about, how far ahead and how often; ``key`` is one of several series."""

    forecaster: Any
    series: Host
    origins: Host
    horizon: int
    paths: int
    key: Any = None

    def done(self) -> Said:
        """What it says, and its futures where it can and is asked for some."""
        of = {"key": self.key} if self.key is not None and learns_several(self.forecaster) else {}
        asked = (self.series, self.origins, self.horizon)
        can = self.paths and hasattr(self.forecaster, "futures")
        futures = self.forecaster.futures(*asked, self.paths, **of) if can else None
        return self.forecaster.forecast(*asked, **of), futures

    def fitted(self) -> Said:
        """The same of a copy that is fitted on what comes before the first origin."""
        forecaster = copy.deepcopy(self.forecaster)
        forecaster.fit(self.series[: self.origins[0]])
        return replace(self, forecaster=forecaster).done()

    def told(self) -> str:
        """How errors call it."""
        of = "" if self.key is None else f" on series {self.key!r}"
        return f"the fit of {self.forecaster.name}{of} before step {self.origins[0]}"


Said = tuple[Host, "Host | None"]


def learns_several(forecaster: Any) -> bool:
    """Whether a forecaster is fitted to several series together, and asked about each by its ``key``."""
    return bool(getattr(forecaster, "several", False))


def backtest(
    forecasters: Sequence[SeriesForecaster],
    series: Any,
    *,
    test: float | int = 0.2,
    horizon: int = 1,
    refit: str | int = "never",
    paths: int = 0,
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
    paths
        How many futures each forecaster that has a method ``futures`` is asked for at each origin, so that scores say
        how well it tells chances.
    executor
        Of :mod:`concurrent.futures` or alike, whose workers fit again, as :func:`xprnn.distributed.each` has them; by
        default nobody but the caller does.

    Raises TypeError for what is no forecaster or no executor; ValueError for none, two of one name, and an empty
    training or test part; and what the forecasters raise. Of several series see :func:`backtest_panel`.
    """
    series = as_series(series, "backtest", gaps=True)
    size = size_of_test(len(series), test, horizon)
    check_forecasters("backtest", forecasters, executor)
    paths = size_of("backtest", "paths", paths, 0)
    train = series[: len(series) - size]
    origins = np.arange(len(train), len(series) - horizon + 1)
    first, *later = blocks_of(origins, refit)
    for forecaster in forecasters:
        forecaster.fit(train)
    said = [Work(forecaster, series, first, horizon, paths).done() for forecaster in forecasters]
    work = [Work(forecaster, series, block, horizon, paths) for block in later for forecaster in forecasters]
    said += each(Work.fitted, work, executor, owner="backtest", name=Work.told)
    return gathered(series, len(train), horizon, origins, [f.name for f in forecasters], said)


def gathered(
    series: Host, train_size: int, horizon: int, origins: Host, names: Sequence[str], said: Sequence[Said]
) -> Backtest:
    """A backtest of what forecasters said, one after the other, of one block of origins after the other."""
    forecasts: dict[str, Host] = {}
    futures: dict[str, Host] = {}
    for k, name in enumerate(names):
        mine = said[k :: len(names)]
        forecasts[name] = np.concatenate([forecast for forecast, _ in mine])
        some = [paths for _, paths in mine if paths is not None]
        futures |= {name: np.concatenate(some, axis=1)} if some else {}
    return Backtest(series, train_size, horizon, origins, forecasts, futures)


def check_forecasters(owner: str, forecasters: Any, executor: Any) -> None:
    """Raise TypeError and ValueError for others than forecasters of different names, and for no executor."""
    if not isinstance(forecasters, (list, tuple)) or not forecasters:
        raise ValueError(f"{owner}: forecasters are {forecasters!r}; expected a list of at least one")
    for forecaster in forecasters:
        if isinstance(forecaster, type) or not all(hasattr(forecaster, part) for part in ("name", "fit", "forecast")):
            shown = f"{forecaster.__name__}, a class" if isinstance(forecaster, type) else f"{forecaster!r}"
            raise TypeError(f"{owner}: a forecaster is {shown}; expected an object with name, fit and forecast")
    check_executor(owner, executor)
    names = [forecaster.name for forecaster in forecasters]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{owner}: more than one forecaster is called {', '.join(sorted(doubled))}")


def size_of_test(steps: int, test: float | int, horizon: int, owner: str = "backtest") -> int:
    """How many steps the test part has. Raises ValueError where the horizon is longer."""
    size = count_test_steps(steps, test, owner)
    if whole_number(owner, "horizon", horizon) > size:
        raise ValueError(f"{owner}: horizon is {horizon}; expected 1 to {size}, the length of the test part")
    return size


def blocks_of(origins: Host, refit: str | int, owner: str = "backtest") -> list[Host]:
    """The origins that share a fit."""
    if isinstance(refit, str):
        one_of(owner, "refit", refit, ("never", "always"))
        size = 1 if refit == "always" else len(origins)
    else:
        size = whole_number(owner, "refit", refit)
    return [origins[k : k + size] for k in range(0, len(origins), size)]


def count_test_steps(steps: int, test: float | int, owner: str = "backtest") -> int:
    """The number of test steps, from a share between 0 and 1 or a number."""
    expected = f"a share between 0 and 1, or a number of steps below {steps}"
    number = real_number(owner, "test", test, expected, high=steps - 1)
    size = round(steps * number) if number < 1 else int(number)
    if size < 1 or (number >= 1 and size != number):
        raise ValueError(f"{owner}: test is {test}; expected {expected}")
    return size
