"""Arrays as one, so that what is done to each of their numbers is one operation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate
from operator import attrgetter, is_
from typing import Any, NamedTuple

import numpy as np

from xprnn.backend import Array, backend_of, namespace, zeros_beside

Places = Sequence[tuple[slice, tuple[int, ...]]]
"""Where each of some arrays lies in a flat one, and its shape."""


class Whole(NamedTuple):
    """A flat array, where its parts lie, and those that were made of it."""

    array: Array
    places: Places
    parts: Sequence[Array]


Known = dict[int, Whole]
"""By the id of the first part: they need not be joined again."""


class Joined:
    """Arrays of one library, device and dtype, flat and one after the other; one alone stays as it is."""

    def __init__(self, arrays: Sequence[Array], known: Known | None = None) -> None:
        self._like, self._host = arrays, type(arrays[0]) is np.ndarray
        before = None if known is None else known.get(id(arrays[0]))
        if before is not None and len(before.parts) == len(arrays) and all(map(is_, arrays, before.parts)):
            self.array, self.places = before.array, before.places
        else:
            self.places = _places(tuple([tuple(array.shape) for array in arrays]))
            self.array = self.beside(arrays)

    def beside(self, arrays: Sequence[Array | None]) -> Array:
        """Others of the same shapes, moved to where these are; zeros for None."""
        if not (self._host and set(map(type, arrays)) == {np.ndarray}):  # of which all are together
            arrays = list(map(_placed, arrays, self._like))
        if len(arrays) == 1:
            return arrays[0]
        if self._host:
            return np.concatenate(arrays, axis=None)  # type: ignore[arg-type]
        xp = namespace(self._like[0])
        return xp.concat([xp.reshape(array, (-1,)) for array in arrays])

    def moved(self, array: Array | None) -> Array:
        """What was made of such arrays, joined, moved to where these are; zeros for None."""
        return _placed(array, self.array)

    def apart(self, array: Array, known: Known) -> list[Array]:
        """What was made of them all, as what was made of each: views, which are then known."""
        parts = apart(array, self.places)
        array = array if len(parts) > 1 else parts[0]  # in which what the parameter's owner writes is seen
        known[id(parts[0])] = Whole(array, self.places, parts)
        return parts


def apart(array: Array, places: Places) -> list[Array]:
    """The parts of a flat array, as views; of one that has no other, itself."""
    if len(places) == 1:
        return [namespace(array).asarray(array)]  # NumPy turns results without axes into scalars
    if type(array) is np.ndarray:
        return [array[place].reshape(shape) for place, shape in places]
    xp = namespace(array)
    return [xp.reshape(array[place], shape) for place, shape in places]


def part(array: Array, places: Places, position: int) -> Array:
    """One of them."""
    if len(places) == 1:
        return apart(array, places)[0]
    place, shape = places[position]
    return namespace(array).reshape(array[place], shape)


def _placed(array: Array | None, like: Array) -> Array:
    if array is None:
        return zeros_beside(like, like.shape)
    return array if are_together(array, like) else backend_of(like).asarray(array)


@lru_cache
def _places(shapes: tuple[tuple[int, ...], ...]) -> list[tuple[slice, tuple[int, ...]]]:
    """Where arrays of these shapes lie, one after the other."""
    ends = [0, *accumulate(map(math.prod, shapes))]
    return [(slice(*ends[k : k + 2]), shape) for k, shape in enumerate(shapes)]


kind_of: Callable[[Array], tuple[Any, ...]] = attrgetter("__class__", "dtype", "device")
"""What arrays have in common that can be joined."""


def are_together(a: Array, b: Array) -> bool:
    """Whether two arrays are of one library and on one device."""
    return type(a) is type(b) and (type(a) is np.ndarray or a.device == b.device)
