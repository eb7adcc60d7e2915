"""Operators that are sums of products, and those beside them: Einsum, Conv, Attention and normalisation."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.backend import backend_of, dtype_name, to_numpy
from xprnn.interop.onnx.parsed import Node
from xprnn.nn.attention.weights import masked_softmax
from xprnn.tensor import Tensor


def einsum(node: Node, *parts: Any) -> Any:
    """One or two operands, summed over what the result has not: axes of both are batch, sum, or either's own."""
    equation = node.attribute("equation", bytes).decode(errors="replace").replace(" ", "")
    left, _, result = equation.partition("->")
    letters = left.split(",")
    plain = all(name.isalpha() and len({*name}) == len(name) for name in letters) and {*result} <= {*left} - {","}
    if "->" not in equation or len(letters) != len(parts) or len(parts) > 2 or not plain:
        raise node.error(f"has equation {equation!r}; expected one or two operands whose letters differ, and '->'")
    if any(len(name) != len(x.shape) for name, x in zip(letters, parts, strict=True)):
        raise node.error(f"has equation {equation!r} for shapes {', '.join(str(x.shape) for x in parts)}")
    if len(parts) == 1:
        return _turned(*_summed(letters[0], parts[0], {*result}), result)
    (first, a), (second, b) = (
        _summed(name, x, {*result, *other}) for name, x, other in zip(letters, parts, reversed(letters), strict=True)
    )
    both = [letter for letter in first if letter in second]
    batch, inner = [c for c in both if c in result], [c for c in both if c not in result]
    rows, columns = [c for c in first if c not in both], [c for c in second if c not in both]
    length = dict(zip(first, a.shape, strict=True)) | dict(zip(second, b.shape, strict=True))
    if any(length[letter] != n for letter, n in zip(first, a.shape, strict=True)):
        raise node.error(f"has equation {equation!r} for shapes {', '.join(str(x.shape) for x in parts)}")

    def matrix(letters: str, x: Any, *groups: list[str]) -> Any:
        x = _turned(letters, x, "".join(c for group in (batch, *groups) for c in group))
        return ops.reshape(x, tuple(length[c] for c in batch) + tuple(math.prod(map(length.get, g)) for g in groups))  # type: ignore[arg-type]

    y = matrix(first, a, rows, inner) @ matrix(second, b, inner, columns)
    found = "".join([*batch, *rows, *columns])
    return _turned(found, ops.reshape(y, tuple(length[c] for c in found)), result)


def _summed(letters: str, x: Any, kept: set[str]) -> tuple[str, Any]:
    axes = tuple(k for k, letter in enumerate(letters) if letter not in kept)
    return "".join(letter for letter in letters if letter in kept), ops.sum(x, axes) if axes else x


def _turned(letters: str, x: Any, order: str) -> Any:
    return x if letters == order else ops.permute_dims(x, tuple(letters.index(letter) for letter in order))


def pad(node: Node, x: Any, pads: Any, value: Any = None, axes: Any = None) -> Any:
    """With one number, on the axes' both ends; negative numbers cut."""
    mode = node.attribute("mode", bytes, b"constant")
    if mode != b"constant" or not isinstance(x, Tensor):
        raise node.error(f"has mode {mode!r} for {type(x).__name__}; expected b'constant' for floating-point numbers")
    numbers = to_numpy(pads).tolist()
    chosen = range(len(x.shape)) if axes is None else to_numpy(axes).tolist()
    filling = 0.0 if value is None else to_numpy(ops.value(value)).item()
    for axis, before, after in zip(chosen, numbers[: len(chosen)], numbers[len(chosen) :], strict=True):
        x = _padded(node, x, axis, before, after, filling)
    return x


def _padded(node: Node, x: Any, axis: int, before: int, after: int, value: float) -> Any:
    axis = node.place(axis, len(x.shape))
    lead, length = (slice(None),) * axis, x.shape[axis]
    if max(-before, 0) + max(-after, 0) > length:
        raise node.error(f"cuts {-before} and {-after} of {length}")
    if before < 0 or after < 0:
        x = x[(*lead, slice(max(-before, 0), length + min(after, 0)))]

    def full(count: int) -> Tensor:
        shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
        return Tensor(backend_of(x.data).asarray(np.full(shape, value), dtype_name(x.data)))

    ends = [[full(count)] if count > 0 else [] for count in (before, after)]
    return ops.concat([*ends[0], x, *ends[1]], axis=axis) if ends != [[], []] else x


def _windows(node: Node, x: Any, size: int, filling: float) -> list[Any]:
    """x (B, C, T) as each place of a window that moves over T sees it, (B, C, N)."""
    if len(x.shape) != 3 or node.attribute("auto_pad", bytes, b"NOTSET") != b"NOTSET":
        raise node.error(f"has x of shape {x.shape}; expected (B, C, T), and pads that are numbers")
    (step,), (dilation,) = node.attribute("strides", list, [1]), node.attribute("dilations", list, [1])
    before, after = node.attribute("pads", list, [0, 0])
    if min(step, dilation) < 1 or min(before, after) < 0:
        raise node.error(
            f"has strides {step}, dilations {dilation} and pads {before}, {after}; expected at least 1, 1 and 0"
        )
    x = _padded(node, x, 2, before, after, filling)
    count = (x.shape[2] - (size - 1) * dilation - 1) // step + 1
    if count < 1:
        raise node.error(f"has x of shape {x.shape}, which is shorter than a window of {size}")
    return [x[:, :, k * dilation : k * dilation + (count - 1) * step + 1 : step] for k in range(size)]


def conv(node: Node, x: Any, weight: Any, bias: Any = None) -> Any:
    """Over one axis, in one group: x (B, C, T), weight (O, C, K)."""
    if len(weight.shape) != 3 or node.attribute("group", int, 1) != 1 or weight.shape[1] != x.shape[1]:
        raise node.error(f"has weights of shape {weight.shape} for x {x.shape}; expected (O, C, K), in one group")
    places = _windows(node, x, weight.shape[2], 0.0)
    y = reduce(lambda a, b: a + b, (weight[:, :, k] @ place for k, place in enumerate(places)))
    return y if bias is None else y + ops.reshape(bias, (weight.shape[0], 1))


def max_pool(node: Node, x: Any) -> Any:
    """Over one axis."""
    sizes = node.attribute("kernel_shape", list)
    if len(sizes) != 1 or node.attribute("ceil_mode", int, 0):
        raise node.error(f"has kernel_shape {sizes}; expected one number, and no ceil_mode")
    return reduce(ops.maximum, _windows(node, x, sizes[0], -math.inf))


def batch_norm(node: Node, x: Any, scale: Any, bias: Any, mean: Any, variance: Any) -> Any:
    """By the mean and variance of the training that is over."""
    if node.attribute("training_mode", int, 0):
        raise node.error("is training; expected a model that was exported to be evaluated")
    shape = (-1, *(1,) * (len(x.shape) - 2))
    centre, width, scale, bias = (ops.reshape(one, shape) for one in (mean, variance, scale, bias))
    return (x - centre) / ops.sqrt(width + node.attribute("epsilon", float, 1e-5)) * scale + bias


def attention(node: Node, q: Any, k: Any, v: Any, mask: Any = None, *past: Any) -> Any:
    """Softmax of scaled products, for as many heads of keys as of queries, and nothing kept from before.

    A query that may look at nothing gets zeros.
    """
    heads, others = node.attribute("q_num_heads", int, 0), node.attribute("kv_num_heads", int, 0)
    joint = len(q.shape) == 3
    if joint and heads:
        q, k, v = (ops.permute_dims(ops.reshape(x, (*x.shape[:2], heads, -1)), (0, 2, 1, 3)) for x in (q, k, v))
    if (
        len(q.shape) != 4
        or q.shape[1] != k.shape[1]
        or heads != others
        or past
        or node.attribute("softcap", float, 0.0)
    ):
        raise node.error(f"has queries {q.shape} and keys {k.shape}; expected as many heads, no past and no softcap")
    scores = q @ ops.permute_dims(k, (0, 1, 3, 2)) * node.attribute("scale", float, 1.0 / math.sqrt(q.shape[3]))
    home = backend_of(scores.data)
    seen = mask.data != -math.inf if isinstance(mask, Tensor) else mask
    left, right = (node.attribute(f"{side}_window_size", int, -1) for side in ("left", "right"))
    if node.attribute("is_causal", int, 0):
        right = 0
    if left >= 0 or right >= 0:
        ahead = np.arange(k.shape[2]) - np.arange(q.shape[2])[:, None]
        near = home.asarray(((left < 0) | (ahead >= -left)) & ((right < 0) | (ahead <= right)))
        seen = near if seen is None else seen & near
    if isinstance(mask, Tensor):
        scores = scores + mask
    y = masked_softmax(scores, seen) @ v
    return ops.reshape(ops.permute_dims(y, (0, 2, 1, 3)), (y.shape[0], y.shape[2], -1)) if joint else y
