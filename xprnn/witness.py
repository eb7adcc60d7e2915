"""Whether an array was written to since the forward pass read it, which the way back will read again."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn.backend import Array, to_numpy
from xprnn.flags import true_or_false
from xprnn.settings import DEBUG, Choice

SAMPLE = 64  # numbers of an array that are looked at: less than a microsecond, and all of a small array


class debug(Choice[bool]):  # noqa: N801 - reads as a verb in both of its uses
    """Let ``backward`` find every array that was written to in between; for the process, or as a context manager.

    What the way back reads must be as it was when the forward pass read it. Always looked at are about 64 numbers,
    evenly spread, of each array of NumPy's that the caller gave: x, a state, indices, a mask, a constant factor. That
    finds memory that is used again for the next batch, and costs nothing to speak of. Here all numbers of everything
    read are looked at, weights and results too, on every backend: forward and backward each read it once more, and wait
    for a GPU. Either way backward raises a RuntimeError that names the operation and the argument, before any gradient
    is added to. ``explain`` says where this holds. ``debug(False)`` ends it.

    >>> with debug():  # doctest: +SKIP
    ...     loss(model, batch).backward()
    """

    used = False
    """Whether anybody ever did: every operation asks."""

    def __init__(self, on: bool = True) -> None:
        chosen = true_or_false("debug", "on", on)
        debug.used = True
        super().__init__(DEBUG, chosen)


def debugging() -> bool:
    """What ``debug`` chose, else False."""
    return debug.used and bool(DEBUG.get())


class Witness:
    """What an array held when it was read; ``whole``, or in a sample."""

    __slots__ = ("_seen", "_whole", "shape")

    def __init__(self, array: Array, whole: bool = False) -> None:
        self.shape, self._whole = tuple(array.shape), whole
        self._seen = self._look(array)

    def saw(self, array: Array) -> bool:
        """Whether it still holds the same."""
        return array.shape == self.shape and self._look(array) == self._seen

    def _look(self, array: Array) -> Any:
        if self._whole or type(array) is not np.ndarray:
            return hash(to_numpy(array).tobytes())
        if array.size < SAMPLE:
            return array.tobytes()  # bytes, since NaN is not itself
        seen: np.ndarray[Any, Any] = array.flat[:: array.size // SAMPLE + 1]
        return seen.tobytes()
