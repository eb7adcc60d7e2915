"""Losses: how far predictions are from their targets, as one number to minimise.

``reduction`` says what becomes of the losses of the elements: "mean", the default, the mean of those selected; "sum"
their sum; "none" all of them, with 0 where nothing is selected. A mean knows its ``weight``, over how much it is taken
(:class:`xprnn.train.weighted.Mean`), by which ``fit`` and ``evaluate`` tell the mean over many batches.

What lies under a False mask counts as absent: its content, NaN included, changes neither the loss nor a gradient. Where
nothing is selected the loss is exactly 0.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from xprnn import host_kernels, ops
from xprnn.arguments import floating_input, input_tensor, probability, real_number, whole_number
from xprnn.backend import Array, backend_of, dtype_name, library, namespace, shared_namespace, summed
from xprnn.grad_mode import is_grad_enabled
from xprnn.indices import as_int64
from xprnn.postponed import all_within, within
from xprnn.tape import record
from xprnn.tensor import Tensor
from xprnn.train.reductions import check_reduction, check_weight, elementwise, leading, reduced
from xprnn.train.weighted import Mean


def mse(prediction: Any, target: Any, mask: Any = None, *, weight: Any = None, reduction: str = "mean") -> Tensor:
    """The mean squared error, sum of w (prediction - target)^2 / sum of w.

    prediction, target of one shape and dtype; mask: booleans, of prediction's shape or of its leading axes, such as
    (T, B) for (T, B, F); weight w: 1, or an array that broadcasts to prediction's shape, of its dtype. Raises TypeError
    for wrong types, ValueError for shapes that differ and another reduction than "mean", "sum" and "none".
    """
    return elementwise(
        "mse", "prediction", prediction, target, mask, ops.squared_error, reduction, weight, by_weight=True,
        whole=_mean_square,
    )  # fmt: skip


def mae(prediction: Any, target: Any, mask: Any = None, *, weight: Any = None, reduction: str = "mean") -> Tensor:
    """The mean absolute error, sum of w |prediction - target| / sum of w; gradient 0 at 0. Otherwise as :func:`mse`."""
    error = lambda p, t: ops.abs(p - t)  # noqa: E731
    return elementwise("mae", "prediction", prediction, target, mask, error, reduction, weight, by_weight=True)


def huber(
    prediction: Any, target: Any, mask: Any = None, *, delta: float = 1.0, weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """Squared for small errors e = prediction - target, linear for large ones (Huber 1964).

    e^2 / 2 where |e| <= delta, delta (|e| - delta / 2) beyond. Arguments and errors as in :func:`mse`; delta > 0. The
    mean is that of the weighted losses, as PyTorch's: over the number of elements, not over the sum of w.
    """
    delta = real_number("huber", "delta", delta, "a number above 0", math.ulp(0.0))

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        size = ops.abs(prediction - target)
        bounded = ops.minimum(size, delta)
        return bounded * (size - 0.5 * bounded)

    return elementwise("huber", "prediction", prediction, target, mask, loss, reduction, weight)


def bce_with_logits(
    logits: Any,
    target: Any,
    mask: Any = None,
    pos_weight: Any = None,
    *,
    weight: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """The binary cross-entropy of probabilities sigmoid(x), from their logits x.

    mean of w (p t softplus(-x) + (1 - t) softplus(x)), which neither overflows nor cancels; p is pos_weight, or 1.

    logits, target of one shape and dtype, target t from 0 to 1; mask and weight w as in :func:`mse`, but the mean is
    over the number of elements; pos_weight a number, or an array (C,) for logits (..., C), multiplies the loss of
    positive targets. Raises TypeError and ValueError.
    """
    positive: Any = 1.0 if pos_weight is None else ops.value(pos_weight)
    if isinstance(positive, numbers.Real):
        positive = float(positive)
    else:
        positive = input_tensor("bce_with_logits", "pos_weight", positive).data

    def loss(x: Tensor, t: Tensor) -> Tensor:
        if not isinstance(positive, float):
            check_weight("bce_with_logits", "pos_weight", positive, x)
        return t * positive * ops.softplus(-x) + (1.0 - t) * ops.softplus(x)

    return elementwise("bce_with_logits", "logits", logits, target, mask, loss, reduction, weight)


def cross_entropy(
    logits: Any,
    target: Any,
    *,
    ignore_index: int = -100,
    weight: Any = None,
    mask: Any = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """The cross-entropy of p = softmax(logits) with class numbers t, sum of l / sum of w[t] over the elements.

    l = -(1 - s) w[t] log p[t] - s / C sum over c of w[c] log p[c], where s = label_smoothing takes from the class and
    gives to all C alike (Szegedy et al. 2016, arXiv 1512.00567).

    logits (..., C) floating; target (...) integers from 0 to C - 1, or ``ignore_index`` for elements that do not count;
    weight w (C,), all 1 by default; mask: booleans, of target's shape or of its leading axes. Where the weights of all
    targets are 0 nothing counts, and the loss is 0 (PyTorch's is NaN).

    Raises TypeError for wrong types, ValueError for wrong shapes, class numbers, label_smoothing outside 0 to 1 and
    another reduction than "mean", "sum" and "none". Checking the numbers waits for a GPU once, but not inside ``fit``.
    """
    owner = "cross_entropy"
    check_reduction(owner, reduction)
    smoothing = probability(owner, "label_smoothing", label_smoothing)
    ignore_index = whole_number(owner, "ignore_index", ignore_index, -(2**63))
    logits = floating_input(owner, "logits", logits)
    target = input_tensor(owner, "target", target).data
    if not dtype_name(target).startswith(("int", "uint")):
        raise TypeError(f"{owner}: target has dtype {dtype_name(target)}; expected integers, the numbers of classes")
    if logits.ndim < 1 or logits.shape[-1] < 1 or tuple(target.shape) != logits.shape[:-1]:
        raise ValueError(
            f"{owner}: logits has shape {logits.shape} and target {tuple(target.shape)}; expected (..., C) and (...)"
        )
    xp = shared_namespace(owner, ("logits", "target"), logits.data, target)
    target, classes = as_int64(target), logits.shape[-1]
    if (
        not (smoothing or 0 <= ignore_index < classes)
        and weight is mask is None
        and reduction == "mean"
        and type(target) is np.ndarray  # where nobody must wait
        and all_within(target, classes)
    ):
        return Mean(_surprise(logits, target, mean=True), float(target.size))
    selected = target != ignore_index
    if mask is not None:
        selected = xp.logical_and(selected, leading(owner, mask, target, "target"))

    def outside(number: int) -> ValueError:
        return ValueError(f"{owner}: target contains {number}; expected class numbers from 0 to {classes - 1}")

    everything = type(target) is np.ndarray and bool(selected.all())  # to look at all of them would wait for a device
    target = within(target if everything else xp.where(selected, target, xp.zeros_like(target)), classes, outside)
    if not everything and smoothing:
        logits = _without_others(logits, selected)
    losses = _surprise(logits, target, None if everything or smoothing else selected)
    counted = weights = xp.astype(selected, logits.dtype)
    if weight is not None:
        weight = input_tensor(owner, "weight", weight).data
        check_weight(owner, "weight", weight, logits)
        weights = weights * xp.reshape(xp.take(weight, xp.reshape(target, (-1,)), axis=0), target.shape)
    losses = losses * weights
    if smoothing:
        spread = ops.log_softmax(logits) if weight is None else ops.log_softmax(logits) * weight
        losses = (1.0 - smoothing) * losses - (smoothing / classes) * (ops.sum(spread, axis=-1) * counted)
    return reduced(losses, reduction, xp.sum(weights) if reduction == "mean" else None)


def _without_others(logits: Tensor, selected: Array) -> Tensor:
    """Rows that do not count replaced before anything is computed from them: 0 * NaN would still be NaN."""
    return ops.where(namespace(selected).expand_dims(selected, axis=-1), logits, 0.0)


def _surprise(logits: Tensor, target: Array, selected: Array | None = None, mean: bool = False) -> Tensor:
    """-log softmax(x)[t] for logits x (..., C) and class numbers t (...), or their mean, as one operation.

    Where not all rows are ``selected``, nothing depends on the others, and nothing is to be made of their losses.
    """
    x, xp, classes = logits.data, namespace(target), logits.shape[-1]
    looked_at = np.where(selected, target, -1) if type(selected) is np.ndarray else target
    compiled, share = host_kernels.surprise(x, looked_at), 1.0 / target.size if mean else 1.0
    if compiled is None:
        if selected is not None:
            return _surprise(_without_others(logits, selected), target)
        # One number of each row, taken from the flat array: a one-hot table would be as large as the logits.
        places = backend_of(target).arange(target.size) * classes + xp.reshape(target, (-1,))
        chosen = xp.reshape(xp.take(xp.reshape(x, (-1,)), places), target.shape)
        # Of differences to the largest: of large logits, the logarithm of their sum has lost the digits behind the
        # point.
        top = host_kernels.row_max(xp, x, (x.ndim - 1,))
        total = xp.sum(xp.exp(x - top), axis=-1)
        losses = xp.log(total) - (chosen - xp.squeeze(top, axis=-1))
    else:
        losses, softmax = compiled

    def rule(g: Tensor, y: Tensor) -> Tensor:
        if library(xp) == "array_api_strict" or is_grad_enabled():
            is_target = xp.astype(xp.expand_dims(target, axis=-1) == backend_of(target).arange(classes), x.dtype)
            seen = logits if selected is None else _without_others(logits, selected)
            found = (g * share if mean else ops.expand_dims(g, -1)) * (ops.softmax(seen) - is_target)
            return found if selected is None else _without_others(found, selected)
        flow = g.data * share if mean else g.data
        if compiled is not None:
            return Tensor(host_kernels.surprise_back(softmax, looked_at, flow))
        array = xp.exp(x - top) * ((flow if mean else flow[..., None]) / total[..., None])
        flat = array.reshape(-1)  # a copy, where the logits are not contiguous
        flat[places] -= flow.reshape(-1)
        return Tensor(flat.reshape(x.shape))

    data = summed(losses) * share if mean else losses
    return record("cross_entropy", data, (logits,), [rule], (logits,), ("logits",))


def _mean_square(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean of (prediction - target)^2, as one operation."""
    difference, share = prediction.data - target.data, 1.0 / prediction.size

    def slope(g: Tensor, sign: float) -> Tensor:
        factor = 2.0 * sign * share
        return g * factor * (prediction - target) if is_grad_enabled() else Tensor(difference * (g.data * factor))

    rules = (lambda g, y: slope(g, 1.0), lambda g, y: slope(g, -1.0))
    return record("mse", summed(difference * difference) * share, (prediction, target), rules)
