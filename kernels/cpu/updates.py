"""Steps of optimizers over all numbers in one pass; with NumPy's bits, since nothing is fused or reordered."""

from __future__ import annotations

import math

import numpy as np

from . import threads
from .compiling import plain_kernel
from .product import Array, plain

BLOCK = 2048  # numbers of each array that loops of few arrays pass over in turn: with more, LLVM gives up vectorising
OPERATIONS = 40.0  # that a number counts for, where threads are shared out


def adam(
    data: Array,
    gradient: Array,
    mean: Array,
    square: Array,
    beta1: float,
    beta2: float,
    root: float,
    eps: float,
    rate: float,
) -> tuple[Array, Array, Array]:
    """The new data, mean and square, of one shape and type; ``root`` and ``rate`` hold the corrections of this step."""
    given = [plain(array).reshape(-1) for array in (data, gradient, mean, square)]
    made = [np.empty(data.size, data.dtype) for _ in range(3)]
    numbers = beta1, 1.0 - beta1, beta2, 1.0 - beta2, root, eps, rate
    threads.share(lambda first, last: _adam(*given, numbers, *made, first, last), data.size, OPERATIONS * data.size)
    new_data, new_mean, new_square = made if data.ndim == 1 else [array.reshape(data.shape) for array in made]
    return new_data, new_mean, new_square


@plain_kernel
def _adam(data, gradient, mean, square, numbers, new_data, new_mean, new_square, first, last):
    number = data.dtype.type  # as NumPy takes Python's beside an array
    beta1, rest1, beta2, rest2 = number(numbers[0]), number(numbers[1]), number(numbers[2]), number(numbers[3])
    root, eps, rate = number(numbers[4]), number(numbers[5]), number(numbers[6])
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        w, g, m, v = data[low:high], gradient[low:high], new_mean[low:high], new_square[low:high]
        old_m, old_v, new = mean[low:high], square[low:high], new_data[low:high]
        for k in range(m.size):
            m[k] = beta1 * old_m[k] + rest1 * g[k]
        for k in range(v.size):
            v[k] = beta2 * old_v[k] + rest2 * (g[k] * g[k])
        for k in range(new.size):
            new[k] = w[k] - rate * (m[k] / (math.sqrt(v[k]) / root + eps))
