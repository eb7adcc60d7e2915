"""Layer normalisation on rows: N(x) = (x - mean) / sqrt(variance + 1e-5), while they are in the first cache.

``gain`` and ``bias`` are as long as x. Sums are over whole vectors, so that their terms are in another order than in
array code, but in one order whatever the batch. Loops are written out for vectors (lanes.py): with as many rows as are
read here, LLVM would ask longer whether they overlap than the arithmetic takes.
"""

from __future__ import annotations

import math

import numba
from numba.extending import overload

from .compiling import OPTIONS, kernel
from .lanes import loop_of

EPSILON = 1e-5

_total = loop_of(lambda x: (x,), sums=1)
_spread = loop_of(lambda x, mean: ((x - mean) * (x - mean),), sums=1)
_totals = loop_of(lambda x, m: (x, m), sums=2)
_spreads = loop_of(
    lambda x, m, mean_x, mean_m: ((x - mean_x) * (x - mean_x), (m - mean_m) * (m - mean_m)),
    sums=2,
)
_scaled = loop_of(lambda x, mean, scale: ((x - mean) * scale,))
_affine = loop_of(lambda x, gain, bias, mean, scale: ((x - mean) * scale * gain + bias,))


def _meeting(x, m, gain_x, gain_m, bias, mean_x, scale_x, mean_m, scale_m):
    x, m = (x - mean_x) * scale_x, (m - mean_m) * scale_m
    return x, m, x * gain_x + m * gain_m + bias


def _products(x, m, gain_x, gain_m, dx, dm):
    dx, dm = dx * gain_x, dm * gain_m
    return dx, dx * x, dm, dm * m


def _through(x, m, gain_x, gain_m, dx, dm, sum_x, sum_m, bias, mean_x, along_x, scale_x, mean_m, along_m, scale_m):
    return (
        (dx * gain_x - mean_x - x * along_x) * scale_x,
        (dm * gain_m - mean_m - m * along_m) * scale_m,
        sum_x + dx * x,
        sum_m + dm * m,
        bias + dx,
    )


_met = loop_of(_meeting)
_sums_back, _both_back = loop_of(_products, sums=4), loop_of(_through)


def number_like(x, value):
    """A number, of the type of what x points to."""
    raise NotImplementedError


@overload(number_like)
def _number_like(x, value):
    dtype = x.dtype
    return lambda x, value: dtype(value)


@numba.njit(inline="always", **OPTIONS)
def _scale_of(x, spread, size, epsilon):
    """1 / sqrt(variance + epsilon), from the sum of squares, for what x points to."""
    return number_like(x, 1) / math.sqrt(spread / number_like(x, size) + number_like(x, epsilon))


@kernel
def moments(x, size, epsilon=EPSILON):
    """The mean, and 1 / sqrt(variance + epsilon)."""
    mean = _total((x,), (), (), size)[0] / number_like(x, size)
    return mean, _scale_of(x, _spread((x,), (), (mean,), size)[0], size, epsilon)


@kernel
def normalise(x, gain, bias, y, size, epsilon):
    """y = N(x) gain + bias; y may be x."""
    mean, scale = moments(x, size, epsilon)
    _affine((x, gain, bias), (y,), (mean, scale), size)


@kernel
def unit(x, size):
    """x = N(x), in place. Returns 1 / sqrt(variance + epsilon), which the way back needs beside it."""
    mean, scale = moments(x, size)
    _scaled((x,), (x,), (mean, scale), size)
    return scale


@kernel
def moments_of_both(x, m, size):
    """Of x the mean and 1 / sqrt(variance + epsilon), then those of m."""
    count = number_like(x, size)
    total_x, total_m = _totals((x, m), (), (), size)
    mean_x, mean_m = total_x / count, total_m / count
    spread_x, spread_m = _spreads((x, m), (), (mean_x, mean_m), size)
    return mean_x, _scale_of(x, spread_x, size, EPSILON), mean_m, _scale_of(x, spread_m, size, EPSILON)


@kernel
def meet(x, m, gain_x, gain_m, bias, y, size):
    """x = N(x) and m = N(m), in place, and y = x gain_x + m gain_m + bias. Returns what :func:`unit` does of both."""
    both = moments_of_both(x, m, size)
    _met((x, m, gain_x, gain_m, bias), (x, m, y), both, size)
    return both[1], both[3]


@kernel
def meet_back(x, m, gain_x, gain_m, scale_x, scale_m, dx, dm, d, sum_x, sum_m, sum_bias, size):
    """The way back to x and m as they were, from x = N(x) and m = N(m).

    dx is the cotangent of x gain_x, in place, and dm that of m gain_m, from which ``d`` is written. The gradients of
    the gains, and what is the sum of dx, are added to.
    """
    count = number_like(x, size)
    total_x, along_x, total_m, along_m = _sums_back((x, m, gain_x, gain_m, dx, dm), (), (), size)
    means = total_x / count, along_x / count, scale_x, total_m / count, along_m / count, scale_m
    rows = x, m, gain_x, gain_m, dx, dm, sum_x, sum_m, sum_bias
    _both_back(rows, (dx, d, sum_x, sum_m, sum_bias), means, size)
