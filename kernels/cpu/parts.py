"""What may stand between recurrent layers: functions of elements, and layer normalisation, on rows."""

from __future__ import annotations

from . import norms
from .activations import sigmoid, tanh
from .compiling import kernel
from .elman_gates import relu
from .intrinsics import offset

LINEAR, TANH, SIGMOID, RELU, NORM = -1, -2, -3, -4, -5
"""Kinds of parts, beside those of cells."""
PARTS = {"linear": LINEAR, "tanh": TANH, "sigmoid": SIGMOID, "relu": RELU, "norm": NORM}


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
    """Each row of y is one of x normalised, times weight, plus bias; it may be the same memory."""
    for row in range(rows):
        norms.normalise(offset(x, row * size), weight, bias, offset(y, row * size), size, eps)
