"""The softmax of rows, and how surprising one of the classes of each is."""

from __future__ import annotations

import math

import numpy as np

from . import threads
from .activations import exp
from .compiling import kernel, plain_kernel, summing_kernel
from .elementwise import most_of_rows
from .intrinsics import address
from .product import Array, plain
from .rows import clear

OPERATIONS = 40.0  # that a number counts for, where threads are shared out


def surprise(x: Array, target: Array) -> tuple[Array, Array]:
    """-log softmax(x)[t] of rows x (N, C), for numbers t (N,) of classes from 0 to C - 1; and the softmax.

    Both are 0 in rows whose t is below 0: these are not looked at.
    """
    x, target = plain(x), plain(target)
    losses, tops, shares = np.empty(len(x), x.dtype), np.empty(len(x), x.dtype), np.empty_like(x)
    threads.share(
        lambda first, last: _surprise(x, target, tops, losses, shares, first, last), len(x), OPERATIONS * x.size
    )
    return losses, shares


def surprise_back(shares: Array, target: Array, flow: Array) -> Array:
    """The gradient in x, flow (softmax - 1 at the target), of flow (N,) or one number for all rows."""
    target, flow, dx = plain(target), plain(flow), np.empty_like(shares)
    threads.share(
        lambda first, last: _surprise_back(shares, target, flow, dx, first, last), len(shares), 2.0 * shares.size
    )
    return dx


@kernel
def _surprise(x, target, tops, losses, shares, first, last):
    size = x.shape[1]
    most_of_rows(x, tops, first, last)
    for row in range(first, last):
        numbers, powers, top = address(x, row * size), address(shares, row * size), tops[row]
        if target[row] < 0:
            clear(powers, size)
            losses[row] = 0
        elif math.isfinite(top):
            _powers(numbers, powers, size, np.float64(top))
            total = _sum(powers, size)
            _scale(powers, size, 1.0 / total)
            losses[row] = math.log(total) - (np.float64(numbers[target[row]]) - top)
        else:  # there is none, nor a loss
            for k in range(size):
                powers[k] = np.nan
            losses[row] = np.nan


@plain_kernel
def _surprise_back(shares, target, flow, dx, first, last):
    for row in range(first, last):
        if target[row] < 0:
            clear(address(dx, row * dx.shape[1]), dx.shape[1])
            continue
        factor = flow[row if flow.size > 1 else 0]
        for k in range(shares.shape[1]):
            dx[row, k] = factor * shares[row, k]
        dx[row, target[row]] -= factor


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
