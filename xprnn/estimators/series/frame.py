"""Series of a fit, one after the other in arrays, as one member of a forecaster sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from xprnn.data.series import ROUNDING, harmonics
from xprnn.estimators.series.transforms import Transform, held, since_known

Host = np.ndarray[Any, Any]
FAR = 1e30
"""Standard deviations beyond which no network tells numbers apart; weighted sums of it are float32."""


def nothing() -> Host:
    """No columns."""
    return np.zeros((0, 0))


@dataclass(frozen=True)
class Series:
    """One series: values (T, F), NaN where missing; what is known of the past (T, P) and of the future (T or more, Q).

    ``start`` counts the steps that came before, of which only the season still tells.
    """

    values: Host
    past: Host = field(default_factory=nothing)
    future: Host = field(default_factory=nothing)
    start: int = 0
    before: tuple[Host, Host] | None = None
    """Where the first step has missing values: the last known ones before it (F,), NaN for none, and how many steps
    before it they came, or all began.
    """

    def __len__(self) -> int:
        return len(self.values)

    def part(self, first: int, last: int) -> Series:
        """The steps from ``first`` to before ``last``, and what is known of the future at ``last`` and after."""
        past = self.past[first:last] if self.past.size else self.past
        future = self.future[first:] if self.future.size else self.future
        return Series(self.values[first:last], past, future, self.start + first, self._before(first))

    def held(self) -> tuple[Host, Host]:
        """Missing values as the last known one before them, and which were known."""
        if self.before is None:
            return held(self.values)
        filled, known = held(np.concatenate([self.before[0][None], self.values]))
        return filled[1:], known[1:]

    def since_known(self, known: Host) -> Host:
        """log(1 + steps since the last known value) (T, F)."""
        return since_known(known, 1 if self.before is None else self.before[1])

    def _before(self, first: int) -> tuple[Host, Host] | None:
        """Those of a part that begins with this step."""
        if not first or not np.isnan(self.values[first : first + 1]).any():
            return None if first else self.before
        there = ~np.isnan(self.values[:first])
        ago = 1 + np.argmax(there[::-1], axis=0)
        value = np.take_along_axis(self.values, (first - ago)[None], axis=0)[0]
        earlier, (old, older) = ~there.any(axis=0), self.before or (np.nan, 1)
        return np.where(earlier, old, value), np.where(earlier, first + older, ago)


@dataclass(frozen=True)
class Scale:
    """Means and deviations of the transformed columns of each series (N, F); 0 for a column that is constant.

    ``floor`` (N, F): what values of a series whose power needs them above 0 are at least taken as.
    """

    mean: Host
    std: Host
    floor: Host

    @classmethod
    def of(cls, transform: Transform, series: Sequence[Series], lengths: Sequence[int]) -> Scale:
        """That of the first so many steps of each series."""
        means, stds, floors = [], [], []
        for each, length in zip(series, lengths, strict=True):
            values, known = held(each.values[:length])
            floor = 0.5 * np.where(known, values, np.inf).min(axis=0, initial=np.inf)
            floor = np.where(np.isfinite(floor) & (floor > 0.0), floor, 1.0)
            steps = transform.differenced(transform.powered(values, floor))[transform.lead :]
            count = max(len(steps), 1)
            mean = steps.sum(axis=0) / count
            std = np.sqrt(np.square(steps - mean).sum(axis=0) / count)
            # Rounding leaves a constant column with a tiny deviation, and dividing by it would blow noise up.
            size = np.abs(transform.powered(values, floor)).max(axis=0, initial=0.0)
            varies = std > ROUNDING * size
            means.append(np.where(varies, mean, steps[0] if len(steps) else 0.0))
            stds.append(np.where(varies, std, 0.0))
            floors.append(floor)
        return cls(np.stack(means), np.stack(stds), np.stack(floors))

    def where_constant(self, new: Scale) -> Scale:
        """The same, but the new one of columns that were constant: nothing was known of how they vary."""
        parts = zip(vars(self).values(), vars(new).values(), strict=True)
        return Scale(*(np.where(self.std == 0.0, theirs, own) for own, theirs in parts))

    def scaled(self, k: int, steps: Host) -> Host:
        """Differences (..., F) of series k, finite however far they are."""
        std = np.where(self.std[k] == 0.0, 1.0, self.std[k])
        return np.clip((steps - self.mean[k]) / std, -FAR, FAR)


@dataclass(frozen=True)
class Frame:
    """Rows of all series: what a step is like, and what is known of the one after it.

    powered, scaled, known (R, F); extras (R, E); starts (N + 1,), where each series begins.
    """

    transform: Transform
    scale: Scale
    series: tuple[Series, ...]
    periods: tuple[float, ...]
    covariates: tuple[Host, Host]
    """Means and deviations (Q + P + S,) of the covariates and what else stands in extras beside the season."""
    static: Host
    """(N, S)."""
    gaps: bool
    """Whether the steps since the last known value are among the extras."""

    @cached_property
    def starts(self) -> Host:
        return np.concatenate([[0], np.cumsum([len(each) for each in self.series])])

    @cached_property
    def owner(self) -> Host:
        """(R,) the number of each row's series."""
        return np.repeat(np.arange(len(self.series)), np.diff(self.starts))

    @cached_property
    def _filled(self) -> list[tuple[Host, Host]]:
        return [each.held() for each in self.series]

    @cached_property
    def known(self) -> Host:
        return np.concatenate([known for _, known in self._filled])

    @cached_property
    def values(self) -> Host:
        """(R, F), NaN where missing."""
        return np.concatenate([each.values for each in self.series])

    @cached_property
    def powered(self) -> Host:
        floors = self.scale.floor
        return np.concatenate([self.transform.powered(v, floors[k]) for k, (v, _) in enumerate(self._filled)])

    @cached_property
    def scaled(self) -> Host:
        parts = []
        for k, (first, last) in enumerate(zip(self.starts[:-1], self.starts[1:], strict=True)):
            parts.append(self.scale.scaled(k, self.transform.differenced(self.powered[first:last])))
        return np.concatenate(parts)

    @cached_property
    def extras(self) -> Host:
        return np.concatenate([self.extras_of(k, np.arange(1, len(s) + 1)) for k, s in enumerate(self.series)])

    def extras_of(self, k: int, steps: Host, origin: Host | int | None = None) -> Host:
        """What is known, one step before each of these steps (...) of series k, beside its values: (..., E).

        Season and future covariates are those of the step itself, past ones those of the step before, or before
        ``origin``: nothing of the past is seen after it.
        """
        each = self.series[k]
        seen = steps - 1 if origin is None else np.minimum(steps, origin) - 1
        shape = np.shape(steps)
        parts = []
        if each.future.size:
            parts.append(each.future[np.minimum(steps, len(each.future) - 1)])
        if each.past.size:
            parts.append(each.past[seen])
        if self.static.size:
            parts.append(np.broadcast_to(self.static[k], (*shape, self.static.shape[1])))
        told = np.concatenate(parts, axis=-1) if parts else np.zeros((*shape, 0))
        mean, std = self.covariates
        found = [
            harmonics(each.start + steps, self.periods),
            np.clip((told - mean) / np.where(std == 0.0, 1.0, std), -FAR, FAR),
        ]
        if self.gaps:
            since = each.since_known(self._filled[k][1])[seen]
            found.append(since if origin is None else np.where((steps <= origin)[..., None], since, 0.0))
        return np.concatenate(found, axis=-1)

    def inverse(self, steps: Host, rows: Host) -> Host:
        """Values (M, K, F) of scaled differences (M, K, F) after origins (M,), as rows."""
        owner = self.owner[rows - 1]
        found = steps * self.scale.std[owner][:, None] + self.scale.mean[owner][:, None]
        return self.transform.unpowered(self.transform.integrated(found, self.powered, rows))
