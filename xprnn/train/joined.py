"""Arrays as one, so that what is done to each of their numbers is one operation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from operator import is_
from typing import Any

import numpy as np

from xprnn.backend import Array, backend_of, namespace, zeros_beside

Known = dict[int, tuple[list[Array], Array]]
"""Views that were made of flat arrays, and these, by the id of the first view: they need not be joined again."""


class Joined:
    """Arrays of one library, device and dtype, flat and one after the other; one alone stays as it is."""

    def __init__(self, arrays: Sequence[Array], known: Known | None = None) -> None:
        self._xp, self._like, self._known = namespace(arrays[0]), arrays, known or {}
        self._host = type(arrays[0]) is np.ndarray
        self._places = _places(tuple([tuple(array.shape) for array in arrays]))
        self.array: Array = self.beside(arrays)

    def beside(self, arrays: Sequence[Array | None]) -> Array:
        """Others of the same shapes, moved to where these are; zeros for None."""
        views, whole = self._known.get(id(arrays[0]), ((), None))
        if len(views) == len(arrays) and all(map(is_, arrays, views)):
            return whole
        if not (self._host and set(map(type, arrays)) == {np.ndarray}):  # of which all are together
            arrays = list(map(self._placed, arrays, self._like))
        if len(arrays) == 1:
            return arrays[0]
        if self._host:
            return np.concatenate(arrays, axis=None)  # type: ignore[arg-type]
        return self._xp.concat([self._xp.reshape(array, (-1,)) for array in arrays])

    @staticmethod
    def _placed(array: Array | None, like: Array) -> Array:
        if array is None:
            return zeros_beside(like, like.shape)
        return array if are_together(array, like) else backend_of(like).asarray(array)

    def apart(self, array: Array, known: Known) -> list[Array]:
        """What was made of them all, as what was made of each: views, which are then known."""
        if len(self._like) == 1:
            return [self._xp.asarray(array)]  # NumPy turns results without axes into scalars
        if self._host:
            views = [array[place].reshape(shape) for place, shape in self._places]
        else:
            views = [self._xp.reshape(array[place], shape) for place, shape in self._places]
        known[id(views[0])] = views, array
        return views


@lru_cache
def _places(shapes: tuple[tuple[int, ...], ...]) -> list[tuple[slice, tuple[int, ...]]]:
    """Where arrays of these shapes lie, one after the other."""
    ends = [0, *accumulate(map(math.prod, shapes))]
    return [(slice(*ends[k : k + 2]), shape) for k, shape in enumerate(shapes)]


def kind_of(array: Array) -> tuple[Any, ...]:
    """What arrays have in common that can be joined."""
    return type(array), array.dtype, array.device


def are_together(a: Array, b: Array) -> bool:
    """Whether two arrays are of one library and on one device."""
    return type(a) is type(b) and (type(a) is np.ndarray or a.device == b.device)
