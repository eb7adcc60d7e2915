"""The same elements in another shape or order, and repeated; and which axes are meant.

What broadcasting repeats, its way back sums.
"""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Iterable

from xprnn import backend
from xprnn.backend import namespace
from xprnn.ops.elementwise import astype
from xprnn.ops.operands import Operand, lifted
from xprnn.tape import record
from xprnn.tensor import Tensor

Axis = int | tuple[int, ...] | None


def all_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Axes counted from the front, all of them for None. Raises ValueError for one that is not there."""
    # A tuple is asked for by itself, since abstract classes are slow to answer.
    axes = range(ndim) if axis is None else axis if isinstance(axis, (tuple, Iterable)) else (axis,)
    return tuple(one_axis(a, ndim) for a in axes)


def one_axis(axis: int, ndim: int) -> int:
    """The same of one axis."""
    try:
        number = operator.index(axis)
    except TypeError:
        raise TypeError(f"the axis is {reprlib.repr(axis)}; expected an integer") from None
    if isinstance(axis, bool):  # maybe meant for another argument
        raise TypeError(f"the axis is {axis}; expected an integer")
    if not -ndim <= number < ndim:
        raise ValueError(f"axis {number} is out of range for {ndim} dimensions")
    return number % ndim


@lifted
def reshape(x: Tensor, shape: int | tuple[int, ...]) -> Tensor:
    """The same elements in another shape; one length may be -1."""
    try:
        shape = tuple(map(operator.index, shape if isinstance(shape, (tuple, Iterable)) else (shape,)))
    except TypeError:
        raise TypeError(f"reshape: shape is {reprlib.repr(shape)}; expected integers") from None
    if min(shape, default=0) < -1 or shape.count(-1) > 1:
        raise ValueError(f"reshape: shape is {shape}; expected lengths of at least 0, and -1 at most once")
    if -1 in shape and x.size == 0:  # array libraries cannot infer a length from no elements
        shape = tuple(0 if n == -1 else n for n in shape)
    return record("reshape", backend.reshaped(x.data, shape), (x,), [lambda g, y: reshape(g, x.shape)])


@lifted
def expand_dims(x: Tensor, axis: int) -> Tensor:
    """A new axis of length 1."""
    before = (slice(None),) * one_axis(axis, x.ndim + 1)  # indexing is several times faster than np.expand_dims
    return record("expand_dims", x.data[(*before, None, ...)], (x,), [lambda g, y: reshape(g, x.shape)])


@lifted
def squeeze(x: Tensor, axis: Axis) -> Tensor:
    """Without axes of length 1. Raises ValueError for others, as the array API does; ``x.squeeze`` leaves them."""
    data = namespace(x.data).squeeze(x.data, axis=all_axes(axis, x.ndim))
    return record("squeeze", data, (x,), [lambda g, y: reshape(g, x.shape)])


@lifted
def permute_dims(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The axes in another order."""
    given, axes = axes, all_axes(axes, x.ndim)
    if sorted(axes) != [*range(x.ndim)]:
        raise ValueError(f"permute_dims: axes are {given}; expected each of 0 to {x.ndim - 1} once")
    data = namespace(x.data).permute_dims(x.data, axes)
    inverse = tuple(sorted(range(x.ndim), key=axes.__getitem__))
    return record("permute_dims", data, (x,), [lambda g, y: permute_dims(g, inverse)])


@lifted
def matrix_transpose(x: Tensor) -> Tensor:
    """The last two axes exchanged."""
    data = namespace(x.data).matrix_transpose(x.data)
    return record("matrix_transpose", data, (x,), [lambda g, y: matrix_transpose(g)])


@lifted
def flip(x: Tensor, axis: Axis = None) -> Tensor:
    """In reverse order along the axes."""
    axes = all_axes(axis, x.ndim)
    return record("flip", namespace(x.data).flip(x.data, axis=axes), (x,), [lambda g, y: flip(g, axes)])


@lifted
def broadcast_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Repeated along axes of length 1 and new leading axes."""
    data = namespace(x.data).broadcast_to(x.data, shape)
    return record("broadcast_to", data, (x,), [lambda g, y: unbroadcast(g, x)])


def unbroadcast(g: Tensor, x: Operand) -> Tensor:
    """Sum a cotangent over the axes along which x was broadcast."""
    shape = tuple(x.shape)
    if g.dtype != x.dtype:  # a float32 operand beside a float64 one
        g = astype(g, x.dtype)
    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(extra + i for i, n in enumerate(shape) if n == 1 and g.shape[extra + i] != 1)
    return reshape(g.sum(axis=axes), shape)
