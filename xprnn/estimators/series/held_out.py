"""What members say of steps that they have not learned: which of them to combine, and how wrong that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from xprnn.estimators.series.frame import Series
from xprnn.estimators.series.learning import Task
from xprnn.estimators.series.member import Member
from xprnn.estimators.series.plans import spread
from xprnn.estimators.series.transforms import held

Host = np.ndarray[Any, Any]
MOST_AHEAD = 48  # steps that errors are measured over, where forecasts go on as far as one likes
SURELY = 4.0  # standard errors by which a member that is left out is worse than the best one


@dataclass(frozen=True)
class HeldOut:
    """Forecasts of the last steps of the series, by members that have learned those before.

    which, origins (M,), their series and places; actual (M, H, F), NaN where it has not come or is missing.
    """

    task: Task
    members: tuple[Member, ...]
    which: Host
    origins: Host
    actual: Host

    @classmethod
    def of(cls, task: Task, members: Sequence[Member], lengths: Sequence[int]) -> HeldOut:
        """After the first so many steps of each series."""
        horizon = task.options["horizon"]
        rest = max(length - cut for length, cut in zip(task.lengths, lengths, strict=True))
        ahead = horizon if horizon > 1 else max(1, min(rest // 2, MOST_AHEAD), min(rest, task.options["ahead"]))
        which, origins = task.watched(lengths, 1)
        actual = np.full((len(which), ahead, task.columns), np.nan)
        for k in np.unique(which):
            values = np.concatenate([task.series[k].values, np.full((ahead, task.columns), np.nan)])
            actual[which == k] = values[origins[which == k][:, None] + np.arange(ahead)]
        return cls(task, tuple(members), which, origins, actual)

    @cached_property
    def _at_once(self) -> list[Host]:
        """(M, K, F) of each member: the steps that its network says at once."""
        return [self._said(member, self.task.options["horizon"]) for member in self.members]

    def _said(self, member: Member, ahead: int) -> Host:
        return member.forecast(self.task.series, self.which, self.origins, ahead)

    def kept(self) -> list[int]:
        """The members to combine: all but those that are surely worse than the best one, forecast by forecast.

        Of few steps little is sure, and the mean of all is better then than what was the best by luck.
        """
        unit = np.stack([spread(each.values) for each in self.task.series])[self.which][:, None]
        ahead = self.task.options["horizon"]
        actual, everybody = self.actual[:, :ahead], list(range(len(self.members)))
        known = ~np.isnan(actual)
        come = known.any(axis=(1, 2))
        if come.sum() < 2:
            return everybody
        wrong = [np.where(known, np.square(said - actual) / unit, 0.0) for said in self._at_once]
        losses = np.array([each[come].sum(axis=(1, 2)) / known[come].sum(axis=(1, 2)) for each in wrong])
        finite = np.flatnonzero(np.isfinite(losses).all(axis=1))
        if not len(finite):
            return everybody
        losses = losses[finite]
        more = losses - losses[losses.mean(axis=1).argmin()]
        # Errors over several steps have most of these in common with the ones from the place before.
        error = more.std(axis=1) / np.sqrt(max(more.shape[1] / ahead, 1.0))
        return finite[more.mean(axis=1) <= SURELY * error].tolist()

    def errors(self, kept: Sequence[int]) -> tuple[Host, Host]:
        """Those of the combined forecasts (M, H, F), powered as the first one's, and the units (N, F) they are in."""
        first = self.members[kept[0]]
        powered, unit = first.plan.transform.powered, units(first, self.task.series)
        least, said = first.scale.floor[self.which][:, None], self._combined(kept)
        return (powered(self.actual, least) - powered(said, least)) / unit[self.which][:, None], unit

    def _combined(self, kept: Sequence[int]) -> Host:
        """(M, H, F), the mean of what these members say."""
        ahead = self.actual.shape[1]
        if not len(self.which):
            return self.actual
        if ahead == self.task.options["horizon"]:
            return np.mean([self._at_once[k] for k in kept], axis=0)
        return np.mean([self._said(self.members[k], ahead) for k in kept], axis=0)


def units(member: Member, series: Sequence[Series]) -> Host:
    """(N, F): the root mean squared change of each series, powered as a member's; 1 where it never changes."""
    powered, floor = member.plan.transform.powered, member.scale.floor
    own = [powered(held(each.values)[0], floor[k]) for k, each in enumerate(series)]
    unit = np.stack([np.sqrt(np.square(np.diff(w, axis=0)).sum(axis=0) / max(len(w) - 1, 1)) for w in own])
    return np.where(unit > 0.0, unit, 1.0)
