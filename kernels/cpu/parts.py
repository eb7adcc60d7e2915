"""What may stand between recurrent layers: functions of elements, and layer normalisation, on rows."""

from __future__ import annotations

import math

from .activations import tanh
from .compiling import kernel, summing_kernel
from .gates import relu, sigmoid
from .intrinsics import offset

LINEAR, TANH, SIGMOID, RELU, NORM = -1, -2, -3, -4, -5
"""Kinds of parts, beside those of cells."""


@kernel
def elementwise(kind, x, y, size):
    """y = f(x), which may be the same memory."""
    if kind == TANH:
        for j in range(size):
            y[j] = tanh(x[j])
    elif kind == SIGMOID:
        for j in range(size):
            y[j] = sigmoid(x[j])
    else:
        for j in range(size):
            y[j] = relu(x[j])


@kernel
def normalise(x, y, weight, bias, eps, size, rows):
    """Rows of mean 0 and variance 1, times weight, plus bias. y may be x."""
    for row in range(rows):
        here, to = offset(x, row * size), offset(y, row * size)
        mean = _sum(here, size) / size
        for j in range(size):
            to[j] = here[j] - mean
        scale = math.sqrt(_sum_of_squares(to, size) / size + eps)
        for j in range(size):
            to[j] = to[j] / scale * weight[j] + bias[j]


@summing_kernel
def _sum(x, size):
    total = x[0] * 0
    for j in range(size):
        total += x[j]
    return total


@summing_kernel
def _sum_of_squares(x, size):
    total = x[0] * 0
    for j in range(size):
        total += x[j] * x[j]
    return total
