"""Whether an array was written to since the forward pass read it, which the way back will read again."""

from __future__ import annotations

import numpy as np

from xprnn.backend import Array, to_numpy
from xprnn.flags import true_or_false
from xprnn.settings import DEBUG, Choice

SAMPLE = 64  # numbers of an array that are looked at: less than a microsecond
SMALL = 2048  # bytes of an array that is looked at whole, which takes no longer


class debug(Choice[bool]):  # noqa: N801 - reads as a verb in both of its uses
    """Let ``backward`` find every array that was written to in between; for the process, or as a context manager.

    What the way back reads must be as it was when the forward pass read it. Always looked at are about 64 numbers,
    evenly spread, of each array of NumPy's that the caller gave: x, a state, indices, a mask, a constant factor; of a
    small one all. That finds memory that is used again for the next batch, and costs nothing to speak of. Here all
    numbers of everything read are looked at, weights and results too, on every backend: forward and backward each read
    it once more, and wait for a GPU. Either way backward raises a RuntimeError that names the operation and the
    argument, before any gradient is added to. ``explain`` says where this holds. ``debug(False)`` ends it.

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


def whole(array: Array) -> int:
    """What tells an array from any other, of all its numbers."""
    return hash(to_numpy(array).tobytes())


def sample(array: Array) -> bytes:
    """All numbers of a small array, and some of any other; as bytes, since NaN is not itself."""
    if type(array) is not np.ndarray:
        array = to_numpy(array)
    elif array.nbytes > SMALL:
        array = (array.ravel() if array.flags.c_contiguous else array.flat)[:: array.size // SAMPLE + 1]
    return array.tobytes()
