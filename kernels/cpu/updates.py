"""Steps of optimizers over all numbers in one pass; with NumPy's bits, since nothing is fused or reordered."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numba import carray, from_dtype, types

from . import threads
from .compiling import plain_kernel
from .lent import Lent, Place, call_of, holds
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
    size, dtype = data.size, data.dtype
    made = [np.empty(size, dtype) for _ in range(3)]
    numbers, small = (beta1, 1.0 - beta1, beta2, 1.0 - beta2, root, eps, rate), OPERATIONS * size < threads.SERIAL_BELOW
    if not (small and _adam_of(dtype)(size, data, gradient, mean, square, numbers, *made)):
        given = [plain(array).reshape(-1) for array in (data, gradient, mean, square)]
        threads.share(lambda first, last: _adam(*given, numbers, *made, first, last), size, OPERATIONS * size)
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


@lru_cache
def _adam_of(dtype: Any) -> Callable[..., bool]:
    """All of it for arrays of a type in one call; False where one of them is not plain, of so many numbers."""
    number, own = from_dtype(dtype), id(np.dtype(dtype.type))
    given = types.int64, types.intp, *[Lent(number)] * 4, types.UniTuple(types.float64, 7), *[Place(number)] * 3
    return call_of(_adam_at_once, given, own)


@plain_kernel
def _adam_at_once(dtype, size, data, gradient, mean, square, numbers, new_data, new_mean, new_square):
    for array in (data, gradient, mean, square):
        if not holds(array, size, dtype):
            return False
    _adam(
        carray(data.at, (size,)), carray(gradient.at, (size,)), carray(mean.at, (size,)), carray(square.at, (size,)),
        numbers, carray(new_data.at, (size,)), carray(new_mean.at, (size,)), carray(new_square.at, (size,)), 0, size,
    )  # fmt: skip
    return True
