"""Functions of each element by itself, and other dtypes."""

from __future__ import annotations

import math
import reprlib
from typing import Any

import numpy as np

from xprnn import host_kernels
from xprnn.backend import dtype_name, namespace
from xprnn.flags import true_or_false
from xprnn.ops.operands import X, lifted
from xprnn.tape import record
from xprnn.tensor import Tensor


@lifted
def exp(x: Tensor) -> Tensor:
    """e ** x."""
    return record("exp", namespace(x.data).exp(x.data), (x,), [lambda g, y: g * y])


@lifted
def log(x: Tensor) -> Tensor:
    """The natural logarithm."""
    return record("log", namespace(x.data).log(x.data), (x,), [lambda g, y: g / x], (x,), X)


@lifted
def sqrt(x: Tensor) -> Tensor:
    """The square root. Its gradient at 0 is infinite."""
    return record("sqrt", namespace(x.data).sqrt(x.data), (x,), [lambda g, y: g / (2.0 * y)])


@lifted
def square(x: Tensor) -> Tensor:
    """x * x."""
    return record("square", x.data * x.data, (x,), [lambda g, y: g * (2.0 * x)], (x,), X)


@lifted
def abs(x: Tensor) -> Tensor:
    """|x|, with gradient 0 at 0."""
    xp = namespace(x.data)
    return record("abs", xp.abs(x.data), (x,), [lambda g, y: g * xp.sign(x.data)], (x,), X)


@lifted
def sin(x: Tensor) -> Tensor:
    """The sine."""
    return record("sin", namespace(x.data).sin(x.data), (x,), [lambda g, y: g * cos(x)], (x,), X)


@lifted
def cos(x: Tensor) -> Tensor:
    """The cosine."""
    return record("cos", namespace(x.data).cos(x.data), (x,), [lambda g, y: -g * sin(x)], (x,), X)


@lifted
def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return record("tanh", namespace(x.data).tanh(x.data), (x,), [lambda g, y: g * (1.0 - y * y)])


@lifted
def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e ** -x), computed as tanh(x/2)/2 + 1/2.

    This neither overflows nor needs a case distinction, and is exact to a rounding error of 1, not of the result: below
    x = -38 (float32: -20) it is 0. For the logarithm take ``-softplus(-x)``.
    """
    data = 0.5 * namespace(x.data).tanh(0.5 * x.data) + 0.5
    return record("sigmoid", data, (x,), [lambda g, y: g * (y * (1.0 - y))])


@lifted
def relu(x: Tensor) -> Tensor:
    """max(x, 0), with gradient 0 at 0. NaN stays NaN."""
    xp = namespace(x.data)
    # A product with zeros and ones is several times faster than where, which the CPU cannot predict.
    return record("relu", xp.maximum(x.data, 0), (x,), [lambda g, y: g * xp.astype(y.data != 0, x.dtype)])


@lifted
def softplus(x: Tensor) -> Tensor:
    """log(1 + e ** x), without overflow."""
    xp = namespace(x.data)
    return record("softplus", xp.logaddexp(x.data, xp.zeros_like(x.data)), (x,), [lambda g, y: g * sigmoid(x)], (x,), X)


@lifted
def erf(x: Tensor) -> Tensor:
    """The error function."""
    return record(
        "erf", host_kernels.erf(x.data), (x,), [lambda g, y: g * (2.0 / math.sqrt(math.pi) * exp(-x * x))], (x,), X
    )


@lifted
def gelu(x: Tensor) -> Tensor:
    """x times the normal distribution function of x (Hendrycks and Gimpel 2016, arXiv 1606.08415), exact."""
    return x * (0.5 + 0.5 * erf(x * math.sqrt(0.5)))


def _is_numeric(dtype: Any) -> bool:
    """Whether NumPy knows it as a dtype of numbers."""
    try:
        return np.dtype(dtype).kind in "biuf"
    except TypeError:
        return False


@lifted
def astype(x: Tensor, dtype: Any, copy: bool = True) -> Tensor:
    """In another dtype; gradients come back in the old one, and none of integers or booleans, which are constants."""
    old = x.dtype
    if dtype is None or (isinstance(dtype, (str, type, np.ndarray, list, dict)) and not _is_numeric(dtype)):
        raise TypeError(f"astype: dtype is {reprlib.repr(dtype)}; expected one of numbers, such as 'float64'")
    data = namespace(x.data).astype(x.data, dtype, copy=true_or_false("astype", "copy", copy))
    return record("astype", data, (x,) if "float" in dtype_name(data) else (), [lambda g, y: astype(g, old)])
