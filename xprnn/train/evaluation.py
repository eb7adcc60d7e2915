"""What a model is worth on batches that it does not learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any

from xprnn.arguments import function, of_kind
from xprnn.grad_mode import no_grad
from xprnn.nn.module import Module
from xprnn.postponed import postponed
from xprnn.train.measured import Measured, drawn
from xprnn.train.ranks import Ranks
from xprnn.train.weighted import weighed_number

Metric = Callable[[Any, Any], Any]


def evaluate(model: Module, batches: Iterable[Any], loss: Metric) -> float:
    """The mean of ``loss(model, batch)`` over batches, in evaluation mode and without recording.

    Each batch has the weight of its loss: what the losses of this package are means over, such as the number of
    elements that a mask selects; or what ``loss`` returns beside it, as (loss, weight). Without either it has that of
    its size: the length of its first array (of the batch itself, where it is one) along ``batches.axis``, or axis 0; of
    another object its ``len``, or 1. NaN where all weights are 0.

    ``loss`` may be any measure, and return a plain number. The mode is that of this call only, so that other threads
    may use the model meanwhile. Waits for a GPU as :func:`fit` does. Raises TypeError for a loss that is not scalar,
    ValueError where there are no batches.
    """
    of_kind("evaluate", "model", model, Module)
    check_batches("evaluate", "batches", batches)
    return means_over(model, batches, function("evaluate", "loss", loss), {}, Ranks())["loss"]


def check_batches(owner: str, name: str, batches: Any) -> None:
    """Raise TypeError for what batches cannot come from."""
    if not hasattr(batches, "__iter__") and not hasattr(batches, "__getitem__"):
        raise TypeError(f"{owner}: {name} is a {type(batches).__name__}; expected Batches or a list of batches")


def means_over(
    model: Module, batches: Iterable[Any], loss: Metric, metrics: Mapping[str, Metric], ranks: Ranks
) -> dict[str, float]:
    """What :func:`evaluate` says of the loss and each metric, in one pass."""
    functions = {"loss": loss, **{f"metrics[{name!r}]": metric for name, metric in metrics.items()}}
    measured = ranks.tried(lambda: _evaluated(model, batches, functions, ranks))
    return dict(zip(("loss", *metrics), measured.means(ranks.add_up), strict=True))


def _evaluated(model: Module, batches: Iterable[Any], functions: Mapping[str, Metric], ranks: Ranks) -> Measured:
    axis, count = getattr(batches, "axis", 0), 0
    with model.mode(False), no_grad(), Measured([0.0] * len(functions)) as measured:
        for batch, checks in drawn(batches):
            count += 1
            if ranks.is_idle(batch):
                continue
            with postponed(checks):
                size = size_of(batch, axis)
                found = [weighed_number(name, each(model, batch), size) for name, each in functions.items()]
            values, weights = [value.data for value, _ in found], [weight for _, weight in found]
            measured.add(f"batch {count} of an evaluation", values, weights, checks)
    if count == 0:
        raise ValueError("evaluate: there are no batches")
    return measured


def size_of(batch: Any, axis: int) -> int:
    """How many elements a batch counts for, at least 1."""
    if isinstance(batch, (tuple, list)) and batch and hasattr(batch[0], "shape"):
        batch = batch[0]
    shape = getattr(batch, "shape", None)
    if shape is None:
        return max(1, len(batch)) if isinstance(batch, Sized) else 1
    return max(1, int(shape[axis])) if len(shape) > axis else 1
