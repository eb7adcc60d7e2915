"""Scores to weights: what may be looked at, and the softmax over it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import floating_input, input_tensor, true_or_false, whole_number
from xprnn.backend import Array, backend_of, dtype_name, namespace, shared_namespace
from xprnn.tape import record
from xprnn.tensor import Tensor


def masked_softmax(scores: Any, mask: Any = None, axis: int = -1) -> Tensor:
    """The softmax along an axis over those places where the mask is True; the others get exactly 0.

    w[k] = m[k] e^s[k] / sum over j of m[j] e^s[j];  all w = 0 where no m is True.

    Parameters
    ----------
    scores
        (...) float32 or float64. What stands under False, NaN included, changes neither a weight nor a gradient; nor
        does the cotangent that comes back there. A score of -inf gets weight 0, scores of +inf share all of it.
    mask
        Booleans of scores' shape, or of one that is broadcast to it; None for all True.

    Returns
    -------
    Weights of scores' shape. Each line along the axis sums to 1 or, where nothing may be looked at, is exactly 0 and
    gives gradient 0.

    Raises
    ------
    TypeError
        scores are not floating, or the mask is not boolean.
    ValueError
        The mask cannot be broadcast to scores, or scores have no such axis.
    """
    owner = "masked_softmax"
    scores = floating_input(owner, "scores", scores)
    axis = whole_number(owner, "axis", axis, -scores.ndim)
    if axis >= scores.ndim:
        raise ValueError(f"{owner}: axis is {axis}; scores has shape {scores.shape}")
    axis %= scores.ndim
    xp, s = namespace(scores.data), scores.data
    if mask is not None:
        mask = input_tensor(owner, "mask", mask).data
        xp = shared_namespace(owner, ("scores", "mask"), s, mask)
        if dtype_name(mask) != "bool":
            raise TypeError(f"{owner}: mask has dtype {dtype_name(mask)}; expected bool")
        if not _broadcasts(tuple(mask.shape), scores.shape):
            shapes = f"{tuple(mask.shape)}; expected {scores.shape}, as scores, or a shape that is broadcast to it"
            raise ValueError(f"{owner}: mask has shape {shapes}")
        s = xp.where(mask, s, xp.asarray(-xp.inf, dtype=s.dtype, device=scores.device))
    if s.shape[axis] == 0:
        return scores
    # From here on our own array, changed in place: of the size steps x steps, each copy counts.
    s = xp.minimum(s, float(xp.finfo(s.dtype).max))
    top = xp.max(s, axis=axis, keepdims=True)
    s -= xp.where(xp.isinf(top), xp.zeros_like(top), top)  # only -inf is left, of a line without anything to look at
    weights = xp.exp(s)
    total = xp.sum(weights, axis=axis, keepdims=True)
    weights /= xp.where(total == 0, xp.ones_like(total), total)

    def vjp(g: Tensor, y: Tensor) -> Tensor:
        g = g if mask is None else ops.where(mask, g, 0.0)  # 0 times NaN would still be NaN
        return y * (g - ops.sum(g * y, axis=axis, keepdims=True))

    return record("masked_softmax", weights, (scores,), [vjp], () if mask is None else (mask,), ("mask",))


def allowed(
    owner: str, like: Array, shape: tuple[int, int, int, int], real: Array | None, attention_mask: Any, causal: bool
) -> Array | None:
    """Which query may look at which key, ready to broadcast to the shape (B, N, T, S); None for all at all.

    like (any array beside which the mask shall be); real (S, B, 1) booleans or None; attention_mask (T, S), (B, T, S),
    (B, N, T, S) or None, also on the host; causal: query t sees keys 0 to t. Raises TypeError and ValueError.
    """
    xp, home = namespace(like), backend_of(like)
    queries, keys = shape[2:]
    masks = [] if real is None else [xp.expand_dims(xp.permute_dims(real, (1, 2, 0)), axis=1)]
    if attention_mask is not None:
        if isinstance(attention_mask, (list, tuple, np.ndarray)):
            attention_mask = home.asarray(np.asarray(attention_mask))
        mask = input_tensor(owner, "attention_mask", attention_mask).data
        shared_namespace(owner, ("its input", "attention_mask"), like, mask)
        came = tuple(mask.shape)
        if dtype_name(mask) != "bool":
            raise TypeError(f"{owner}: attention_mask has dtype {dtype_name(mask)}; expected bool, True where to look")
        if came != {2: shape[2:], 3: (shape[0], *shape[2:])}.get(len(came), shape):
            expected = f"(T, S), (B, T, S) or (B, N, T, S), of {shape}"
            raise ValueError(f"{owner}: attention_mask has shape {came}; expected {expected}")
        masks.append(xp.expand_dims(mask, axis=1) if len(came) == 3 else mask)
    if true_or_false(owner, "causal", causal):
        if queries != keys:
            raise ValueError(f"{owner}: causal needs as many keys as queries; there are {keys} and {queries}")
        step = home.arange(keys)
        masks.append(xp.expand_dims(step, axis=1) >= xp.expand_dims(step, axis=0))
    return functools.reduce(xp.logical_and, masks) if masks else None


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether an array of this shape is broadcast to the target without enlarging it."""
    return len(shape) <= len(target) and all(n in (1, m) for n, m in zip(shape[::-1], target[::-1], strict=False))
