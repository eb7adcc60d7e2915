"""Layer normalisation on rows: N(x) = (x - mean) / sqrt(variance + 1e-5), while they are in the first cache.

``gain`` and ``bias`` are as long as x. Sums are over whole vectors, so that their terms are in another order than in
array code, but in one order whatever the batch.
"""

from __future__ import annotations

import math

from numba.extending import overload

from .compiling import kernel, summing_kernel

EPSILON = 1e-5


def number_like(x, value):
    """A number, of the type of what x points to."""
    raise NotImplementedError


@overload(number_like)
def _number_like(x, value):
    dtype = x.dtype
    return lambda x, value: dtype(value)


@summing_kernel
def moments(x, size, epsilon=EPSILON):
    """The mean, and 1 / sqrt(variance + epsilon)."""
    count = number_like(x, size)
    total = number_like(x, 0)
    for j in range(size):
        total += x[j]
    mean = total / count
    spread = number_like(x, 0)
    for j in range(size):
        spread += (x[j] - mean) * (x[j] - mean)
    return mean, number_like(x, 1) / math.sqrt(spread / count + number_like(x, epsilon))


@kernel
def normalise(x, gain, bias, y, size, epsilon):
    """y = N(x) gain + bias; y may be x."""
    mean, scale = moments(x, size, epsilon)
    for j in range(size):
        y[j] = (x[j] - mean) * scale * gain[j] + bias[j]


@kernel
def unit(x, size):
    """x = N(x), in place. Returns 1 / sqrt(variance + epsilon), which the way back needs beside it."""
    mean, scale = moments(x, size)
    for j in range(size):
        x[j] = (x[j] - mean) * scale
    return scale


@kernel
def affine(x, gain, bias, y, size):
    """y = x gain + bias."""
    for j in range(size):
        y[j] = x[j] * gain[j] + bias[j]


@kernel
def affine_both(x, m, gain_x, gain_m, bias, y, size):
    """y = x gain_x + m gain_m + bias."""
    for j in range(size):
        y[j] = x[j] * gain_x[j] + m[j] * gain_m[j] + bias[j]


@summing_kernel
def unit_back(y, scale, gain, d, size):
    """The cotangent of x, in place, from that of y gain + bias, with y = N(x) as :func:`unit` left it."""
    count = number_like(y, size)
    total, along = number_like(y, 0), number_like(y, 0)
    for j in range(size):
        d[j] *= gain[j]
        total += d[j]
        along += d[j] * y[j]
    total, along = total / count, along / count
    for j in range(size):
        d[j] = (d[j] - total - y[j] * along) * scale
