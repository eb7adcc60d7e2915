"""One member of a forecaster: a plan, its autoregression, and the network that learns what that leaves over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.backend import Array, Backend, backend_of, generator, namespace
from xprnn.data import Batches, Drawn
from xprnn.estimators.series.frame import Frame, Scale, Series
from xprnn.estimators.series.linear import flat, lagged, said
from xprnn.estimators.series.network import ForecastNetwork, Sizes
from xprnn.estimators.series.plans import Plan, moments_at
from xprnn.tape import no_grad
from xprnn.tensor import Tensor
from xprnn.train import Adam, Callback, EarlyStopping, History, fit, gaussian_nll, mse, student_t_nll

Host = np.ndarray[Any, Any]
FREEDOM = 5.0  # of Student's t: its kurtosis is 9
LIKELIHOODS: dict[str, Any] = {"gaussian": gaussian_nll, "student": partial(student_t_nll, freedom=FREEDOM)}
DEVIATIONS = {"student": np.sqrt(FREEDOM / (FREEDOM - 2.0))}  # of a distribution whose scale is 1
MOST_AN_EPOCH = 4096  # origins; of more, so many are drawn anew for each epoch
ROWS_AT_ONCE = 2048  # forecasts made in one batch; bounds memory, changes no result


@dataclass(frozen=True)
class Common:
    """What all members of a fit share: periods, covariates' means and deviations, what series are, whether some of
    their values were missing.
    """

    periods: tuple[float, ...]
    covariates: tuple[Host, Host]
    static: Host
    gaps: bool

    def frame(self, plan: Plan, series: Sequence[Series], scale: Scale) -> Frame:
        """The rows of series as a plan has them."""
        periods = plan.periods(self.periods)
        return Frame(plan.transform, scale, tuple(series), periods, self.covariates, self.static, self.gaps)

    def extras(self, plan: Plan, columns: int) -> int:
        """How many numbers tell of a step beside its values."""
        return 2 * len(plan.periods(self.periods)) + len(self.covariates[0]) + (columns if self.gaps else 0)


@dataclass(frozen=True)
class Task:
    """What to learn from: series, and which of their steps are learned and which only looked at."""

    common: Common
    series: tuple[Series, ...]
    window: int
    options: Mapping[str, Any]
    home: Backend

    @property
    def columns(self) -> int:
        return self.series[0].values.shape[1]

    @property
    def lengths(self) -> list[int]:
        """Of the series."""
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


def sizes_of(plan: Plan, common: Common, columns: int, series: int, options: Mapping[str, Any]) -> Sizes:
    """Those of a plan's network."""
    names = ("cell", "hidden", "layers", "horizon")
    sizes = {name: options[name] for name in names} | {"spread": options["distribution"] != "errors"}
    return Sizes(columns=columns, extras=common.extras(plan, columns), lags=max(plan.lags, 1), series=series, **sizes)


@dataclass(frozen=True)
class Member:
    """A plan fitted to series: how they are scaled, and the network that says their next steps."""

    plan: Plan
    scale: Scale
    network: ForecastNetwork
    window: int
    common: Common = field(repr=False)

    def forecast(
        self, series: Sequence[Series], which: Host, origins: Host, horizon: int, noise: Host | None = None
    ) -> Host:
        """Values (M, K, F) after origins (M,) of series, whose numbers ``which`` (M,) says.

        ``noise`` (M, K, F), in units of what the network says of its scale, is added to each scaled step before it
        becomes the input of the next.
        """
        frame = self.common.frame(self.plan, series, self.scale)
        scaled = self.scaled(frame, which, origins, horizon, noise)
        found = np.empty(scaled.shape)
        for k in np.unique(which):
            rows = which == k
            found[rows] = frame.inverse(k, scaled[rows], origins[rows])
        return found

    def scaled(self, frame: Frame, which: Host, origins: Host, horizon: int, noise: Host | None = None) -> Host:
        """Likewise the scaled differences."""
        parts = [
            self._ahead(frame, which[rows], origins[rows], horizon, None if noise is None else noise[rows])
            for rows in np.array_split(np.arange(len(origins)), max(1, -(-len(origins) // ROWS_AT_ONCE)))
        ]
        return np.concatenate(parts)

    def _ahead(self, frame: Frame, which: Host, origins: Host, horizon: int, noise: Host | None) -> Host:
        network, sizes = self.network, self.network.sizes
        home, dtype = backend_of(network.head.weight.data), network.head.dtype
        at = frame.starts[which] + origins
        rows = np.concatenate([frame.scaled, frame.extras], axis=1)
        x = home.asarray(rows[at - self.steps + np.arange(self.steps)[:, None]].astype(dtype))
        lags = Tensor(home.asarray(frame.scaled[at - sizes.lags + np.arange(sizes.lags)[:, None]].astype(dtype)))
        named = home.asarray(which)
        drawn = None if noise is None else home.asarray(np.moveaxis(noise, 1, 0).astype(dtype))
        with no_grad():
            output, scale, state = network(x, lags, named)
            if drawn is not None:
                output = output + _noise(drawn[: sizes.horizon], scale)
            steps = [output]
            for k in range(1, horizon - sizes.horizon + 1):
                extras = np.empty((len(origins), sizes.extras))
                for n in np.unique(which):
                    mine = which == n
                    extras[mine] = frame.extras_of(n, origins[mine] + k, origins[mine])
                lags = ops.concat([lags[1:], ops.expand_dims(output[:, 0], 0)], axis=0)
                step = ops.concat([output[:, 0], home.asarray(extras.astype(dtype))], axis=1)
                output, scale, state = network(ops.expand_dims(step, 0), lags, named, state)
                if drawn is not None:
                    output = output + _noise(drawn[k : k + 1], scale)
                steps.append(output)
            return ops.concat(steps, axis=1).numpy()[:, :horizon].astype(np.float64)

    @property
    def steps(self) -> int:
        """The steps of differences that a window of values gives."""
        return self.window - self.plan.transform.lead


def solve(task: Task, plan: Plan, lengths: Sequence[int], seed: int) -> tuple[Member, Frame]:
    """A member whose autoregression is fitted to the first so many steps of each series, and its frame."""
    scale = Scale.of(plan.transform, task.series, lengths)
    frame = task.common.frame(plan, task.series, scale)
    which, origins = task.learned(plan.reach, lengths)
    rows, horizon = frame.starts[which] + origins, task.options["horizon"]
    weights, biases = moments_at(frame, plan, rows, horizon).solve()
    left = frame.scaled[rows[:, None] + np.arange(horizon)]
    left = left - said(weights, biases, lagged(frame.scaled, frame.extras, rows, plan.lags, plan.joint))
    network = task.network(plan, seed)
    weight = flat(weights, plan.lags, plan.joint)
    if not plan.lags:  # the network sees one step, and makes nothing of it
        weight = np.concatenate([np.zeros((len(weight), task.columns)), weight], axis=1)
    network.solved(
        weight, biases.T.reshape(-1), left.std(axis=0).reshape(-1) / DEVIATIONS.get(task.options["distribution"], 1.0)
    )
    return Member(plan, scale, network, task.window, task.common), frame


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
    if not len(held[0]):
        history = _train(task, member, frame, lengths, seed, epochs, None, stopping, progress)
        member.network.eval()
        return member, history, epochs
    watched = Batches(task.home.asarray(_rows(frame, held)), batch_size=ROWS_AT_ONCE)
    before = _losses(task, member, frame, watched)
    best = EarlyStopping(task.options["patience"])
    history = _train(task, member, frame, lengths, seed, epochs, watched, [best, *stopping], progress)
    member.network.eval()
    gained = before - _losses(task, member, frame, watched)
    if not gained.mean() > gained.std() / np.sqrt(len(gained)):
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
        _train(task, member, frame, task.lengths, seed, epochs, None, callbacks, progress)
    member.network.eval()
    return member


def _train(
    task: Task,
    member: Member,
    frame: Frame,
    lengths: Sequence[int],
    seed: int,
    epochs: int,
    watched: Batches | None,
    callbacks: Sequence[Callback],
    progress: bool,
) -> History:
    options, rows = task.options, _rows(frame, task.learned(task.window, lengths))
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
    )


def _rows(frame: Frame, places: tuple[Host, Host]) -> Host:
    which, origins = places
    return frame.starts[which] + origins


def _loss(task: Task, member: Member, frame: Frame, reduction: str = "mean") -> Any:
    """The squared error of scaled steps, of those that are known, or how surprising they are to the distribution."""
    surprise = LIKELIHOODS.get(task.options["distribution"])
    home, dtype, horizon = task.home, task.options["dtype"], task.options["horizon"]
    inputs = home.asarray(np.concatenate([frame.scaled, frame.extras], axis=1).astype(dtype))
    targets, owner = home.asarray(frame.scaled.astype(dtype)), home.asarray(frame.owner)
    known = None if frame.known.all() else home.asarray(frame.known)
    lags = member.network.sizes.lags

    def loss(model: Any, batch: tuple[Array, ...]) -> Tensor:
        rows = batch[0]
        x = _gather(inputs, rows, range(-member.steps, 0))
        named = namespace(rows).take(owner, rows - 1)
        prediction, scale, _ = model(x, _gather(targets, rows, range(-lags, 0)), named)
        wanted = _turned(_gather(targets, rows, range(horizon)))
        mask = None if known is None else _turned(_gather(known, rows, range(horizon)))
        if surprise is None:
            return mse(prediction, wanted, mask, reduction=reduction)
        return surprise(prediction, wanted, scale, mask, reduction=reduction)

    return loss


def _noise(drawn: Array, scale: Tensor | None) -> Any:
    """Draws (K, M, F) in units of a scale (M, K, F)."""
    return _turned(drawn) if scale is None else scale * _turned(drawn)


def _turned(steps: Array) -> Array:
    """(K, M, F) to (M, K, F) and back."""
    return namespace(steps).permute_dims(steps, (1, 0, 2))


def _gather(rows: Array, origins: Array, offsets: range) -> Array:
    """rows (N, C) at origin + offset: (len(offsets), M, C), on the device."""
    xp, ahead = namespace(rows), backend_of(rows).arange(len(offsets)) + offsets.start
    index = xp.reshape(xp.expand_dims(origins, axis=0) + xp.expand_dims(ahead, axis=1), (-1,))
    return xp.reshape(xp.take(rows, index, axis=0), (len(offsets), origins.shape[0], rows.shape[1]))
