"""The loss of a labelling without alignment: connectionist temporal classification.

Graves, Fernandez, Gomez and Schmidhuber 2006, "Connectionist temporal classification: labelling unsegmented sequence
data with recurrent neural networks". The names of quantities, alpha and beta, are theirs; all are logarithms here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xprnn import ops
from xprnn.arguments import floating_input, input_tensor, true_or_false, whole_number
from xprnn.backend import Array, backend_of, dtype_name, namespace, shared_namespace, to_numpy
from xprnn.beyond_standard import scatter_add
from xprnn.grad_mode import is_grad_enabled
from xprnn.indices import as_int64
from xprnn.postponed import require, within
from xprnn.tape import record_joint, replayed
from xprnn.tensor import Cotangents, Tensor
from xprnn.train.reductions import check_reduction
from xprnn.train.weighted import Mean

OWNER = "ctc_loss"


def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log of the probability that frames spell a target, in any alignment: with labels repeated and blanks between.

    log p = log of the sum over all such paths of the product over t of exp(log_probs[t, path[t]]). ``log_probs`` are
    taken as they are, so the gradient is that of this formula, -(expected number of label c at step t); after a
    log-softmax it is the well-known softmax minus that. Gradients of gradients are right too.

    Parameters
    ----------
    log_probs
        (T, B, C) floating, such as of ``ops.log_softmax``; or (T, C) of one sequence.
    targets
        Integers (B, S), whose content past the target's end does not matter; or those of all sequences one after the
        other, (sum of target_lengths,). For one sequence (S,). From 0 to C - 1, without the blank.
    input_lengths, target_lengths
        Integers (B,), arrays or lists, from 0 to T and 0 to S; for one sequence a number. Frames past the end count for
        nothing, whatever they hold.
    blank
        The class that spells nothing.
    reduction
        "mean" over the sequences of the loss over its target's length (at least 1); "sum" of the losses; "none".
    zero_infinity
        Give loss and gradient 0, not infinity and NaN, to a target that is too long for its frames: it needs one for
        each label, and one more between equal ones.

    Raises TypeError for wrong types, ValueError for wrong shapes, lengths, labels, blank and reduction. Checking them
    waits for a GPU, but not inside ``fit``; targets one after the other do always.
    """
    zero_infinity = true_or_false(OWNER, "zero_infinity", zero_infinity)
    check_reduction(OWNER, reduction)
    log_probs = floating_input(OWNER, "log_probs", log_probs)
    single = log_probs.ndim == 2
    if single:
        log_probs = ops.expand_dims(log_probs, 1)
    if log_probs.ndim != 3 or log_probs.shape[2] < 1:
        raise ValueError(f"{OWNER}: log_probs has shape {log_probs.shape}; expected (T, B, C) or (T, C)")
    paths = _paths(log_probs, targets, input_lengths, target_lengths, blank, single)
    losses = _recorded(log_probs, paths, zero_infinity)
    if reduction == "none":
        return losses[0] if single else losses
    if reduction == "sum":
        return ops.sum(losses)
    xp, rows = namespace(losses.data), log_probs.shape[1]
    each = losses / xp.astype(xp.maximum(paths.ends, xp.ones_like(paths.ends)), losses.dtype)
    return Mean(ops.sum(each) * (1.0 / max(rows, 1)), float(rows))


class _Paths(NamedTuple):
    """The ways through the labels of each sequence, with a blank before, between and behind them: L = 2 S + 1 places.

    ``index`` (B * L,) is where a place's class stands in a frame (B * C,); ``skip`` (B, L) whether a path may come to a
    place from the one before the last; ``running`` (T, B, 1) the frames that count; ``ends`` (B,) the targets' lengths.
    """

    index: Array
    skip: Array
    running: Array
    ends: Array


def _paths(
    log_probs: Tensor, targets: Any, input_lengths: Any, target_lengths: Any, blank: Any, single: bool
) -> _Paths:
    steps, rows, classes = log_probs.shape
    targets = input_tensor(OWNER, "targets", targets).data
    if not dtype_name(targets).startswith(("int", "uint")):
        raise TypeError(f"{OWNER}: targets has dtype {dtype_name(targets)}; expected integers, the numbers of classes")
    xp = shared_namespace(OWNER, ("log_probs", "targets"), log_probs.data, targets)
    if whole_number(OWNER, "blank", blank, 0) >= classes:
        raise ValueError(f"{OWNER}: blank is {blank}; expected a class number from 0 to {classes - 1}")
    targets, home = as_int64(targets), backend_of(targets)
    if single and targets.ndim == 1:
        targets = xp.expand_dims(targets, axis=0)
    if targets.ndim == 2 and targets.shape[0] == rows:
        ends = _lengths(log_probs, "target_lengths", target_lengths, int(targets.shape[1]), single)
    elif targets.ndim == 1:
        targets, ends = _side_by_side(log_probs, targets, target_lengths)
    else:
        raise ValueError(
            f"{OWNER}: targets has shape {tuple(targets.shape)}; expected ({rows}, S) or the sum of lengths"
        )
    if targets.shape[1] == 0:  # a place for a label, where no path leads
        targets = home.zeros((rows, 1), "int64")
    labels = int(targets.shape[1])
    running = _lengths(log_probs, "input_lengths", input_lengths, steps, single)
    running = xp.expand_dims(home.arange(steps), axis=1) < xp.expand_dims(running, axis=0)
    real = xp.expand_dims(home.arange(labels), axis=0) < xp.expand_dims(ends, axis=1)
    blanks = xp.full((rows, labels + 1), int(blank), dtype=xp.int64, device=home.device)

    def outside(number: int) -> ValueError:
        return ValueError(f"{OWNER}: targets contains {number}; expected class numbers from 0 to {classes - 1}")

    def is_blank() -> ValueError:
        return ValueError(f"{OWNER}: targets contains the blank, {blank}; expected other classes only")

    require(xp.any(real & (targets == int(blank))), is_blank)
    targets = within(xp.where(real, targets, blanks[:, :labels]), classes, outside)
    # blank, label, blank, label, ..., blank
    places = xp.reshape(xp.stack([blanks[:, :labels], targets], axis=2), (rows, 2 * labels))
    places = xp.concat([places, blanks[:, :1]], axis=1)
    # To the first label from before the first frame, past the blank; to another label from one that is not the same.
    first = xp.full((rows, 2), False, dtype=xp.bool, device=home.device)
    skip = xp.concat([first, (places[:, 2:] != places[:, :-2]) & (places[:, 2:] != int(blank))], axis=1)
    skip = skip | xp.expand_dims(home.arange(2 * labels + 1) == 1, axis=0)
    index = xp.reshape(xp.expand_dims(home.arange(rows) * classes, axis=1) + places, (-1,))
    return _Paths(index, skip, xp.expand_dims(running, axis=2), ends)


def _recorded(log_probs: Tensor, paths: _Paths, zero_infinity: bool) -> Tensor:
    """The losses (B,), as one operation on the tape."""
    wanted = log_probs.requires_grad and is_grad_enabled()
    alphas: list[Array] | None = [] if wanted else None
    log_p = _forward(log_probs.data, paths, alphas)
    xp = namespace(log_p)
    impossible = log_p == -math.inf
    losses = xp.where(impossible, xp.full_like(log_p, 0.0 if zero_infinity else math.inf), -log_p)

    def pullback(cotangents: Cotangents, outputs: Sequence[Tensor | None]) -> Cotangents:
        cotangent = cotangents[0]
        assert cotangent is not None
        assert alphas is not None
        if is_grad_enabled():  # it will itself be differentiated: composed anew of primitives
            loss = ops.where(impossible, losses, -_forward(log_probs, paths, None))
            return replayed([loss], [log_probs], cotangents)
        gamma = _expected(log_probs.data, paths, alphas)
        if not zero_infinity:
            factor = xp.where(impossible, xp.full_like(log_p, math.nan), -cotangent.data)
        else:
            factor = xp.where(impossible, xp.zeros_like(log_p), -cotangent.data)
        # A frame past the end has no gradient, not even NaN times 0.
        gradient = xp.where(paths.running, gamma * xp.expand_dims(factor, axis=1), xp.zeros_like(gamma))
        return [Tensor(gradient)]

    reads, labels = (log_probs, paths.ends), ("log_probs", "target_lengths")
    return record_joint("ctc_loss", (losses,), (log_probs,), pullback, reads, labels)[0]


def _forward(log_probs: Any, paths: _Paths, alphas: list[Array] | None) -> Any:
    """log p (B,) of an array or a Tensor (T, B, C); alpha of each step (B, L) is put on the list.

    alpha[l], the logarithm of the probability of all paths so far that are at place l, has two places before the first
    one: a path stands on the second until the first frame, and on none of them after. The largest of each frame, and in
    each step that of alpha, are taken off, so that float32 does not have to hold small differences of large numbers.
    """
    steps, rows, _ = log_probs.shape
    data = ops.value(log_probs)
    xp, arrays, width = namespace(log_probs), namespace(data), int(paths.skip.shape[1])
    emitted, taken = _emitted(log_probs, paths)
    never = arrays.full((rows, width + 2), -math.inf, dtype=data.dtype, device=backend_of(data).device)
    position = backend_of(data).arange(width + 2)
    alpha: Any = arrays.where(position == 1, arrays.zeros_like(never), never)
    taken = arrays.where(paths.running, taken, arrays.zeros_like(taken))
    off = arrays.sum(arrays.astype(taken, arrays.float64), axis=0)
    for t in range(steps):
        skipped = xp.where(paths.skip, alpha[:, :-2], never[:, 2:])
        new = _log_sum(xp, alpha[:, 2:], alpha[:, 1:-1], skipped) + emitted[t, ...]
        top = _top(ops.value(new))
        new = new - top
        off = off + arrays.where(paths.running[t, ...], arrays.astype(top, off.dtype), arrays.zeros_like(off))
        alpha = xp.where(paths.running[t, ...], xp.concat([never[:, :2], new], axis=1), alpha)
        if alphas is not None:
            alphas.append(alpha[:, 2:])
    last = backend_of(data).arange(rows) * (width + 2) + 2 * paths.ends + 2
    flat = xp.reshape(alpha, (rows * (width + 2),))
    log_p = _log_sum(xp, xp.take(flat, last, axis=0), xp.take(flat, last - 1, axis=0), never[:, 0])
    return log_p + arrays.astype(off[:, 0], data.dtype)


def _expected(log_probs: Array, paths: _Paths, alphas: list[Array]) -> Array:
    """How often each class is expected at each step by all paths that spell the target, (T, B, C)."""
    steps, rows, classes = log_probs.shape
    xp, width, home = namespace(log_probs), int(paths.skip.shape[1]), backend_of(log_probs)
    never = xp.full((rows, width + 2), -math.inf, dtype=log_probs.dtype, device=home.device)
    emitted, _ = _emitted(log_probs, paths)
    onward = xp.concat([paths.skip[:, 2:], xp.zeros_like(paths.skip[:, :2])], axis=1)
    behind = xp.expand_dims(home.arange(width), axis=0) - 2 * xp.expand_dims(paths.ends, axis=1)
    ending = xp.where((behind == 0) | (behind == -1), xp.zeros_like(never[:, 2:]), never[:, 2:])
    beta, counts = ending, []
    for t in reversed(range(steps)):
        if t + 1 < steps:
            ahead = xp.concat([beta + emitted[t + 1, ...], never[:, :2]], axis=1)
            skipped = xp.where(onward, ahead[:, 2:], never[:, 2:])
            new = _log_sum(xp, ahead[:, :-2], ahead[:, 1:-1], skipped)
            beta = xp.where(paths.running[t + 1, ...], new - _top(new), ending)
        through = alphas[t] + beta  # each path is at one place, so these are shares of 1
        shares = xp.exp(through - _top(through))
        total = xp.sum(shares, axis=1, keepdims=True)
        counts.append(shares / xp.where(total == 0, xp.ones_like(total), total))
    if not counts:
        return xp.zeros_like(log_probs)
    table = xp.reshape(xp.stack(counts[::-1], axis=2), (rows * width, steps))
    summed = scatter_add(paths.index, table, rows * classes)
    return xp.permute_dims(xp.reshape(summed, (rows, classes, steps)), (2, 0, 1))


def _emitted(log_probs: Any, paths: _Paths) -> tuple[Any, Array]:
    """How far each place is from the likeliest one of its frame, (T, B, L), and that one, (T, B, 1)."""
    steps, rows, classes = log_probs.shape
    xp = namespace(log_probs)
    emitted = xp.take(xp.reshape(log_probs, (steps, rows * classes)), paths.index, axis=1)
    emitted = xp.reshape(emitted, (steps, rows, int(paths.skip.shape[1])))
    top = _top(ops.value(emitted))
    return emitted - top, top


def _top(logs: Array) -> Array:
    """The largest along the last axis, or 0 where all are -inf."""
    xp = namespace(logs)
    top = xp.max(logs, axis=-1, keepdims=True)
    return xp.where(top == -math.inf, xp.zeros_like(top), top)


def _log_sum(xp: Any, a: Any, b: Any, c: Any) -> Any:
    """log(e^a + e^b + e^c), -inf where all are, of arrays or Tensors."""
    arrays = namespace(ops.value(a))
    top = arrays.maximum(ops.value(a), arrays.maximum(ops.value(b), ops.value(c)))
    nothing = top == -math.inf
    top = arrays.where(nothing, arrays.zeros_like(top), top)  # a constant: the sum does not depend on it
    total = xp.exp(a - top) + xp.exp(b - top) + xp.exp(c - top)
    total = xp.where(nothing, arrays.ones_like(top), total)
    return xp.where(nothing, arrays.full_like(top, -math.inf), xp.log(total) + top)


def _lengths(log_probs: Tensor, name: str, lengths: Any, most: int, single: bool) -> Array:
    """Lengths (B,) beside log_probs, from 0 to the most there can be."""
    lengths = _integers(log_probs, name, lengths, single)

    def outside(number: int) -> ValueError:
        return ValueError(f"{OWNER}: {name} contains {number}; expected values from 0 to {most}")

    return within(lengths, most + 1, outside)


def _integers(log_probs: Tensor, name: str, numbers: Any, single: bool) -> Array:
    if isinstance(numbers, (int, list, tuple)):
        numbers = np.asarray(numbers, dtype=None if np.size(numbers) else np.int64)
    numbers = input_tensor(OWNER, name, numbers).data
    rows, shape = log_probs.shape[1], tuple(numbers.shape)
    if not dtype_name(numbers).startswith(("int", "uint")):
        raise TypeError(f"{OWNER}: {name} has dtype {dtype_name(numbers)}; expected integers")
    if shape != (rows,) and not (single and shape == ()):
        raise ValueError(f"{OWNER}: {name} has shape {shape}; expected (B,) = ({rows},)")
    numbers = backend_of(log_probs.data).asarray(as_int64(numbers, copy=False))
    return namespace(numbers).reshape(numbers, (rows,))


def _side_by_side(log_probs: Tensor, targets: Array, lengths: Any) -> tuple[Array, Array]:
    """Targets that come one after the other as (B, S), and their lengths."""
    ends = _integers(log_probs, "target_lengths", lengths, False)
    numbers, total = to_numpy(ends), int(targets.shape[0])
    if numbers.size and numbers.min() < 0:
        raise ValueError(f"{OWNER}: target_lengths contains {numbers.min()}; expected at least 0")
    if numbers.sum() != total:
        raise ValueError(f"{OWNER}: targets has {total} labels; expected {numbers.sum()}, the sum of target_lengths")
    most = int(numbers.max(initial=0))
    places = np.minimum((np.cumsum(numbers) - numbers)[:, None] + np.arange(most), max(total - 1, 0))
    xp, home = namespace(targets), backend_of(targets)
    padded = xp.take(targets, home.asarray(places.reshape(-1), "int64"), axis=0)
    return xp.reshape(padded, places.shape), ends
