"""What forecasts will be off by, learned from what they were off by: intervals, and how often they held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn.estimators.series.backtest import Backtest
from xprnn.estimators.series.conformal import width

Host = np.ndarray[Any, Any]
LEVELS = np.arange(1, 10) / 10
SHOWN = 0.9
LEAST = 20  # errors, of which nine tenths are a whole number
FROM_ERRORS = (
    "Each interval is as wide as it takes to hold that share of the errors made before it, at as many steps ahead: "
    "what had not happened yet was not used."
)


@dataclass(frozen=True)
class Intervals:
    """Intervals of one column, at each level that is said to hold the value.

    ``lower`` and ``upper`` (L, M, H) are those of the test part, NaN where there is none; ``future_lower`` and
    ``future_upper`` (L, K) what comes after the end. ``how`` says in a sentence how they were made.
    """

    levels: Host
    lower: Host
    upper: Host
    future_lower: Host
    future_upper: Host
    how: str = FROM_ERRORS

    def at(self, level: float) -> int:
        """The number of the level that is nearest to this."""
        return int(np.argmin(np.abs(self.levels - level)))

    def coverage(self, actual: Host) -> Host:
        """The share of actual values (M, H) that were inside (L,), of those that had an interval."""
        inside = (self.lower <= actual) & (actual <= self.upper)
        return np.array([inside[k][~np.isnan(self.lower[k])].mean() for k in range(len(self.levels))])


def intervals_from_errors(test: Backtest, name: str, future: Host, column: int) -> Intervals | None:
    """Intervals about forecasts (M, H), and about the future (K, F), from the errors known at each origin.

    The interval of level p is the forecast and at both sides the ceil((n + 1) p)-th smallest of the n absolute errors
    that were known by then at as many steps ahead (split conformal, Vovk et al. 2005: it holds in a share p of cases,
    where errors come in no order). None where the test part has too few.
    """
    said, actual = test.forecasts[name][..., column], test.actual[..., column]
    count, horizon = said.shape
    if count < LEAST + horizon:
        return None
    errors = np.abs(actual - said)
    widths = np.stack([_widths_by_then(errors[:, ahead], ahead) for ahead in range(horizon)], axis=2)
    last = np.stack([width(errors[:, ahead], LEVELS) for ahead in range(horizon)], axis=1)
    middle, beyond = future[:, column], last[:, : len(future)]
    return Intervals(LEVELS, said - widths, said + widths, middle - beyond, middle + beyond)


def _widths_by_then(errors: Host, ahead: int) -> Host:
    """The widths (L, M) at each of M origins: the errors of the last ``ahead`` origins before it are not known yet.

    They are looked up again whenever a twentieth more is known: each time would be quadratic in M.
    """
    widths, known = np.full((len(LEVELS), len(errors)), np.nan), LEAST
    while known + ahead < len(errors):
        more = known + max(1, known // 20)
        widths[:, known + ahead : more + ahead] = width(errors[:known], LEVELS)[:, None]
        known = more
    return widths
