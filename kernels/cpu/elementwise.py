"""Functions of single numbers that NumPy lacks, on several threads."""

from __future__ import annotations

import math

import numpy as np

from . import threads
from .compiling import kernel
from .product import Array, plain

OPERATIONS = 50.0  # that an erf counts for, where threads are shared out


def erf(x: Array) -> Array:
    """The error function of every element."""
    x = plain(x)
    y = np.empty_like(x)
    threads.share(lambda first, last: _erf(x.reshape(-1), y.reshape(-1), first, last), x.size, OPERATIONS * x.size)
    return y


@kernel
def _erf(x, y, first, last):
    for i in range(first, last):
        y[i] = math.erf(x[i])
