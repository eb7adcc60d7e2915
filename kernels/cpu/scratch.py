"""Memory used again: to get it new from the system, page by page, can cost a fifth of a training step."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from ctypes import addressof, c_char
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


def lined(shape: tuple[int, ...], dtype: Any, make: Callable[..., Any] = np.empty) -> np.ndarray[Any, Any]:
    """An array of any content, or of what ``make`` gives, that begins on a cache line, as NumPy's need not.

    Threads that write rows beside each other's would else take the line where these meet from each other, every step.
    """
    dtype, count = np.dtype(dtype), math.prod(shape)
    whole: np.ndarray[Any, Any] = make(count + LINE // dtype.itemsize, dtype)
    memory: Any = whole  # a buffer, as type checkers on Python 3.10 do not know
    first = -addressof(c_char.from_buffer(memory)) % LINE // dtype.itemsize  # an array's own `ctypes` takes far longer
    return np.ndarray(shape, dtype, memory, first * dtype.itemsize)


def scratch(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """An array of any content; it is lost when this thread asks for the same name again."""
    dtype, count, kept = np.dtype(dtype), math.prod(shape), _kept.arrays
    array = kept.get((name, dtype))
    if array is None or array.size < count:
        array = lined((count,), dtype)
        if array.nbytes <= KEPT_BYTES:
            kept[name, dtype] = array
    return array[:count].reshape(shape)
