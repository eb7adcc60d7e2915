"""The softmax of rows, and how surprising one of the classes of each is."""

from __future__ import annotations

import math

import numpy as np

from . import threads
from .activations import exp
from .compiling import kernel, summing_kernel
from .elementwise import row_max
from .intrinsics import address
from .product import Array, plain

OPERATIONS = 40.0  # that a number counts for, where threads are shared out


def surprise(x: Array, target: Array) -> tuple[Array, Array]:
    """-log softmax(x)[t] of rows x (N, C), for numbers t (N,) of classes from 0 to C - 1; and the softmax."""
    x, target, tops = plain(x), plain(target), row_max(x)
    losses, shares = np.empty(len(x), x.dtype), np.empty_like(x)
    threads.share(
        lambda first, last: _surprise(x, target, tops, losses, shares, first, last), len(x), OPERATIONS * x.size
    )
    return losses, shares


@kernel
def _surprise(x, target, tops, losses, shares, first, last):
    size = x.shape[1]
    for row in range(first, last):
        numbers, powers, top = address(x, row * size), address(shares, row * size), tops[row, 0]
        if math.isfinite(top):
            _powers(numbers, powers, size, np.float64(top))
            total = _sum(powers, size)
            _scale(powers, size, 1.0 / total)
            losses[row] = math.log(total) - (np.float64(numbers[target[row]]) - top)
        else:  # there is none, nor a loss
            for k in range(size):
                powers[k] = np.nan
            losses[row] = np.nan


@kernel
def _powers(x, y, size, top):
    for k in range(size):
        y[k] = exp(np.float64(x[k]) - top)  # in float64, since the difference of large ones loses digits


@summing_kernel
def _sum(x, size):
    total = 0.0
    for k in range(size):
        total += x[k]
    return total


@kernel
def _scale(x, size, factor):
    for k in range(size):
        x[k] = x[k] * factor
