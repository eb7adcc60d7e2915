"""How members learn: an autoregression solved for, and a network trained on what it leaves over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xprnn.backend import Array, Backend, backend_of, namespace
from xprnn.data import Batches, Drawn
from xprnn.distributed.alone import Alone
from xprnn.estimators.series.distributions import DISTRIBUTIONS, Errors, Zero
from xprnn.estimators.series.frame import Frame, Scale, Series
from xprnn.estimators.series.linear import flat, lagged, said
from xprnn.estimators.series.member import ROWS_AT_ONCE, Common, Member, sizes_of, turned
from xprnn.estimators.series.network import ForecastNetwork
from xprnn.estimators.series.plans import Plan, moments_at
from xprnn.grad_mode import no_grad
from xprnn.randomness import generator
from xprnn.tensor import Tensor
from xprnn.train import Adam, Callback, EarlyStopping, History, fit
from xprnn.train.communicator import Communicator

Host = np.ndarray[Any, Any]
MOST_AN_EPOCH = 4096  # origins; of more, so many are drawn anew for each epoch


@dataclass(frozen=True)
class Task:
    """What to learn from: series, of which some steps are learned from and others only watched."""

    common: Common
    series: tuple[Series, ...]
    window: int
    options: Mapping[str, Any]
    home: Backend
    communicator: Communicator = field(default_factory=Alone)

    @property
    def columns(self) -> int:
        return self.series[0].values.shape[1]

    @property
    def lengths(self) -> list[int]:
        """The length of each series."""
        return [len(each) for each in self.series]

    def origins(self, firsts: Sequence[int], lengths: Sequence[int], horizon: int) -> tuple[Host, Host]:
        """Places to forecast from, as numbers of series (M,) and of steps (M,): from the first ones on, as long as all
        steps ahead lie before ``lengths``.
        """
        found = [np.arange(f, max(f, length - horizon + 1)) for f, length in zip(firsts, lengths, strict=True)]
        return np.repeat(np.arange(len(found)), [len(part) for part in found]), np.concatenate(found)

    def learned(self, reach: int, lengths: Sequence[int]) -> tuple[Host, Host]:
        """The places that have so many steps before them, and their targets in the first so many steps."""
        return self.origins([reach] * len(lengths), lengths, self.options["horizon"])

    def watched(self, lengths: Sequence[int], horizon: int) -> tuple[Host, Host]:
        """The places after those."""
        return self.origins([max(self.window, length) for length in lengths], self.lengths, horizon)

    def network(self, plan: Plan, seed: int) -> ForecastNetwork:
        """An untrained one."""
        network = ForecastNetwork(
            sizes_of(plan, self.common, self.columns, len(self.series), self.options), self.options["dtype"], seed
        )
        network.to(self.home)
        return network


def solve(task: Task, plan: Plan, lengths: Sequence[int], seed: int) -> tuple[Member, Frame]:
    """A member whose autoregression is fitted to the first so many steps of each series, and its frame."""
    scale = Scale.of(plan.transform, task.series, lengths)
    frame = task.common.frame(plan, task.series, scale)
    rows, horizon = _rows(frame, task.learned(plan.reach, lengths)), task.options["horizon"]
    moments = moments_at(frame, plan, rows, horizon)
    weights, biases = moments.solve()
    network, distribution = task.network(plan, seed), DISTRIBUTIONS[task.options["distribution"]]
    network.solved(_weight(plan, weights), biases.T.reshape(-1))
    if distribution.spread:
        told = said(weights, biases, lagged(frame.scaled, frame.extras, rows, plan.lags, plan.joint))
        network.ignored(*_first(distribution, frame, rows, told))
    return Member(plan, scale, network, task.window, task.common, distribution, moments), frame


def _first(distribution: Errors, frame: Frame, rows: Host, told: Host) -> tuple[Host, Host]:
    """What (K, F) is added to what the autoregression says of steps (M, K, F), and the scales (K, F) or (K, F, S)."""
    steps, zero = (
        frame.scaled[rows[:, None] + np.arange(told.shape[1])],
        Zero.of(frame.scale).of_rows(frame.owner[rows]),
    )
    return distribution.beside(told, steps), distribution.first(told, steps, zero)


def _weight(plan: Plan, weights: Host) -> Host:
    """Weights (F, D, K) as the network has them, which sees one step at least, and of no lags makes nothing of it."""
    found = flat(weights, plan.lags, plan.joint)
    return found if plan.lags else np.concatenate([np.zeros((len(found), len(weights))), found], axis=1)


def learn(
    task: Task, plan: Plan, lengths: Sequence[int], seed: int, callbacks: Sequence[Callback], progress: bool
) -> tuple[Member, History, int]:
    """A member that has learned the first so many steps of each series and been watched on the rest, its history, and
    for how many epochs it is best trained.

    0 where the autoregression alone is as good: where the network's gain on the steps it was watched on is not larger
    than one standard error, as the best of many epochs always seems to be some.
    """
    member, frame = solve(task, plan, lengths, seed)
    held, epochs, stopping = task.watched(lengths, task.options["horizon"]), task.options["epochs"], list(callbacks)
    rows = _rows(frame, task.learned(task.window, lengths))
    if not len(held[0]):
        history = _train(task, member, frame, rows, seed, epochs, None, stopping, progress)
        member.network.eval()
        return member, history, epochs
    watched = Batches(task.home.asarray(_rows(frame, held)), batch_size=ROWS_AT_ONCE)
    before = _losses(task, member, frame, watched)
    best = EarlyStopping(task.options["patience"])
    history = _train(task, member, frame, rows, seed, epochs, watched, [best, *stopping], progress)
    member.network.eval()
    gained = before - _losses(task, member, frame, watched)
    if not task.communicator.broadcast(bool(gained.mean() > gained.std() / np.sqrt(len(gained)))):
        member.network.forget()
        return member, history, 0
    return member, history, best.best_epoch


def _losses(task: Task, member: Member, frame: Frame, places: Batches) -> Host:
    """(M,) the loss of each place, the mean of its steps and columns."""
    loss = _loss(task, member, frame, "none")
    with no_grad(), member.network.mode(False):
        found = [loss(member.network, batch).numpy().mean(axis=(1, 2)) for batch in places]
    return np.concatenate(found).astype(np.float64)


def relearn(task: Task, plan: Plan, seed: int, epochs: int, callbacks: Sequence[Callback], progress: bool) -> Member:
    """A member that has learned all of the series, for so many epochs."""
    member, frame = solve(task, plan, task.lengths, seed)
    if epochs:
        rows = _rows(frame, task.learned(task.window, task.lengths))
        _train(task, member, frame, rows, seed, epochs, None, callbacks, progress)
    member.network.eval()
    return member


def carry_on(
    task: Task, member: Member, known: int, epochs: int, callbacks: Sequence[Callback], progress: bool
) -> Member:
    """A member that has learned more: what comes after the first ``known`` steps of each series, as it sees them.

    Its autoregression is the one that all steps give which it has ever seen; its network, if it is listened to, is
    trained on with the new ones. Columns that were constant are scaled as these steps are, and count as their mean in
    what was seen before, as they did.
    """
    plan, horizon = member.plan, task.options["horizon"]
    scale = member.scale.where_constant(Scale.of(plan.transform, task.series, task.lengths))
    frame = task.common.frame(plan, task.series, scale)
    count = len(task.series)
    firsts = [max(plan.reach, known - horizon + 1)] * count
    moments = member.moments + moments_at(
        frame, plan, _rows(frame, task.origins(firsts, task.lengths, horizon)), horizon
    )
    network = task.network(plan, 0)
    network.load_state_dict(member.network.state_dict())
    if member.moments.count.any():  # else it is persistence, of a file of before
        weights, biases = moments.solve()
        network.solved(_weight(plan, weights), biases.T.reshape(-1))
        fresh = (member.scale.std == 0.0).all(axis=0) & (scale.std > 0.0).any(axis=0)
        if member.distribution.spread and fresh.any():
            again = _rows(frame, task.origins([task.window] * count, task.lengths, horizon))
            told = said(weights, biases, lagged(frame.scaled, frame.extras, again, plan.lags, plan.joint))
            network.ignored(*_first(member.distribution, frame, again, told), fresh)
    new = replace(member, scale=scale, network=network, moments=moments)
    rows = _rows(frame, task.origins([known] * count, task.lengths, horizon))
    if len(rows) and network.listened:
        _train(task, new, frame, rows, task.options["seed"], epochs, None, callbacks, progress)
    network.eval()
    return new


def _train(
    task: Task,
    member: Member,
    frame: Frame,
    rows: Host,
    seed: int,
    epochs: int,
    watched: Batches | None,
    callbacks: Sequence[Callback],
    progress: bool,
) -> History:
    options = task.options
    size, home, draws = options["batch_size"], task.home, generator(seed)
    train: Batches | Drawn = Batches(home.asarray(rows), batch_size=size, shuffle=True, rng=draws)
    if len(rows) > MOST_AN_EPOCH:
        some = lambda rng: (home.asarray(rng.choice(rows, size)),)  # noqa: E731
        train = Drawn(some, updates=max(1, MOST_AN_EPOCH // size), axis=0, rng=draws)
    return fit(
        member.network,
        train,
        _loss(task, member, frame),
        Adam(member.network.trained(), lr=options["learning_rate"]),
        epochs=epochs,
        validation=watched,
        clip_norm=options["clip_norm"],
        callbacks=list(callbacks),
        progress=progress,
        communicator=task.communicator,
    )


def _rows(frame: Frame, places: tuple[Host, Host]) -> Host:
    which, origins = places
    return frame.starts[which] + origins


def _loss(task: Task, member: Member, frame: Frame, reduction: str = "mean") -> Any:
    """The negative log-likelihood, or the like, of scaled steps that are known, by the distribution."""
    distribution, zeros = member.distribution, Zero.of(member.scale).on(task.home, task.options["dtype"])
    home, dtype, horizon = task.home, task.options["dtype"], task.options["horizon"]
    inputs = home.asarray(np.concatenate([frame.scaled, frame.extras], axis=1).astype(dtype))
    targets, owner = home.asarray(frame.scaled.astype(dtype)), home.asarray(frame.owner)
    known = None if frame.known.all() else home.asarray(frame.known)
    lags = member.network.sizes.lags

    def loss(model: Any, batch: tuple[Array, ...]) -> Tensor:
        rows = batch[0]
        x = _gather(inputs, rows, range(-member.steps, 0))
        named = namespace(rows).take(owner, rows - 1)
        said, scale, _ = model(x, _gather(targets, rows, range(-lags, 0)), named)
        zero = zeros.of_rows(named) if distribution.counts else zeros
        wanted = turned(_gather(targets, rows, range(horizon)))
        mask = None if known is None else turned(_gather(known, rows, range(horizon)))
        return distribution.loss(distribution.mean(said, zero), wanted, scale, mask, zero, reduction)

    return loss


def _gather(rows: Array, origins: Array, offsets: range) -> Array:
    """rows (N, C) at origin + offset: (len(offsets), M, C), on the device."""
    xp, ahead = namespace(rows), backend_of(rows).arange(len(offsets)) + offsets.start
    index = xp.reshape(xp.expand_dims(origins, axis=0) + xp.expand_dims(ahead, axis=1), (-1,))
    return xp.reshape(xp.take(rows, index, axis=0), (len(offsets), origins.shape[0], rows.shape[1]))
