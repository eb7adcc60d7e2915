"""How a series is best made ready for a network: plans, and the ones that would have forecast its own past best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from xprnn.estimators.series.frame import Frame, Series
from xprnn.estimators.series.linear import Moments, lagged, said
from xprnn.estimators.series.transforms import Transform

Host = np.ndarray[Any, Any]
POWERS = (1.0, 0.5, 0.0)
LAGS = (1, 2, 3, 5, 7, 12, 29)
LONGEST_SEASON = 60  # steps that lags and differences reach back over; sines and cosines tell of longer seasons
MOST_JOINT = 40  # inputs of a column that sees the steps of all of them
HARMONICS = 6
FOLDS, SHARE = 5, 0.4  # the last part of the series, in which plans are tried, and how many times they are fitted there
LEAST_ROWS = 8
WORSE = 1.3  # squared errors, of those of the best plan, with which another kind of differences is still combined
WINDOW = 30
MEMBERS, MEMBERS_OF_MANY, MANY = 4, 2, 10
"""How many plans are combined where nobody says it, and of many series."""


@dataclass(frozen=True)
class Plan:
    """A transform, how many lags of it the autoregression has, of all columns where they are joint, and the waves.

    That many sines and cosines tell of each period.
    """

    transform: Transform
    lags: int
    joint: bool = False
    waves: int = 1

    @property
    def reach(self) -> int:
        """The steps of the series that it needs."""
        return self.transform.lead + self.lags

    @property
    def window(self) -> int:
        """The steps of the least window, which leaves its network one to read."""
        return self.transform.lead + max(self.lags, 1)

    def periods(self, periods: Sequence[float]) -> tuple[float, ...]:
        """The lengths of all its waves."""
        return tuple(period / wave for period in periods for wave in range(1, self.waves + 1))

    def plain(self) -> list[float]:
        """As numbers, which a file can hold."""
        return [*astuple(self.transform), self.lags, int(self.joint), self.waves]


FrameOf = Callable[[Plan, Sequence[Series], Sequence[int]], Frame]
"""The frame of a plan over series, scaled by the first so many steps of each."""


def candidates(
    columns: int, shortest: int, reach: int, periods: Sequence[float], positive: bool, transforms: str
) -> Iterator[Plan]:
    """The plans that series of this length allow, which see at most ``reach`` steps back."""
    seasons = [round(period) for period in periods if round(period) <= LONGEST_SEASON]
    lags = sorted({*LAGS, *(k * season + 1 for season in seasons for k in (1, 2))})
    longest = max((round(period) for period in periods), default=0)
    waves = sorted({1, min(HARMONICS, max(1, min((round(p) // 2 for p in periods), default=1)))})
    free = transforms == "auto"
    for power in POWERS if free and positive else POWERS[:1]:
        for differences in (0, 1) if free else (0,):
            for season in (0, *(s for s in seasons if s > 1 and shortest >= 4 * s)) if free else (0,):
                transform = Transform(power, differences, season)
                for lag in ([0] if transform.lead else []) + lags:
                    if Plan(transform, lag).window > reach or 2 * lag >= 0.6 * shortest:
                        continue
                    for wave in waves if longest and not season else (1,):
                        yield Plan(transform, lag, False, wave)
                        if columns > 1 and 0 < lag * columns <= MOST_JOINT:
                            yield Plan(transform, lag, True, wave)


def choose(
    frame_of: FrameOf,
    series: Sequence[Series],
    plans: Iterator[Plan],
    fallback: Plan,
    count: int,
    horizon: int,
) -> list[Plan]:
    """The plans to combine, ``count`` of them, the best first.

    Each is tried on the last part of the series, fold by fold, fitted on what came before. Of each kind of differences
    the best is taken, where its squared error is not WORSE than the best plan's; then the second ones, and so on, and
    at last the same ones again: members then differ by their seeds.
    """
    cuts = [np.linspace(len(each) * (1.0 - SHARE), len(each), FOLDS + 1).astype(int) for each in series]
    spreads = np.stack([spread(each.values[: cut[0]]) for each, cut in zip(series, cuts, strict=True)])
    found: list[tuple[float, int, Plan]] = []
    for plan in plans:
        error = _tried(plan, frame_of(plan, series, [int(cut[0]) for cut in cuts]), cuts, spreads, horizon)
        if error is not None and np.isfinite(error):
            found.append((error, len(found), plan))
    if not found:
        return [fallback] * count
    found.sort()
    kinds: dict[tuple[int, int], list[Plan]] = {}
    for error, _, plan in found:
        if error <= WORSE * found[0][0]:
            kinds.setdefault((plan.transform.differences, plan.transform.season), []).append(plan)
    places = [(place, kind) for kind, held in enumerate(kinds.values()) for place in range(min(len(held), count))]
    ranked = [list(kinds.values())[kind][place] for place, kind in sorted(places)]
    return [ranked[k % len(ranked)] for k in range(count)]


def _tried(plan: Plan, frame: Frame, cuts: Sequence[Host], spreads: Host, horizon: int) -> float | None:
    """The mean squared error over the folds, in deviations of each series' changes; None where it cannot be fitted."""
    moments, total, weight = None, 0.0, 0.0
    for fold in range(FOLDS):
        learned = [
            _origins(frame, k, plan, cut[fold - 1] if fold else 0, cut[fold], horizon) for k, cut in enumerate(cuts)
        ]
        rows = np.concatenate(learned)
        if not fold and len(rows) < max(LEAST_ROWS, plan.lags // 2):
            return None
        if len(rows):
            more = moments_at(frame, plan, rows, horizon)
            moments = more if moments is None else moments + more
        assert moments is not None
        weights, biases = moments.solve()
        places = [
            np.arange(max(cut[fold], plan.reach), min(cut[fold + 1], len(each) - horizon + 1))
            for cut, each in zip(cuts, frame.series, strict=True)
        ]
        rows = np.concatenate([start + part for start, part in zip(frame.starts[:-1], places, strict=True)])
        steps = said(weights, biases, lagged(frame.scaled, frame.extras, rows, plan.lags, plan.joint))
        actual, unit = frame.values[rows[:, None] + np.arange(horizon)], spreads[frame.owner[rows - 1]][:, None]
        error = np.square(frame.inverse(steps, rows) - actual) / unit
        known = ~np.isnan(error)
        total, weight = total + float(error[known].sum()), weight + float(known.sum())
    return total / weight if weight else None


def _origins(frame: Frame, k: int, plan: Plan, first: int, last: int, horizon: int) -> Host:
    """The rows of series k whose targets end after ``first`` and before ``last``."""
    local = np.arange(max(first - horizon + 1, plan.reach), last - horizon + 1)
    return frame.starts[k] + local


def moments_at(frame: Frame, plan: Plan, rows: Host, horizon: int) -> Moments:
    """The sums of the autoregression over origins, as rows of the frame; steps that are not known do not count."""
    ahead = rows[:, None] + np.arange(horizon)
    targets, known = frame.scaled[ahead], np.all(frame.known[ahead], axis=1)
    inputs = lagged(frame.scaled, frame.extras, rows, plan.lags, plan.joint)
    return Moments.of(inputs, np.moveaxis(targets, 2, 0), known.T)


def spread(values: Host) -> Host:
    """The mean squared change of each column, by which errors of several are made comparable."""
    changes = np.square(np.diff(values, axis=0))
    spread = np.nansum(changes, axis=0) / np.maximum(np.isfinite(changes).sum(axis=0), 1)
    return np.where(spread > 0.0, spread, 1.0)
