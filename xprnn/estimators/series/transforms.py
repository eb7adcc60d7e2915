"""Reversible transforms of a series: a power, and differences from the step before and from the season before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]
LARGEST = 690.0  # exp of it is finite in float64


@dataclass(frozen=True)
class Transform:
    """w = (y^power - 1) / power (Box and Cox 1964), log y for power 0; then w[t] - w[t - season], then w[t] - w[t - 1].

    ``power`` 1 leaves y as it is, so that any y will do; the others are of y above 0. ``season`` 0 and ``differences``
    0 leave the differences out.
    """

    power: float = 1.0
    differences: int = 0
    season: int = 0

    @property
    def lead(self) -> int:
        """The steps at the start of a series that have no difference."""
        return self.differences + self.season

    def powered(self, values: Host, floor: Host | float = 0.0) -> Host:
        """y (..., F) to w; of a power other than 1 what is below the floor is taken as the floor."""
        if self.power == 1.0:
            return values
        values = np.maximum(values, floor)
        return np.log(values) if self.power == 0.0 else (values**self.power - 1.0) / self.power

    def unpowered(self, powered: Host) -> Host:
        """w to y, finite for every finite w."""
        if self.power == 1.0:
            return powered
        if self.power == 0.0:
            return np.exp(np.minimum(powered, LARGEST))
        return np.maximum(self.power * powered + 1.0, 0.0) ** (1.0 / self.power)

    def differenced(self, powered: Host) -> Host:
        """The differences (N, F) of w (N, F), with 0 where there are none."""
        found = powered
        for lag in self._lags():
            found = np.concatenate([np.zeros_like(found[:lag]), found[lag:] - found[:-lag]])
        found = np.array(found)
        found[: self.lead] = 0.0
        return found

    def integrated(self, steps: Host, powered: Host, origins: Host) -> Host:
        """w (M, K, F) from the differences of K steps (M, K, F) after each origin (M,) of w (N, F)."""
        if not self.lead:
            return steps
        before = powered[origins[:, None] - self.lead + np.arange(self.lead)]
        known = np.concatenate([before, steps], axis=1)
        for k in range(self.lead, known.shape[1]):
            if self.season:
                known[:, k] += known[:, k - self.season]
            if self.differences:
                known[:, k] += known[:, k - 1]
                if self.season:
                    known[:, k] -= known[:, k - 1 - self.season]
        return known[:, self.lead :]

    def _lags(self) -> list[int]:
        return [lag for lag in (self.season, self.differences) if lag]


def held(values: Host) -> tuple[Host, Host]:
    """Missing values (N, F) as the last known one before them, the first known at the start; and which were known.

    Zeros for a column of which nothing is known.
    """
    known = ~np.isnan(values)
    if known.all():
        return values, known
    last = np.maximum.accumulate(np.where(known, np.arange(len(values))[:, None], -1), axis=0)
    first = np.argmax(known, axis=0)
    filled = np.take_along_axis(values, np.where(last < 0, first, last), axis=0)
    return np.nan_to_num(filled, nan=0.0), known


def since_known(known: Host, ago: Host | int = 1) -> Host:
    """log(1 + steps since the last known value), (N, F); where there was none, one came so long ago, from the start."""
    steps = np.arange(len(known))[:, None]
    last = np.maximum.accumulate(np.where(known, steps, -ago), axis=0)
    return np.log1p(steps - last)
