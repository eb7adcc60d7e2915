"""Losses: how far predictions are from their targets, as one number to minimise.

All return a scalar Tensor, the mean over the selected elements. What lies under a False mask counts as absent: its
content, NaN included, changes neither the loss nor a gradient. Where nothing is selected the loss is exactly 0.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import input_tensor
from xprnn.backend import DTYPES, Array, backend_of, dtype_name, shared_namespace
from xprnn.postponed import within
from xprnn.tensor import Tensor


def mse(prediction: Any, target: Any, mask: Any = None) -> Tensor:
    """The mean squared error, mean of (prediction - target)^2.

    prediction, target of one shape and dtype; mask: booleans, of prediction's shape or of its leading axes, such as
    (T, B) for (T, B, F). Raises TypeError for wrong types, ValueError for shapes that differ.
    """
    return _elementwise("mse", "prediction", prediction, target, mask, lambda p, t: ops.square(p - t))


def mae(prediction: Any, target: Any, mask: Any = None) -> Tensor:
    """The mean absolute error, mean of |prediction - target|; gradient 0 at 0. Otherwise as :func:`mse`."""
    return _elementwise("mae", "prediction", prediction, target, mask, lambda p, t: ops.abs(p - t))


def huber(prediction: Any, target: Any, mask: Any = None, *, delta: float = 1.0) -> Tensor:
    """Squared for small errors e = prediction - target, linear for large ones (Huber 1964).

    e^2 / 2 where |e| <= delta, delta (|e| - delta / 2) beyond. Arguments and errors as in :func:`mse`; delta > 0.
    """
    if not delta > 0:
        raise ValueError(f"huber: delta is {delta}; expected a number above 0")

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        size = ops.abs(prediction - target)
        bounded = ops.minimum(size, float(delta))
        return bounded * (size - 0.5 * bounded)

    return _elementwise("huber", "prediction", prediction, target, mask, loss)


def bce_with_logits(logits: Any, target: Any, mask: Any = None, pos_weight: Any = None) -> Tensor:
    """The binary cross-entropy of probabilities sigmoid(x), from their logits x.

    mean of p t softplus(-x) + (1 - t) softplus(x), which neither overflows nor cancels; p is pos_weight, or 1.

    logits, target of one shape and dtype, target t from 0 to 1; mask as in :func:`mse`; pos_weight a number, or an
    array (C,) for logits (..., C), multiplies the loss of positive targets. Raises TypeError and ValueError.
    """
    weight = 1.0 if pos_weight is None else ops.value(pos_weight)
    weight = float(weight) if isinstance(weight, numbers.Real) else weight

    def loss(x: Tensor, t: Tensor) -> Tensor:
        if not isinstance(weight, float):
            _check_weight("bce_with_logits", "pos_weight", weight, x)
        return t * weight * ops.softplus(-x) + (1.0 - t) * ops.softplus(x)

    return _elementwise("bce_with_logits", "logits", logits, target, mask, loss)


def cross_entropy(
    logits: Any, target: Any, *, ignore_index: int = -100, weight: Any = None, mask: Any = None
) -> Tensor:
    """The cross-entropy of softmax(logits) with class numbers, sum of w[t] (-log softmax(logits)[t]) / sum of w[t].

    logits (..., C) floating; target (...) integers from 0 to C - 1, or ``ignore_index`` for elements that do not count;
    weight (C,), all 1 by default; mask: booleans, of target's shape or of its leading axes.

    Raises TypeError for wrong types, ValueError for wrong shapes and class numbers. Checking the numbers waits for a
    GPU once, but not inside ``fit``.
    """
    owner = "cross_entropy"
    logits = _floating(owner, "logits", input_tensor(owner, "logits", logits))
    target = input_tensor(owner, "target", target).data
    if not dtype_name(target).startswith(("int", "uint")):
        raise TypeError(f"{owner}: target has dtype {dtype_name(target)}; expected integers, the numbers of classes")
    if logits.ndim < 1 or logits.shape[-1] < 1 or tuple(target.shape) != logits.shape[:-1]:
        raise ValueError(
            f"{owner}: logits has shape {logits.shape} and target {tuple(target.shape)}; expected (..., C) and (...)"
        )
    xp = shared_namespace(owner, ("logits", "target"), logits.data, target)
    target, classes = xp.astype(target, xp.int64), logits.shape[-1]
    selected = target != ignore_index
    if mask is not None:
        selected = xp.logical_and(selected, _leading(owner, mask, target, "target"))

    def outside(number: int) -> ValueError:
        return ValueError(f"{owner}: target contains {number}; expected class numbers from 0 to {classes - 1}")

    target = within(xp.where(selected, target, xp.zeros_like(target)), classes, outside)
    if type(target) is not np.ndarray or not selected.all():  # to look at all of them would wait for a device
        # Rows that do not count are replaced before anything is computed from them: 0 * NaN would still be NaN.
        logits = ops.where(xp.expand_dims(selected, axis=-1), logits, 0.0)
    # One number of each row: taken from the flat array, whose gradient is a short scatter instead of a one-hot table.
    rows = xp.reshape(xp.arange(target.size, dtype=xp.int64, device=backend_of(target).device), target.shape)
    chosen = ops.take(ops.reshape(logits, (-1,)), rows * classes + target)
    losses = ops.logsumexp(logits, axis=-1) - chosen
    weights = xp.astype(selected, logits.dtype)
    if weight is not None:
        weight = ops.value(weight)
        _check_weight(owner, "weight", weight, logits)
        weights = weights * xp.reshape(xp.take(weight, xp.reshape(target, (-1,)), axis=0), target.shape)
    total = xp.sum(weights)
    return ops.sum(losses * weights) / xp.where(total == 0, xp.ones_like(total), total)


def _elementwise(
    owner: str, name: str, prediction: Any, target: Any, mask: Any, loss: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """The mean of a loss that compares element with element."""
    prediction = _floating(owner, name, input_tensor(owner, name, prediction))
    target = input_tensor(owner, "target", target)
    if target.shape != prediction.shape:
        shapes = f"{prediction.shape} and target {target.shape}"
        raise ValueError(f"{owner}: {name} has shape {shapes}; expected equal shapes: nothing is broadcast")
    xp = shared_namespace(owner, (name, "target"), prediction.data, target.data)
    if target.dtype != prediction.dtype:
        dtypes = dtype_name(target.data), dtype_name(prediction.data)
        raise TypeError(f"{owner}: target has dtype {dtypes[0]}; expected {dtypes[1]}, as {name}: cast it first")
    if mask is None:
        return ops.sum(loss(prediction, target)) * (1.0 / max(prediction.size, 1))
    chosen = _leading(owner, mask, prediction.data, name)
    # Selected before and after: the first keeps NaN away from the gradients, the second drops the loss of 0 against 0.
    losses = ops.where(chosen, loss(ops.where(chosen, prediction, 0.0), ops.where(chosen, target, 0.0)), 0.0)
    count = xp.sum(xp.broadcast_to(xp.astype(chosen, prediction.dtype), prediction.shape))
    return ops.sum(losses) / xp.maximum(count, xp.ones_like(count))


def _floating(owner: str, name: str, x: Tensor) -> Tensor:
    if dtype_name(x.data) not in DTYPES:
        raise TypeError(f"{owner}: {name} has dtype {dtype_name(x.data)}; expected float32 or float64")
    return x


def _leading(owner: str, mask: Any, like: Array, name: str) -> Array:
    """A mask over the leading axes of an array, with axes of length 1 in place of the others."""
    mask = input_tensor(owner, "mask", mask).data
    shape, expected = tuple(mask.shape), tuple(like.shape)
    if dtype_name(mask) != "bool":
        raise TypeError(f"{owner}: mask has dtype {dtype_name(mask)}; expected bool")
    if shape != expected[: len(shape)]:
        raise ValueError(f"{owner}: mask has shape {shape}; expected {expected}, as {name}, or its leading axes")
    xp = shared_namespace(owner, (name, "mask"), like, mask)
    return xp.reshape(mask, (*shape, *[1] * (len(expected) - len(shape))))


def _check_weight(owner: str, name: str, weight: Any, logits: Tensor) -> None:
    shared_namespace(owner, ("logits", name), logits.data, weight)
    if tuple(weight.shape) != logits.shape[-1:] or weight.dtype != logits.dtype:
        raise ValueError(
            f"{owner}: {name} has shape {tuple(weight.shape)} and dtype {dtype_name(weight)}; "
            f"expected {logits.shape[-1:]} and {dtype_name(logits.data)}"
        )
