"""What NumPy lacks, or is slow at: functions of single numbers, the largest of each row, sums of rows by number and of
squares.
"""

from __future__ import annotations

import math

import numpy as np

from . import threads
from .compiling import kernel, summing_kernel
from .product import DEPTH, Array, plain

LANES, HALVES = 16, (8, 4, 2, 1)  # of a vector of maxima
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
            for k in range(LANES):  # a slice set at once compiles Numba's words for shapes that differ, for seconds
                lanes[k] = x[row, k]
            for low in range(LANES, whole, LANES):
                numbers = x[row, low : low + LANES]
                for k in range(LANES):
                    lanes[k] = numbers[k] if (numbers[k] > lanes[k]) | (numbers[k] != numbers[k]) else lanes[k]
            for half in HALVES:  # side by side, as one after the other each waits for the one before
                for k in range(half):
                    other = lanes[half + k]
                    lanes[k] = other if (other > lanes[k]) | (other != other) else lanes[k]
            most = lanes[0]
        for k in range(whole, columns):
            most = x[row, k] if (x[row, k] > most) | (x[row, k] != x[row, k]) else most
        y[row] = most


def scatter_add(index: Array, values: Array, size: int) -> Array:
    """Rows of values (N, D) summed into ``size`` rows of zeros, by the number of each, in their order.

    Raises IndexError for a number that is not from -size to below size.
    """
    index, values = plain(index.astype(np.int64, copy=False)), plain(values)
    total = np.zeros((size, values.shape[1]), values.dtype)
    if len(index):
        least, most = _ends(index)
        if not -size <= least <= most < size:
            raise IndexError(f"there are rows from {least} to {most} to be summed into {size}")
    threads.share(
        lambda first, last: _scatter_add(index, values, total, first, last), values.shape[1], 4.0 * values.size
    )
    return total


@kernel
def _ends(numbers):
    """The least and the greatest."""
    least = most = numbers[0]
    for number in numbers:
        least, most = min(least, number), max(most, number)
    return least, most


@kernel
def _scatter_add(index, values, total, first, last):
    for n in range(len(index)):
        row = index[n] if index[n] >= 0 else index[n] + len(total)
        target, source = total[row, first:last], values[n, first:last]
        for k in range(target.size):
            target[k] += source[k]


def square_sum(x: Array) -> float:
    """Of x (N,), in float64: block by block, since long sums lose digits."""
    total: float = _square_sum(plain(x))
    return total


@summing_kernel
def _square_sum(x):
    total = 0.0
    for low in range(0, x.size, DEPTH):
        part, block = 0.0, x[low : low + DEPTH]
        for k in range(block.size):
            part += np.float64(block[k]) * np.float64(block[k])
        total += part
    return total
