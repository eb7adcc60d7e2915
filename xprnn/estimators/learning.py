"""How estimators of sequences and of texts train their networks, and what these then answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import several
from xprnn.backend import Array, backend_of, dtype_name, namespace, to_numpy
from xprnn.data.bucketing import Buckets
from xprnn.data.padding import lengths_to_mask, pad_sequences
from xprnn.data.rows import Rows
from xprnn.estimators.estimator import Estimator
from xprnn.estimators.portions import STEPS_AT_ONCE, portions
from xprnn.grad_mode import no_grad
from xprnn.randomness import Rng, generator
from xprnn.tensor import Tensor
from xprnn.train import Adam, Callback, EarlyStopping, History, cross_entropy, fit
from xprnn.train.communicator import Communicator
from xprnn.train.run import Run
from xprnn.train.weighted import Mean

Host = np.ndarray[Any, Any]
Loss = Callable[[Any, tuple[Array, ...]], Tensor]
Measure = Callable[[list[Host]], float]
LOWER = ("mae",)
"""The measures of which less is better; of all others more is."""


class Watch(Callback):
    """Records a measure of the whole validation part after each epoch, for early stopping. Rank 0 measures for all."""

    def __init__(self, name: str, rows: Sequence[Host] | Rows, measure: Measure) -> None:
        self.name, self.rows, self.measure = f"validation_{name}", rows, measure

    def on_fit_start(self, run: Run) -> None:
        run.recorded = (*run.recorded, self.name)

    def on_epoch_end(self, run: Run) -> None:
        found = self.measure(outputs(run.model, self.rows)) if run.ranks.rank == 0 else 0.0
        run.history.epochs[-1][self.name] = run.ranks.of_first(found)


def learn(
    estimator: Estimator,
    network: Any,
    data: tuple[Any, ...],
    held: Host,
    loss: Loss,
    measure: Measure | None,
    callbacks: Sequence[Callback],
    communicator: Communicator | None,
    rng: Rng,
    batch_size: int,
) -> History:
    """Train a network by the settings of an estimator, in buckets of sequences (T_n, ...) of about equal lengths.

    ``data`` are the sequences and what belongs to them, lists or arrays (N, ...). Those held out (N,) are validated on,
    if there are any: training stops where the loss gets no better there or, with another ``monitor`` among the
    settings, what ``measure`` makes of what the network says of them.
    """
    options, home = estimator.settings, backend_of(network.head.weight.data)

    def buckets(rows: Host, size: int, shuffle: bool) -> Buckets | None:
        chosen = np.flatnonzero(rows)
        if not chosen.size:
            return None
        parts = [_chosen(part, chosen) for part in data]
        return Buckets(*parts, batch_size=size, shuffle=shuffle, rng=generator(rng))

    def moved(model: Any, batch: tuple[Array, ...]) -> Tensor:
        return loss(model, (home.asarray(batch[0]), batch[1], *map(home.asarray, batch[2:])))

    longest = max(lengths_of(data[0]))
    validation = buckets(held, max(1, STEPS_AT_ONCE // longest), False)
    train = buckets(~held, batch_size, True)
    assert train is not None
    watched: list[Callback] = []
    monitor = options.get("monitor", "loss")
    if validation is not None and monitor == "loss":
        watched = [EarlyStopping(options["patience"])]
    elif validation is not None:
        assert measure is not None
        watch = Watch(monitor, _chosen(data[0], np.flatnonzero(held)), measure)
        mode = "min" if monitor in LOWER else "max"
        watched = [watch, EarlyStopping(options["patience"], monitor=watch.name, mode=mode)]
    history = fit(
        network,
        train,
        moved,
        Adam(network.parameters(), lr=options["learning_rate"]),
        epochs=options["epochs"],
        validation=validation,
        clip_norm=options["clip_norm"],
        callbacks=[*watched, *several(type(estimator).__name__, "callbacks", callbacks)],
        progress=estimator.progress,
        communicator=communicator,
    )
    network.eval()
    return history


def outputs(network: Any, rows: Sequence[Host] | Rows) -> list[Host]:
    """What the head says of scaled sequences, (O,) or (T_n, O) each, in float64.

    The loops of the recurrent kernels give a row the same bits in any batch. Products outside them may round otherwise
    beside other rows: the head's, which is therefore taken in float64, and those of linear cells and of attention.
    A head with weights of 8 bits has sums of whole numbers, which round nowhere.
    """
    head = network.head
    home, xp = backend_of(head.weight.data), namespace(head.weight.data)

    def said_of(seen: Tensor) -> Host:
        if dtype_name(head.weight.data) == "int8":
            return to_numpy(xp.astype(head(seen).data, xp.float64))
        weight, bias = (xp.astype(p.data, xp.float64) for p in (head.weight, head.bias))
        return to_numpy(xp.matmul(xp.astype(seen.data, xp.float64), xp.permute_dims(weight, (1, 0))) + bias)

    found: list[Host] = [np.zeros(0)] * len(rows)
    with no_grad(), network.mode(False):
        for part in portions(lengths_of(rows)):
            x, lengths = pad_sequences([rows[k] for k in part])
            said = said_of(network.seen(home.asarray(x), lengths))
            for place, k in enumerate(part):
                found[k] = said[place] if said.ndim == 2 else said[: int(lengths[place]), place]
    return found


def weighted_mean(losses: Tensor, weight: Array | float, count: float | None = None) -> Tensor:
    """sum of w l / count, by default the number of losses. Over all batches w has the mean 1."""
    count = float(losses.size) if count is None else count
    return Mean(ops.sum(losses * weight) * (1.0 / max(count, 1.0)), count)


def mean_one(weight: Host, dtype: str) -> Host:
    """Weights divided by their mean."""
    return (weight / weight.mean()).astype(dtype)


def lengths_of(rows: Sequence[Any] | Rows) -> list[int]:
    """How many steps each sequence has."""
    return rows.lengths.tolist() if isinstance(rows, Rows) else [len(row) for row in rows]


def _chosen(part: Any, numbers: Host) -> Any:
    """Some of the rows of a list, an array, or rows that are made when asked for."""
    if isinstance(part, Rows):
        return part.taken(numbers)
    return part[numbers] if hasattr(part, "shape") else [part[k] for k in numbers]


def class_loss(model: Any, batch: tuple[Array, ...]) -> Tensor:
    """The weighted mean cross-entropy of (x, lengths, classes (B,), weights (B,))."""
    x, lengths, target, weight = batch
    return weighted_mean(cross_entropy(model(x, lengths), target, reduction="none"), weight)


def step_loss(of_class: Host) -> Loss:
    """The weighted mean cross-entropy of all steps, for (x, lengths, classes (T, B), lengths, weights (B,)).

    ``of_class`` (C,) says how much each class counts.
    """

    def loss(model: Any, batch: tuple[Array, ...]) -> Tensor:
        x, lengths, wanted, _, per_row = batch
        xp, home = namespace(x), backend_of(x)
        mask = home.asarray(lengths_to_mask(lengths, x.shape[0]))
        losses = cross_entropy(model(x, lengths), wanted, mask=mask, reduction="none")
        per_class = xp.take(home.asarray(of_class), xp.reshape(wanted, (-1,)), axis=0)
        per_step = xp.reshape(per_class, wanted.shape) * _spread_over_steps(per_row, x.shape[0])
        return weighted_mean(losses, per_step, float(lengths.sum()))

    return loss


def _spread_over_steps(weight: Array, steps: int) -> Array:
    """(B,) to (T, B)."""
    xp = namespace(weight)
    return xp.broadcast_to(xp.expand_dims(weight, axis=0), (steps, *weight.shape))
