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
def normalise(x, gain, bias, y, size, epsilon=EPSILON):
    """y = N(x) gain + bias; y may be x."""
    mean, scale = moments(x, size, epsilon)
    for j in range(size):
        y[j] = (x[j] - mean) * scale * gain[j] + bias[j]


@kernel
def normalise_both(x, m, gain_x, gain_m, bias, y, size):
    """y = N(x) gain_x + N(m) gain_m + bias."""
    mean_x, scale_x = moments(x, size)
    mean_m, scale_m = moments(m, size)
    for j in range(size):
        y[j] = (x[j] - mean_x) * scale_x * gain_x[j] + (m[j] - mean_m) * scale_m * gain_m[j] + bias[j]


@summing_kernel
def normalise_back(x, gain, dy, dx, size):
    """The cotangent of x, from that of N(x) gain + bias; dx may be dy. Returns the moments of x."""
    mean, scale = moments(x, size)
    count = number_like(x, size)
    total, along = number_like(x, 0), number_like(x, 0)
    for j in range(size):
        d = dy[j] * gain[j]
        total += d
        along += d * (x[j] - mean)
    total, along = total / count, along * scale * scale / count
    for j in range(size):
        dx[j] = (dy[j] * gain[j] - total - (x[j] - mean) * along) * scale
    return mean, scale
