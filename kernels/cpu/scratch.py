"""Memory used again: to get it new from the system, page by page, can cost a fifth of a training step."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

KEPT_BYTES = 1 << 26  # a larger array is not held on to
LINE = 64  # bytes in a cache line
LEARNED_BYTES = (1 << 25) - (1 << 13)  # the most that glibc learns from, its own header and rounding left out

# glibc takes large arrays from the system and gives them back, until it has seen one freed: from then on it keeps what
# is as large, and twice as much in all. Elsewhere this does nothing, and nowhere does it touch the memory.
np.empty(LEARNED_BYTES, np.uint8)


class _Kept(threading.local):
    """A thread's own arrays, by name and type."""

    def __init__(self) -> None:
        self.arrays: dict[tuple[str, Any], np.ndarray[Any, Any]] = {}


_kept = _Kept()


def scratch(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """An array of any content; it is lost when this thread asks for the same name again."""
    dtype = np.dtype(dtype)
    count = math.prod(shape)
    if count * dtype.itemsize > KEPT_BYTES:
        return np.empty(shape, dtype)
    kept = _kept.arrays
    array = kept.get((name, dtype))
    if array is None or array.size < count:
        array = kept[name, dtype] = np.empty(count, dtype)
    return array[:count].reshape(shape)


def aligned(length: int, dtype: Any) -> np.ndarray[Any, Any]:
    """Zeros that begin on a cache line, as NumPy's need not."""
    itemsize = np.dtype(dtype).itemsize
    whole = np.zeros(length + LINE // itemsize, dtype)
    first = -whole.ctypes.data % LINE // itemsize
    return whole[first : first + length]
