"""What becomes of the losses of elements: masks that select them, weights, and their mean, sum or all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from xprnn import ops
from xprnn.arguments import floating_input, input_tensor
from xprnn.backend import Array, dtype_name, namespace, shared_namespace
from xprnn.tensor import Tensor
from xprnn.train.weighted import Mean

REDUCTIONS = ("mean", "sum", "none")


def elementwise(
    owner: str,
    name: str,
    prediction: Any,
    target: Any,
    mask: Any,
    loss: Callable[[Tensor, Tensor], Tensor],
    reduction: str,
    weight: Any,
    by_weight: bool = False,
    whole: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """A loss that compares element with element; its mean is over the sum of weights or the number of elements.

    ``whole`` is the mean of all of them as one operation, where there is one.
    """
    check_reduction(owner, reduction)
    prediction = floating_input(owner, name, prediction)
    target = input_tensor(owner, "target", target)
    if target.shape != prediction.shape:
        shapes = f"{prediction.shape} and target {target.shape}"
        raise ValueError(f"{owner}: {name} has shape {shapes}; expected equal shapes: nothing is broadcast")
    xp = shared_namespace(owner, (name, "target"), prediction.data, target.data)
    if target.dtype != prediction.dtype:
        dtypes = dtype_name(target.data), dtype_name(prediction.data)
        raise TypeError(f"{owner}: target has dtype {dtypes[0]}; expected {dtypes[1]}, as {name}: cast it first")
    if weight is not None:
        weight = _broadcast_weight(owner, name, weight, prediction)
    if mask is None and weight is None and reduction == "mean" and whole is not None and prediction.size:
        return Mean(whole(prediction, target), float(prediction.size))
    if mask is None:
        chosen, losses = None, loss(prediction, target)
    else:
        chosen = leading(owner, mask, prediction.data, name)
        # Selected before and after: the first keeps NaN away from the gradients, the second drops the loss of 0 and 0.
        losses = loss(ops.where(chosen, prediction, 0.0), ops.where(chosen, target, 0.0))
        losses = ops.where(chosen, losses, 0.0)
    if weight is not None:
        weight = weight if chosen is None else xp.where(chosen, weight, xp.zeros_like(weight))
        losses = losses * weight
    if reduction != "mean":
        return reduced(losses, reduction, None)
    if weight is not None and by_weight:
        return reduced(losses, reduction, xp.sum(weight))
    if chosen is None:
        return Mean(ops.mean(losses) if prediction.size else ops.sum(losses), float(prediction.size))
    counted = xp.broadcast_to(xp.astype(chosen, prediction.dtype), prediction.shape)
    return reduced(losses, reduction, xp.sum(counted))


def reduced(losses: Tensor, reduction: str, total: Array | None) -> Tensor:
    """The losses of the elements; their sum; or over the total, which is the weight of that mean: 0 where it is 0."""
    if reduction == "none":
        return losses
    if total is None:
        return ops.sum(losses)
    xp = namespace(losses.data)
    return Mean(ops.sum(losses) / xp.where(total == 0, xp.full_like(total, math.inf), total), total)


def check_reduction(owner: str, reduction: Any) -> None:
    """Raise ValueError for a reduction that there is not."""
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ValueError(f"{owner}: reduction is {reduction!r}; expected 'mean', 'sum' or 'none'")


def _broadcast_weight(owner: str, name: str, weight: Any, like: Tensor) -> Any:
    """A weight of each element, which broadcasts to the prediction's shape."""
    weight = input_tensor(owner, "weight", weight).data
    xp = shared_namespace(owner, (name, "weight"), like.data, weight)
    if weight.dtype != like.dtype:
        dtypes = dtype_name(weight), dtype_name(like.data)
        raise TypeError(f"{owner}: weight has dtype {dtypes[0]}; expected {dtypes[1]}, as {name}: cast it first")
    try:
        return xp.broadcast_to(weight, like.shape)
    except ValueError:
        shapes = f"{tuple(weight.shape)}; expected {like.shape}, as {name}, or one that broadcasts to it"
        raise ValueError(f"{owner}: weight has shape {shapes}") from None


def leading(owner: str, mask: Any, like: Array, name: str) -> Array:
    """A mask over the leading axes of an array, with axes of length 1 in place of the others."""
    mask = input_tensor(owner, "mask", mask).data
    shape, expected = tuple(mask.shape), tuple(like.shape)
    if dtype_name(mask) != "bool":
        raise TypeError(f"{owner}: mask has dtype {dtype_name(mask)}; expected bool")
    if shape != expected[: len(shape)]:
        raise ValueError(f"{owner}: mask has shape {shape}; expected {expected}, as {name}, or its leading axes")
    xp = shared_namespace(owner, (name, "mask"), like, mask)
    return xp.reshape(mask, (*shape, *[1] * (len(expected) - len(shape))))


def check_weight(owner: str, name: str, weight: Any, logits: Tensor) -> None:
    """Raise ValueError, or TypeError, for a weight that is not one for each class, beside the logits."""
    shared_namespace(owner, ("logits", name), logits.data, weight)
    if tuple(weight.shape) != logits.shape[-1:] or weight.dtype != logits.dtype:
        raise ValueError(
            f"{owner}: {name} has shape {tuple(weight.shape)} and dtype {dtype_name(weight)}; "
            f"expected {logits.shape[-1:]} and {dtype_name(logits.data)}"
        )
