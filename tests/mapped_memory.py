"""Arrays of more bytes than there are, for tests of how elements are numbered."""

import math
import mmap
import sys

import numpy as np
import pytest

NORESERVE = 0x4000  # Linux's number, which Python's module has not in all versions


def mapped(shape, dtype="float32"):
    """An array of zeros, of which pages exist only where they are written to."""
    if sys.platform != "linux":
        pytest.skip("maps memory as Linux does")
    count = math.prod(shape)
    try:
        memory = mmap.mmap(-1, max(4 * count, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE)
    except (OSError, OverflowError):
        pytest.skip(f"this system maps no {4 * count} bytes")
    return np.frombuffer(memory, dtype, count).reshape(shape)
