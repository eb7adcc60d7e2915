"""Indices with arrays in them, as NumPy reads them, taken apart into what every array library can do."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn.backend import Array, Backend, backend_of, dtype_name, namespace
from xprnn.postponed import within

EXPECTED = "a Tensor is indexed with integers, slices, ..., None, and arrays or lists of integers or booleans"
SINGLE = f"{EXPECTED}, not with a single boolean: None adds an axis"


@dataclass(frozen=True)
class Picks:
    """What ``x[key]`` is: ``x[basic]``, of which elements are picked along some axes, all these taken as one.

    Attributes
    ----------
    basic
        Slices, and None for new axes; axes to pick from are left whole.
    axes
        Those axes of ``x[basic]``.
    numbers
        Which elements of them, each counted along all of ``axes`` in their order; of any shape.
    place
        How many of the other axes come before those of ``numbers`` in the result.
    """

    basic: tuple[slice | None, ...]
    axes: tuple[int, ...]
    numbers: Array
    place: int


def picks(key: tuple[Any, ...], x: Array) -> Picks:
    """Take apart an index of an array x that has arrays or lists in it.

    Raises TypeError for what is no index, IndexError for numbers out of range, for masks of another shape, for index
    arrays that do not broadcast, and for more indices than axes.
    """
    home, shape = backend_of(x), tuple(x.shape)
    key = tuple(_index(part, x, home) for part in key)
    lengths = [0 if part is None or part is ... else max(1, _mask_axes(part)) for part in key]
    gap = len(shape) - sum(lengths)
    if gap < 0:
        raise IndexError(f"too many indices: {sum(lengths)} for a Tensor of shape {shape}")
    if (dots := sum(part is ... for part in key)) > 1:
        raise IndexError("an index has ... more than once")
    if not dots:
        key, lengths = (*key, ...), [*lengths, 0]
    basic, picked, axis = list[slice | None](), list[tuple[int, Any, int]](), 0
    arrays = [position for position, part in enumerate(key) if not _is_basic(part)]
    neighbours = arrays[-1] - arrays[0] == len(arrays) - 1
    for part, count in zip(key, lengths, strict=True):
        if part is ...:
            basic += [slice(None)] * gap
            axis += gap
        elif _is_basic(part):
            basic.append(part)
        else:
            for k, numbers in enumerate(_numbers(part, shape[axis : axis + count])):
                picked.append((len(basic), _inside(numbers, axis + k, shape[axis + k]), shape[axis + k]))
                basic.append(slice(None))
        axis += count
    axes = tuple(place for place, _, _ in picked)
    # As in NumPy the axes of the numbers stand where neighbours have stood, else in front.
    return Picks(tuple(basic), axes, _together(picked, home), axes[0] if neighbours else 0)


def _index(part: Any, x: Array, home: Backend) -> Any:
    """A part of an index as an int, slice, None, ..., or array of int64 or bool."""
    if _is_basic(part):
        return part
    if isinstance(part, (list, tuple, range)):
        host = np.asarray(part) if len(part) else np.zeros(0, "int64")
        if host.dtype.kind not in "iub":
            raise TypeError(f"{EXPECTED}, not with a {type(part).__name__} of {host.dtype}")
        part = home.asarray(host)
    elif not hasattr(part, "shape"):
        if isinstance(part, bool) or not hasattr(part, "__index__"):
            raise TypeError(SINGLE if isinstance(part, bool) else f"{EXPECTED}, not with a {type(part).__name__}")
        return operator.index(part)
    xp, kind = namespace(**{"an indexed Tensor": x, "its index": part}), dtype_name(part)
    if kind == "bool" and part.ndim:
        return part
    if not kind.startswith(("int", "uint")):
        raise TypeError(SINGLE if kind == "bool" else f"{EXPECTED}, not with one of {kind}")
    return counted(xp.asarray(part))


def as_int64(numbers: Array, copy: bool = True) -> Array:
    """Integers as int64. Those of uint64 that it cannot hold are its largest number, and not below 0."""
    if type(numbers) is np.ndarray and numbers.dtype.kind == "i":
        return numbers.astype(np.int64, copy=copy)
    xp = namespace(numbers)
    if dtype_name(numbers) == "uint64":
        numbers = xp.minimum(numbers, 2**63 - 1)
    return xp.astype(numbers, xp.int64, copy=copy)


def counted(numbers: Array) -> Array:
    """Indices as int64, where the largest of uint64 would be those below 0. Raises IndexError for them."""
    xp = namespace(numbers)
    if dtype_name(numbers) == "uint64":
        numbers = within(numbers, 2**63, lambda number: IndexError(f"index {number} is out of range of any axis"))
    return xp.astype(numbers, xp.int64, copy=False)


def _is_basic(part: Any) -> bool:
    return part is None or part is ... or isinstance(part, slice)


def _mask_axes(part: Any) -> int:
    """How many axes a mask stands for; 0 for what is no mask."""
    return int(part.ndim) if hasattr(part, "dtype") and dtype_name(part) == "bool" else 0


def _numbers(part: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """An index for each axis: itself, or where a mask is True."""
    if not _mask_axes(part):
        return (part,)
    if tuple(part.shape) != shape:
        raise IndexError(f"a mask of shape {tuple(part.shape)} picks from axes of lengths {shape}")
    found: tuple[Any, ...] = namespace(part).nonzero(part)
    return found


def _inside(numbers: Any, axis: int, length: int) -> Any:
    """Numbers counted from the front."""

    def outside(number: int) -> IndexError:
        return IndexError(
            f"index {number if number >= 0 else number - length} is out of range for axis {axis} of length {length}"
        )

    if isinstance(numbers, int):
        number = numbers + length if numbers < 0 else numbers
        if not 0 <= number < length:
            raise outside(number)
        return number
    return within(namespace(numbers).where(numbers < 0, numbers + length, numbers), length, outside)


def _together(picked: list[tuple[int, Any, int]], home: Backend) -> Array:
    """One number for those of several axes."""
    shapes = [tuple(numbers.shape) for _, numbers, _ in picked if not isinstance(numbers, int)]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        raise IndexError(f"index arrays have shapes {', '.join(map(str, shapes))}, which do not broadcast") from None
    total: Any = 0
    for k, (_, numbers, _) in enumerate(picked):
        total = total + numbers * math.prod(length for _, _, length in picked[k + 1 :])
    return home.asarray(total, "int64")
