"""What operators that move numbers, and compute none, give: of Tensors, and of arrays on the host."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.backend import backend_of, to_numpy
from xprnn.interop.onnx.parsed import Node
from xprnn.tensor import Tensor


def whole_numbers(values: Any) -> tuple[int, ...]:
    """What a shape, axes or the like are given as."""
    return tuple(int(number) for number in np.asarray(to_numpy(values)).reshape(-1))


def as_operand(array: Any) -> Any:
    """An array as the other operations take it."""
    return Tensor(array) if array.dtype.kind == "f" else array


def _shape(node: Node, x: Any) -> Any:
    end = node.attribute("end", int, None)
    return np.array(x.shape[node.attribute("start", int, 0) : end], np.int64)


def _constant_of_shape(node: Node, shape: Any) -> Any:
    value = node.attribute("value", np.ndarray, np.zeros(1, np.float32))
    return as_operand(np.broadcast_to(value.reshape(()), whole_numbers(shape)))  # which takes no memory


def _reshape(node: Node, x: Any, shape: Any) -> Any:
    numbers, keep = whole_numbers(shape), not node.attribute("allowzero", int, 0)
    target = tuple(x.shape[k] if n == 0 and keep else n for k, n in enumerate(numbers))
    return x.reshape(target)


def _flatten(node: Node, x: Any) -> Any:
    axis = node.attribute("axis", int, 1)
    axis = axis + len(x.shape) if axis < 0 else axis
    rows = int(np.prod(x.shape[:axis]))
    return x.reshape((rows, int(np.prod(x.shape[axis:]))))


def _squeeze(node: Node, x: Any, axes: Any = None) -> Any:
    chosen = whole_numbers(axes) if axes is not None else tuple(k for k, n in enumerate(x.shape) if n == 1)
    return ops.squeeze(x, chosen) if isinstance(x, Tensor) else np.squeeze(x, chosen)


def _unsqueeze(node: Node, x: Any, axes: Any) -> Any:
    chosen = whole_numbers(axes)
    rank = len(x.shape) + len(chosen)
    for axis in sorted(node.place(axis, rank) for axis in chosen):
        x = ops.expand_dims(x, axis) if isinstance(x, Tensor) else np.expand_dims(x, axis)
    return x


def _transpose(node: Node, x: Any) -> Any:
    perm = tuple(node.attribute("perm", list, [*range(len(x.shape))][::-1]))
    return ops.permute_dims(x, perm) if isinstance(x, Tensor) else np.transpose(x, perm)


def _expand(node: Node, x: Any, shape: Any) -> Any:
    target = np.broadcast_shapes(tuple(x.shape), whole_numbers(shape))
    return ops.broadcast_to(x, target) if isinstance(x, Tensor) else np.broadcast_to(x, target)


def _tile(node: Node, x: Any, repeats: Any) -> Any:
    counts = whole_numbers(repeats)
    if len(counts) != len(x.shape):
        raise node.error(f"repeats axes {list(counts)} times; expected a number for each of {len(x.shape)}")
    if not isinstance(x, Tensor):
        return np.tile(x, counts)
    apart = tuple(n for length in x.shape for n in (1, length))
    wide = tuple(n for pair in zip(counts, x.shape, strict=True) for n in pair)
    whole = tuple(count * length for count, length in zip(counts, x.shape, strict=True))
    return ops.reshape(ops.broadcast_to(ops.reshape(x, apart), wide), whole)


def _concat(node: Node, *parts: Any) -> Any:
    axis = node.attribute("axis", int)
    return ops.concat(parts, axis=axis) if isinstance(parts[0], Tensor) else np.concatenate(parts, axis)


def _split(node: Node, x: Any, sizes: Any = None) -> Any:
    axis, count = node.attribute("axis", int, 0), len(node.outputs)
    axis = node.place(axis, len(x.shape))
    largest = -(-x.shape[axis] // count)
    found = whole_numbers(sizes) if sizes is not None else [largest] * (count - 1)
    if sizes is not None and (min(found, default=0) < 0 or sum(found) != x.shape[axis]):
        raise node.error(f"splits {x.shape[axis]} into {list(found)}")
    edges = [0, *np.cumsum(found).tolist()]
    edges = edges if sizes is not None else [*edges, x.shape[axis]]
    lead = (slice(None),) * axis
    return tuple(x[(*lead, slice(first, last))] for first, last in pairwise(edges))


def _slice(node: Node, x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    first, last = whole_numbers(starts), whole_numbers(ends)
    chosen = whole_numbers(axes) if axes is not None else range(len(first))
    strides = whole_numbers(steps) if steps is not None else (1,) * len(first)
    key = [slice(None)] * len(x.shape)
    for axis, start, end, step in zip(chosen, first, last, strides, strict=True):
        length = x.shape[axis]
        if step < 0:  # then ONNX begins inside, and Python has None for what ends before the first
            start = max(start, -length)
        key[axis] = slice(start, None if step < 0 and end < -length else end, step)
    return x[tuple(key)]


def _gather(node: Node, x: Any, indices: Any) -> Any:
    axis, numbers = node.attribute("axis", int, 0), to_numpy(indices)
    length = x.shape[axis]
    outside = (numbers < -length) | (numbers >= length)
    if outside.any():
        raise node.error(f"picks number {numbers[outside][0]} of {length}")
    numbers = np.where(numbers < 0, numbers + length, numbers)
    if not isinstance(x, Tensor):
        return np.take(x, numbers, axis=axis)
    return ops.take(x, backend_of(x.data).asarray(numbers), axis=axis)


def _gather_elements(node: Node, x: Any, indices: Any) -> Any:
    axis = node.place(node.attribute("axis", int, 0), len(x.shape))
    inner = tuple(slice(n if k != axis else None) for k, n in enumerate(indices.shape))
    if not isinstance(x, Tensor):
        return np.take_along_axis(x[inner], to_numpy(indices), axis)
    return ops.take_along_axis(x[inner], backend_of(x.data).asarray(to_numpy(indices)), axis)


def _gather_nd(node: Node, x: Any, indices: Any) -> Any:
    if node.attribute("batch_dims", int, 0):
        raise node.error("has batch_dims; expected none")
    numbers = to_numpy(indices)
    home = backend_of(ops.value(x))
    return x[tuple(home.asarray(numbers[..., k]) for k in range(numbers.shape[-1]))]


def _triangle(node: Node, x: Any, diagonal: Any = None) -> Any:
    rows, columns = x.shape[-2:]
    k, upper = 0 if diagonal is None else whole_numbers(diagonal)[0], node.attribute("upper", int, 1)
    lower = np.tri(rows, columns, k - 1 if upper else k, dtype=bool)
    kept = ~lower if upper else lower
    # And not a product, which would make NaN of the infinities that masks are made of.
    return (
        ops.where(backend_of(x.data).asarray(kept), x, 0.0)
        if isinstance(x, Tensor)
        else np.where(kept, x, x.dtype.type(0))
    )


REARRANGING: dict[str, Callable[..., Any]] = {
    "Shape": _shape, "ConstantOfShape": _constant_of_shape, "Reshape": _reshape, "Flatten": _flatten,
    "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Transpose": _transpose, "Expand": _expand, "Tile": _tile,
    "Concat": _concat, "Split": _split, "Slice": _slice, "Gather": _gather, "GatherElements": _gather_elements,
    "GatherND": _gather_nd, "Trilu": _triangle,
}  # fmt: skip
"""By ONNX's names, as the table of all operations has them."""
