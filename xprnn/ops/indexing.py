"""Elements picked by index, and by arrays of indices."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from xprnn import backend, host_kernels, indices
from xprnn.backend import Array, dtype_name, namespace
from xprnn.indices import counted
from xprnn.ops.operands import lifted, value
from xprnn.ops.shapes import one_axis, permute_dims, reshape
from xprnn.postponed import within
from xprnn.tape import record
from xprnn.tensor import Tensor


@lifted
def getitem(x: Tensor, key: Any) -> Tensor:
    """Indexing as NumPy's: integers, slices, ..., None, and arrays or lists of integers or booleans.

    Numbers that come several times have their gradients added up. Raises IndexError for what is out of range.
    """
    if type(key) is int:  # the most common, and nothing to check
        return record("getitem", x.data[key, ...], (x,), [lambda g, y: _place(g, (key, ...), x.shape)])
    key = key if isinstance(key, tuple) else (key,)
    for part in key:
        if part is True or part is False:
            raise TypeError(indices.SINGLE)
        if not (isinstance(part, (int, slice)) or part is None or part is ... or _is_number(part)):
            return _picked(x, indices.picks(tuple(value(part) for part in key), x.data))
    key = tuple(
        part if isinstance(part, slice) or not hasattr(part, "__index__") else operator.index(part) for part in key
    )
    if ... not in key:
        key = (*key, ...)
    return record("getitem", x.data[key], (x,), [lambda g, y: _place(g, key, x.shape)])


def _picked(x: Tensor, picks: indices.Picks) -> Tensor:
    """An index with arrays: rows picked by number, and the axes of the numbers brought to where they belong."""
    if any(part != slice(None) for part in picks.basic):
        x = getitem(x, picks.basic)
    rest = [axis for axis in range(x.ndim) if axis not in picks.axes]
    if picks.axes != tuple(range(len(picks.axes))):
        x = permute_dims(x, (*picks.axes, *rest))
    shape = x.shape[len(picks.axes) :]
    found = take(reshape(x, (math.prod(x.shape[: len(picks.axes)]), *shape)), picks.numbers)
    if not picks.place:
        return found
    front = tuple(range(picks.numbers.ndim))
    others = range(len(front), found.ndim)
    return permute_dims(found, (*others[: picks.place], *front, *others[picks.place :]))


def _is_number(part: Any) -> bool:
    """Whether an index is a single integer of any kind."""
    boolean = hasattr(part, "dtype") and backend.dtype_name(part) == "bool"
    return hasattr(part, "__index__") and getattr(part, "ndim", 0) == 0 and not boolean


def _place(g: Tensor, key: tuple[Any, ...], shape: tuple[int, ...]) -> Tensor:
    """Zeros, with g at the indexed place: the other direction of getitem."""
    xp = namespace(g.data)
    out = backend.backend_of(g.data).zeros(shape, backend.dtype_name(g.data))
    target = tuple(part for part in key if part is not None)
    out[target] = xp.reshape(g.data, tuple(out[target].shape))
    return record("place", out, (g,), [lambda h, y: getitem(h, key)])


def _require_array(owner: str, indices: Any) -> None:
    if not hasattr(indices, "shape"):
        raise TypeError(f"{owner}: indices is a {type(indices).__name__}; expected an array of integers")
    kind = indices.dtype.kind if type(indices) is np.ndarray else dtype_name(indices)[0]
    if kind not in "iu":  # NumPy would take booleans for 0 and 1
        raise TypeError(f"{owner}: indices has dtype {dtype_name(indices)}; expected integers")


@lifted
def take(x: Tensor, indices: Array, axis: int = 0) -> Tensor:
    """Slices of x picked by number along an axis, in whose place the result has the axes of indices."""
    axis = one_axis(axis, x.ndim)
    _require_array("take", value(indices))
    if axis != 0:
        order = (axis, *(a for a in range(x.ndim) if a != axis))
        rows = take(permute_dims(x, order), indices)
        front = tuple(range(value(indices).ndim))
        rest = [a for a in range(rows.ndim) if a not in front]
        return permute_dims(rows, (*rest[:axis], *front, *rest[axis:]))
    indices, shape = value(indices), x.shape
    xp = namespace(x=x.data, indices=indices)
    indices = counted(indices) if dtype_name(indices) == "uint64" else indices
    if type(indices) is np.ndarray:
        rows = x.data.take(indices, axis=0)
    else:  # the standard has it for one axis of numbers
        rows = xp.reshape(xp.take(x.data, xp.reshape(indices, (-1,)), axis=0), (*indices.shape, *shape[1:]))
    return record("take", rows, (x,), [lambda g, y: _scatter_add(g, indices, shape)], (indices,), ("indices",))


def _scatter_add(g: Tensor, indices: Array, shape: tuple[int, ...]) -> Tensor:
    """Parts of g summed into rows of zeros: the other direction of take."""
    numbers = backend.reshaped(indices, (-1,))
    rows = backend.reshaped(g.data, (numbers.shape[0], math.prod(shape[1:])))
    summed = backend.reshaped(host_kernels.scatter_add(numbers, rows, shape[0]), shape)
    return record("scatter_add", summed, (g,), [lambda h, y: take(h, indices)])


@lifted
def take_along_axis(x: Tensor, indices: Array, axis: int = -1) -> Tensor:
    """Elements of x picked along an axis, other axes side by side: for the last, y[..., k] = x[..., indices[..., k]].

    indices have x's number of axes, and its lengths but along that axis; below 0 they count from the end.
    Raises IndexError for numbers that the axis has not.
    """
    axis, indices = one_axis(axis, x.ndim), value(indices)
    _require_array("take_along_axis", indices)
    xp = namespace(x=x.data, indices=indices)
    indices = counted(indices)  # a narrow type could not number all elements
    if axis != x.ndim - 1:
        order = (*(a for a in range(x.ndim) if a != axis), axis)
        back = tuple(sorted(range(x.ndim), key=order.__getitem__))
        return permute_dims(take_along_axis(permute_dims(x, order), xp.permute_dims(indices, order)), back)
    if tuple(indices.shape[:-1]) != x.shape[:-1]:
        raise ValueError(f"take_along_axis: indices have shape {tuple(indices.shape)}; x has {x.shape}")
    length, rows = x.shape[-1], math.prod(x.shape[:-1])
    starts = xp.reshape(backend.backend_of(indices).arange(rows) * length, (*x.shape[:-1], 1))

    def outside(number: int) -> Exception:
        return IndexError(f"take_along_axis: indices have {number}, counted from 0; the axis has length {length}")

    wrapped = within(xp.where(indices < 0, indices + length, indices), length, outside)  # else of the next row
    return take(reshape(x, (rows * length,)), wrapped + starts)
