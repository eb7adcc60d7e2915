"""What NumPy lacks, or is slow at: functions of single numbers, the largest of each row, and sums of rows by number."""

from __future__ import annotations

import math

import numpy as np

from . import threads
from .compiling import kernel
from .product import Array, plain

LANES = 16  # of a vector of maxima
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


def row_max(x: Array) -> Array:
    """The largest number of each row of x (..., N), as (..., 1); NaN where there is one."""
    rows, found = plain(x).reshape(-1, x.shape[-1]), np.empty((*x.shape[:-1], 1), x.dtype)
    threads.share(lambda first, last: most_of_rows(rows, found.reshape(-1), first, last), len(rows), 2.0 * x.size)
    return found


@kernel
def most_of_rows(x, y, first, last):
    columns, lanes = x.shape[1], np.empty(LANES, x.dtype)
    for row in range(first, last):
        most, whole = x[row, 0], columns - columns % LANES
        if whole:
            lanes[:] = x[row, :LANES]
            for low in range(LANES, whole, LANES):
                numbers = x[row, low : low + LANES]
                for k in range(LANES):
                    lanes[k] = numbers[k] if (numbers[k] > lanes[k]) | (numbers[k] != numbers[k]) else lanes[k]
            for k in range(LANES):
                most = lanes[k] if (lanes[k] > most) | (lanes[k] != lanes[k]) else most
        for k in range(whole, columns):
            most = x[row, k] if (x[row, k] > most) | (x[row, k] != x[row, k]) else most
        y[row] = most


def scatter_add(index: Array, values: Array, size: int) -> Array:
    """Rows of values (N, D) summed into ``size`` rows of zeros, by the number of each, in their order.

    Raises IndexError for a number that is not from -size to below size.
    """
    index, values = plain(index.astype(np.int64, copy=False)), plain(values)
    total = np.zeros((size, values.shape[1]), values.dtype)
    if len(index) and not -size <= index.min() <= index.max() < size:
        raise IndexError(f"there are rows from {index.min()} to {index.max()} to be summed into {size}")
    threads.share(
        lambda first, last: _scatter_add(index, values, total, first, last), values.shape[1], 4.0 * values.size
    )
    return total


@kernel
def _scatter_add(index, values, total, first, last):
    for n in range(len(index)):
        row = index[n] if index[n] >= 0 else index[n] + len(total)
        target, source = total[row, first:last], values[n, first:last]
        for k in range(target.size):
            target[k] += source[k]
