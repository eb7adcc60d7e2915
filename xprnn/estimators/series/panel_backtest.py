"""Rolling-origin evaluation over several series: one table of what each forecaster says of each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn.arguments import at_least
from xprnn.distributed.work import each
from xprnn.estimators.series.backtest import Backtest, Work, check_forecasters, gathered, learns_several, size_of_test
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


def backtest_panel(
    forecasters: Sequence[Any],
    panel: Panel,
    *,
    test: float | int = 0.2,
    horizon: int = 1,
    paths: int = 0,
    executor: Executor | None = None,
) -> PanelBacktest:
    """Fit on the first part of each series of a panel, and forecast from every step of the rest.

    A forecaster that learns several series together, whose ``several`` is true as that of :class:`Forecaster`, is
    fitted once, on all of the first parts, and asked about each series by its ``key``. Of any other a copy is fitted to
    each series by itself. The work on each series is for the workers of an ``executor``, where there is one; other
    arguments and errors as in :func:`backtest`.
    """
    owner = "backtest_panel"
    if not isinstance(panel, Panel):
        raise TypeError(f"{owner}: a {type(panel).__name__}; expected a Panel")
    check_forecasters(owner, forecasters, executor)
    paths = at_least(0)(owner, "paths", paths)
    lengths = [
        len(values) - size_of_test(len(values), test, horizon, f"{owner}: series {key!r}")
        for key, values in zip(panel.keys, panel.values, strict=True)
    ]
    for forecaster in forecasters:
        if learns_several(forecaster):
            forecaster.fit(panel.first(lengths))
    work = [
        Work(forecaster, values, np.arange(length, len(values) - horizon + 1), horizon, paths, key)
        for key, values, length in zip(panel.keys, panel.values, lengths, strict=True)
        for forecaster in forecasters
    ]
    said, count, tests = each(_said, work, executor, owner=owner, name=Work.told), len(forecasters), {}
    names = [forecaster.name for forecaster in forecasters]
    for k, (key, values, length) in enumerate(zip(panel.keys, panel.values, lengths, strict=True)):
        mine = said[k * count : (k + 1) * count]
        tests[key] = gathered(values, length, horizon, work[k * count].origins, names, mine)
    return PanelBacktest(tests)


def _said(work: Work) -> Any:
    return work.done() if learns_several(work.forecaster) else work.fitted()
