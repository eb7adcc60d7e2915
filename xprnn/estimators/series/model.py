"""What a forecaster is once it is fitted: members that are combined, and the errors that they made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from xprnn.backend import Backend, backend_of
from xprnn.distributed.alone import Alone
from xprnn.distributed.work import each
from xprnn.estimators.series.conformal import rolling_widths, width
from xprnn.estimators.series.distributions import DISTRIBUTIONS
from xprnn.estimators.series.frame import Frame, Scale, Series
from xprnn.estimators.series.held_out import HeldOut, units
from xprnn.estimators.series.learning import Task, carry_on, learn, relearn
from xprnn.estimators.series.member import Common, Member
from xprnn.estimators.series.plans import MANY, MEMBERS, MEMBERS_OF_MANY, WINDOW, Plan, candidates, choose
from xprnn.estimators.series.transforms import Transform
from xprnn.randomness import Rng, generator
from xprnn.train import Callback, History
from xprnn.train.communicator import Communicator

Host = np.ndarray[Any, Any]
OFF = 30.0  # standard deviations that no step is from the others which is like them
MOST_RESIDUALS = 1000  # of each member, the last ones, from which paths are drawn


@dataclass(frozen=True)
class Model:
    """Members (one or more), and what they were wrong by on the steps that they had not seen.

    residuals
        Of each member (R, K, F): scaled steps minus what was said of them.
    errors
        (M, H, F): of the combined forecasts, powered as the first member's, in ``unit`` of their series (N, F). NaN
        of steps that have not come, or are missing.
    """

    members: tuple[Member, ...]
    residuals: tuple[Host, ...]
    errors: Host
    unit: Host

    @property
    def window(self) -> int:
        """Steps of a series that a forecast sees."""
        return self.members[0].window

    @property
    def horizon(self) -> int:
        """Steps that the networks say at once."""
        return self.members[0].network.horizon

    def outweighing(self, series: Sequence[Series]) -> tuple[int, int, int, float] | None:
        """The first step after the first window of these series that outweighs all that was learned, if there is one.

        The numbers of its series, step and column, and how many standard deviations it is off, as the first member sees
        it: more than thirty, with a square above the number of steps in its autoregression, each of which has 1.
        """
        member = self.members[0]
        frame = member.common.frame(member.plan, tuple(series), member.scale)
        enough = np.maximum(np.sqrt(member.moments.count), OFF)
        for k, first in enumerate(frame.starts[:-1]):
            far = np.abs(frame.scaled[first + self.window : frame.starts[k + 1]])
            for row, column in np.argwhere((far > enough) & (member.scale.std[k] > 0.0))[:1].tolist():
                return k, self.window + row, column, float(far[row, column])
        return None

    def forecast(self, series: Sequence[Series], which: Host, origins: Host, horizon: int) -> Host:
        """The mean of the members' forecasts, as :meth:`Member.forecast`."""
        found = [member.forecast(series, which, origins, horizon) for member in self.members]
        return np.mean(found, axis=0) if len(found) > 1 else found[0]

    def paths(self, series: Sequence[Series], which: Host, origins: Host, horizon: int, count: int, rng: Rng) -> Host:
        """Futures (count, M, H, F) that might be after origins (M,) of series, whose numbers ``which`` (M,) says.

        Each goes step by step with one of the members, all of them as often, and at each step has one of the errors
        that this member made, all columns' together; or a draw from the distribution that its network says.
        """
        draws, number = generator(rng), len(origins)
        found = np.empty((count, number, horizon, series[0].values.shape[1]))
        for k, (member, residuals) in enumerate(zip(self.members, self.residuals, strict=True)):
            mine = np.arange(k, count, len(self.members))
            if not len(mine):
                continue
            draw = partial(member.distribution.drawn, draws, errors=residuals)
            said = member.forecast(series, np.tile(which, len(mine)), np.tile(origins, len(mine)), horizon, draw)
            if member.distribution.counts:  # which they are, but for float32
                said = np.maximum(np.round(said), 0.0)
            found[mine] = said.reshape(len(mine), number, horizon, -1)
        return found

    def bands(self, which: Host, forecasts: Host, widths: Host) -> Host:
        """(M, H, F, 2), the ends of intervals of these half widths around forecasts (M, H, F) of series (M,).

        Counts are not below 0, and so no end of theirs is.
        """
        member = self.members[0]
        middle = member.plan.transform.powered(forecasts, member.scale.floor[which][:, None])
        reach = widths * self.unit[which][:, None]
        ends = [member.plan.transform.unpowered(middle + sign * reach) for sign in (-1.0, 1.0)]
        found = np.stack(ends, axis=-1)
        return np.maximum(found, 0.0) if member.distribution.counts else found

    def widths(self, horizon: int, coverage: float) -> Host:
        """Half widths (H, F)."""
        return width(self.errors[:, :horizon], coverage)

    def rolling_bands(
        self, series: Sequence[Series], k: int, origins: Host, horizon: int, coverage: float, rate: float
    ) -> Host:
        """(M, H, F, 2), intervals after origins (M,) of series k, with the errors that were known at each."""
        which, values = np.full(len(origins), k), series[k].values
        said = self.forecast(series, which, origins, horizon)
        steps = origins[:, None] + np.arange(horizon)
        come, member = steps < len(values), self.members[0]
        actual = values[np.minimum(steps, len(values) - 1)]
        transform, floor = member.plan.transform, member.scale.floor[k]
        errors = (transform.powered(actual, floor) - transform.powered(said, floor)) / self.unit[k]
        errors = np.where(come[..., None], errors, np.nan)
        widths = rolling_widths(errors, origins, coverage, before=self.errors[:, :horizon], rate=rate)
        return self.bands(which, said, widths)


def learn_model(
    common: Common,
    series: Sequence[Series],
    options: Mapping[str, Any],
    cut: Callable[[int, int], int],
    home: Backend,
    callbacks: Sequence[Callback],
    progress: bool,
    communicator: Communicator | None,
    executor: Executor | None,
) -> tuple[Model, History]:
    """A model of series, and how training its first member went.

    Of the options ``horizon`` is how many steps networks say at once, and over ``ahead`` errors are measured at least.
    ``cut`` says, of a length and a window, how many steps are learned first, while the rest decides. What was decided
    then learns from everything. Members know nothing of each other, and are learned by an executor where there is one.
    """
    series = tuple(series)
    plans, window = _plans(common, series, options, cut)
    task = Task(common, series, window, options, home, communicator or Alone())
    lengths = [cut(len(each), window) for each in series]
    seeds = [options["seed"], *generator(options["seed"]).integers(2**31, size=len(plans) - 1).tolist()]
    told, all_of = tuple(callbacks), partial(each, owner="Forecaster.fit", name=_named, executor=executor)
    learned = all_of(_learn, [(task, p, lengths, s, told, progress) for p, s in zip(plans, seeds, strict=True)])
    watched = len(task.watched(lengths, options["horizon"])[0]) > 0
    held_out = HeldOut.of(task, tuple(member for member, _, _ in learned), lengths)
    kept = held_out.kept()
    members = tuple(learned[k][0] for k in kept)
    residuals = tuple(_residuals(task, member, lengths, watched) for member in members)
    if watched:
        again = [(task, plans[k], seeds[k], learned[k][2], told, progress) for k in kept]
        members = tuple(all_of(_relearn, again))
    errors, unit = held_out.errors(kept)
    return Model(members, residuals, errors, unit), learned[kept[0]][1]


def _learn(work: tuple[Any, ...]) -> tuple[Member, History, int]:
    return learn(*work)


def _relearn(work: tuple[Any, ...]) -> Member:
    return relearn(*work)


def _named(work: tuple[Any, ...]) -> str:
    return f"the member of {work[1]}"


def learn_more(
    model: Model,
    series: Sequence[Series],
    options: Mapping[str, Any],
    epochs: int,
    callbacks: Sequence[Callback],
    progress: bool,
) -> Model:
    """A model that has learned what comes in these series after their first window, which it had seen."""
    first = model.members[0]
    task = Task(first.common, tuple(series), model.window, options, backend_of(first.network.head.weight.data))
    members = tuple(carry_on(task, each, model.window, epochs, callbacks, progress) for each in model.members)
    found = replace(model, members=members)
    varied = (first.scale.std == 0.0) & (members[0].scale.std > 0.0)
    return _with_new_errors(found, task, varied) if varied.any() else found


def _with_new_errors(model: Model, task: Task, varied: Host) -> Model:
    """The same where columns (N, F) had been constant, which nothing was known of, but for what their unit is.

    Errors of columns of which all series had been are not known; futures repeat those that the members make now on what
    they have learned from.
    """
    old = varied.all(axis=0)
    residuals = []
    new = task.origins([model.window] * len(task.series), task.lengths, model.horizon)
    for member, before in zip(model.members, model.residuals, strict=True):
        made = _whole(*_errors(task, member, new))
        rows = max(len(made), len(before))
        made, before = (np.resize(part, (rows, *part.shape[1:])) for part in (made, before))
        residuals.append(np.where(old, made, before))
    unit = np.where(varied, units(model.members[0], task.series), model.unit)
    return replace(model, residuals=tuple(residuals), errors=np.where(old, np.nan, model.errors), unit=unit)


def _plans(
    common: Common, series: tuple[Series, ...], options: Mapping[str, Any], cut: Callable[[int, int], int]
) -> tuple[list[Plan], int]:
    """The members' plans, and the window that they share, which leaves two origins at least to learn from."""
    given, shortest = options["window"], min(len(each) for each in series)
    horizon, reach = options["horizon"], given or max(1, shortest // 2)
    while given is None and reach > 1 and cut(shortest, reach) - reach - horizon < 1:
        reach -= 1
    positive = all(bool((each.values[~np.isnan(each.values)] > 0.0).all()) for each in series)
    columns = series[0].values.shape[1]

    def frame_of(plan: Plan, parts: Sequence[Series], lengths: Sequence[int]) -> Frame:
        return common.frame(plan, parts, Scale.of(plan.transform, parts, lengths))

    free = "none" if DISTRIBUTIONS[options["distribution"]].counts else options["transforms"]
    tried = candidates(columns, shortest, reach, common.periods, positive, free)
    members = options["members"] or (MEMBERS if len(series) < MANY else MEMBERS_OF_MANY)
    plans = choose(frame_of, series, tried, Plan(Transform(), 1), members, horizon)
    if given is not None:
        return plans, given
    return plans, max(min(WINDOW, shortest // 4, reach), *(plan.window for plan in plans))


def _residuals(task: Task, member: Member, lengths: Sequence[int], watched: bool) -> Host:
    """What a member was wrong by (R, K, F), where it had not seen it or, if nothing is known of that, where it had."""
    parts = [task.watched(lengths, task.options["horizon"])] if watched else []
    for places in (*parts, task.learned(task.window, lengths)):
        error, known = _errors(task, member, places)
        if known.any(axis=0).all():
            break
    return _whole(error, known)


def _errors(task: Task, member: Member, places: tuple[Host, Host]) -> tuple[Host, Host]:
    """Scaled steps minus what is said of them after the last of these places (R, K, F), and which of them are known."""
    which, origins = (part[-MOST_RESIDUALS:] for part in places)
    frame, horizon = task.common.frame(member.plan, task.series, member.scale), task.options["horizon"]
    ahead = (frame.starts[which] + origins)[:, None] + np.arange(horizon)
    return frame.scaled[ahead] - member.scaled(frame, which, origins, horizon), frame.known[ahead]


def _whole(error: Host, known: Host) -> Host:
    """Rows (R, K, F), one at least, of which something is known; the rest are others at this place, 0 without any."""
    some = known.any(axis=(1, 2))
    if not some.any():
        return np.zeros((1, *error.shape[1:]))
    flat, known = error[some].reshape(some.sum(), -1), known[some].reshape(some.sum(), -1)
    for column, there in zip(flat.T, known.T, strict=True):
        column[~there] = np.resize(column[there], (~there).sum()) if there.any() else 0.0
    return flat.reshape(-1, *error.shape[1:])
