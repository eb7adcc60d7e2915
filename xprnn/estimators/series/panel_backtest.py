"""Rolling-origin evaluation over several series: one table of what each forecaster says of each."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xprnn.arguments import size
from xprnn.distributed.work import each
from xprnn.estimators.series.backtest import (
    Backtest,
    Said,
    Work,
    blocks_of,
    check_forecasters,
    gathered,
    learns_several,
    size_of_test,
)
from xprnn.estimators.series.panel import Panel


@dataclass(frozen=True)
class PanelBacktest:
    """The backtest of each series, by its key."""

    tests: dict[str | int, Backtest]

    def scores(self, column: int = 0, *, season: int = 1) -> list[dict[str, Any]]:
        """Those of :meth:`Backtest.scores`, a row for each forecaster and series; then their means over the series.

        ``series`` is the key of a row, and None of a mean; what could not be told of a series does not count in it.
        """
        rows = [
            {"series": key, **row} for key, test in self.tests.items() for row in test.scores(column, season=season)
        ]
        means = []
        for name in dict.fromkeys(row["forecaster"] for row in rows):
            mine = [row for row in rows if row["forecaster"] == name]
            known = {
                m: [r[m] for r in mine if not np.isnan(r[m])] for m in mine[0] if m not in ("series", "forecaster")
            }
            mean = {metric: float(np.mean(found)) if found else float("nan") for metric, found in known.items()}
            means.append({"series": None, "forecaster": name, **mean})
        return rows + means


@dataclass(frozen=True)
class Turn:
    """What a forecaster is asked between two fits, and the ``panel`` that a copy of it is fitted to before, if any."""

    forecaster: Any
    asked: tuple[Work, ...]
    panel: Panel | None = None

    def done(self) -> list[Said]:
        """What it says."""
        if not learns_several(self.forecaster):
            return [work.fitted() for work in self.asked]
        if self.panel is None:
            return [work.done() for work in self.asked]
        forecaster = copy.deepcopy(self.forecaster)
        forecaster.fit(self.panel)
        return [replace(work, forecaster=forecaster).done() for work in self.asked]

    def told(self) -> str:
        """How errors call it."""
        first = self.asked[0]
        if self.panel is None:
            return first.told()
        place = f"step {first.origins[0]} of {first.key!r}"
        return f"the fit of {first.forecaster.name} on {len(self.panel)} series before {place}"


def backtest_panel(
    forecasters: Sequence[Any],
    panel: Panel,
    *,
    test: float | int = 0.2,
    horizon: int = 1,
    refit: str | int = "never",
    paths: int = 0,
    executor: Executor | None = None,
) -> PanelBacktest:
    """Fit on the first part of each series of a panel, and forecast from every step of the rest.

    A forecaster that learns several series together, whose ``several`` is true as that of :class:`Forecaster`, is
    fitted once, on all of the first parts, and asked about each series by its ``key``. Of any other a copy is fitted to
    each series by itself.

    ``refit`` as in :func:`backtest`: "always" and a number go through all series side by side, so many forecasts of
    each at a time, and before them all that came before is learned of each; of a series that has ended, all of it. The
    work is for the workers of an ``executor``, where there is one. Other arguments and errors as in :func:`backtest`.
    """
    owner = "backtest_panel"
    if not isinstance(panel, Panel):
        raise TypeError(f"{owner}: a {type(panel).__name__}; expected a Panel")
    check_forecasters(owner, forecasters, executor)
    paths = size(owner, "paths", paths, 0)
    series = dict(zip(panel.keys, panel.values, strict=True))
    sizes = {key: size_of_test(len(v), test, horizon, f"{owner}: series {key!r}") for key, v in series.items()}
    lengths = {key: len(values) - sizes[key] for key, values in series.items()}
    origins = {key: np.arange(lengths[key], len(values) - horizon + 1) for key, values in series.items()}
    blocks = {key: blocks_of(places, refit, owner) for key, places in origins.items()}
    for forecaster in forecasters:
        if learns_several(forecaster):
            forecaster.fit(panel.first(list(lengths.values())))
    turns: list[Turn] = []
    for k in range(max(map(len, blocks.values()))):
        now = {key: mine[k] for key, mine in blocks.items() if k < len(mine)}
        known = panel.first([now[key][0] if key in now else len(values) for key, values in series.items()])
        for forecaster in forecasters:
            asked = [Work(forecaster, series[key], block, horizon, paths, key) for key, block in now.items()]
            if k and learns_several(forecaster):
                turns.append(Turn(forecaster, tuple(asked), known))
            else:
                turns += [Turn(forecaster, (work,)) for work in asked]
    said: dict[Any, list[Said]] = {key: [] for key in series}
    for turn, found in zip(turns, each(Turn.done, turns, executor, owner=owner, name=Turn.told), strict=True):
        for work, mine in zip(turn.asked, found, strict=True):
            said[work.key].append(mine)
    names = [forecaster.name for forecaster in forecasters]
    return PanelBacktest(
        {key: gathered(values, lengths[key], horizon, origins[key], names, said[key]) for key, values in series.items()}
    )
