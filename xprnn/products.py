"""Matrix products of the tape: the library's own, or the compiled kernels' where those keep out of its threads' way."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn import compiled
from xprnn.backend import DTYPES, Array
from xprnn.setting import Setting

forced: Setting[str] = Setting("kernels")
"""What ``use_kernels`` chose. It stands here, below dispatch, since products obey it too."""

# Below so many multiply-adds NumPy's library takes one thread; with fewer rows a product is not worth its packing.
LEAST_WORK, LEAST_ROWS = 2**18, 16


def matmul(xp: Any, a: Array, b: Array) -> Array:
    """The product of two arrays of the namespace xp, by its own rules."""
    if _large(a, b) and forced.get() in (None, "auto", "compiled"):
        kernels = compiled.kernels()
        if not isinstance(kernels, str):
            return kernels.matmul(a, b)
    return xp.matmul(a, b)


def _large(a: Array, b: Array) -> bool:
    """Whether these are two matrices in NumPy for which the kernels are made."""
    return (
        type(a) is np.ndarray
        and type(b) is np.ndarray
        and a.ndim == 2
        and b.ndim == 2
        and a.dtype == b.dtype
        and a.dtype.name in DTYPES
        and a.dtype.isnative
        and a.shape[1] == b.shape[0]
        and a.shape[0] >= LEAST_ROWS
        and a.size * b.shape[1] > LEAST_WORK
    )
