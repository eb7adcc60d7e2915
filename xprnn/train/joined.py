"""Arrays as one, so that what is done to each of their numbers is one operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xprnn.backend import Array, backend_of, namespace, zeros_beside


class Joined:
    """Arrays of one library, device and dtype, flat and one after the other; one alone stays as it is."""

    def __init__(self, arrays: Sequence[Array]) -> None:
        self._xp, self._like = namespace(arrays[0]), arrays
        self.array: Array = self._flat(arrays)

    def _flat(self, arrays: Sequence[Array]) -> Array:
        if len(arrays) == 1:
            return arrays[0]
        return self._xp.concat([_reshaped(array, (-1,)) for array in arrays])

    def beside(self, arrays: Sequence[Array | None]) -> Array:
        """Others of the same shapes, moved to where these are; zeros for None."""
        placed = []
        for array, like in zip(arrays, self._like, strict=True):
            if array is None:
                array = zeros_beside(like, like.shape)
            elif not are_together(array, like):
                array = backend_of(like).asarray(array)
            placed.append(array)
        return self._flat(placed)

    def apart(self, array: Array) -> list[Array]:
        """What was made of them all, as what was made of each: views."""
        if len(self._like) == 1:
            return [self._xp.asarray(array)]  # NumPy turns results without axes into scalars
        parts, end = [], 0
        for like in self._like:
            start, end = end, end + like.size
            parts.append(_reshaped(array[start:end], like.shape))
        return parts


def _reshaped(array: Array, shape: tuple[int, ...]) -> Array:
    return array.reshape(shape) if type(array) is np.ndarray else namespace(array).reshape(array, shape)


def kind_of(array: Array) -> tuple[Any, ...]:
    """What arrays have in common that can be joined."""
    return type(array), array.dtype, array.device


def are_together(a: Array, b: Array) -> bool:
    """Whether two arrays are of one library and on one device."""
    return type(a) is type(b) and a.device == b.device
