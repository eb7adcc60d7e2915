"""Arithmetic of two operands, with broadcasting."""

from __future__ import annotations

import numbers
import operator
import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xprnn.backend import Array, namespace
from xprnn.ops.elementwise import exp, softplus
from xprnn.ops.operands import CROSSWISE, Operand, X, lifted, values
from xprnn.ops.shapes import unbroadcast
from xprnn.tape import is_recorded, record
from xprnn.tensor import Tensor


def binary(
    name: str,
    a: Operand,
    b: Operand,
    compute: Callable[[Any, Any], Array],
    left_rule: Callable[[Tensor, Tensor], Tensor],
    right_rule: Callable[[Tensor, Tensor], Tensor],
    reads: tuple[Operand, ...] = (),
    labels: tuple[str, ...] = CROSSWISE,
) -> Tensor:
    """Record an operation of two operands, which are broadcast."""
    left, right = a._read() if isinstance(a, Tensor) else a, b._read() if isinstance(b, Tensor) else b
    if type(left) is not np.ndarray or type(right) not in (np.ndarray, float):  # the most common, and nothing to check
        left, right = values(a, b)
        namespace(**{f"{name}'s left operand": left, f"{name}'s right operand": right})
    rules = (lambda g, y: unbroadcast(left_rule(g, y), a), lambda g, y: unbroadcast(right_rule(g, y), b))
    try:
        data = compute(left, right)
    except (TypeError, ValueError) as error:
        raise _unfit(name, left, right, error) from error
    return record(name, data, (a, b), rules, reads, labels)


def _unfit(name: str, left: Any, right: Any, error: Exception) -> Exception:
    """An array library's error about two operands, with their shapes and dtypes."""
    shown = [
        f"an array of shape {tuple(x.shape)} and dtype {x.dtype}" if hasattr(x, "shape") else reprlib.repr(x)
        for x in (left, right)
    ]
    kind = TypeError if isinstance(error, TypeError) else ValueError  # NumPy's kinds take no text
    return kind(f"{name}: the left operand is {shown[0]}, the right one {shown[1]}: {error}")


def add(a: Operand, b: Operand) -> Tensor:
    """a + b."""
    return binary("add", a, b, operator.add, lambda g, y: g, lambda g, y: g)


def subtract(a: Operand, b: Operand) -> Tensor:
    """a - b."""
    return binary("subtract", a, b, operator.sub, lambda g, y: g, lambda g, y: -g)


def squared_error(a: Operand, b: Operand) -> Tensor:
    """(a - b)^2, as one operation."""
    left, right = values(a, b)
    namespace(**{"squared_error's left operand": left, "squared_error's right operand": right})
    try:
        difference = left - right
    except (TypeError, ValueError) as error:
        raise _unfit("squared_error", left, right, error) from error

    def slope() -> Tensor:
        return 2.0 * _difference(a, b, difference)

    rules = (lambda g, y: unbroadcast(g * slope(), a), lambda g, y: unbroadcast(-g * slope(), b))
    return record("squared_error", difference * difference, (a, b), rules)


def _difference(a: Operand, b: Operand, data: Array) -> Tensor:
    """a - b, whose value is known already."""
    return record("subtract", data, (a, b), (lambda g, y: unbroadcast(g, a), lambda g, y: unbroadcast(-g, b)))


def multiply(a: Operand, b: Operand) -> Tensor:
    """a * b."""
    return binary("multiply", a, b, operator.mul, lambda g, y: g * b, lambda g, y: g * a, reads=(b, a))


def divide(a: Operand, b: Operand) -> Tensor:
    """a / b."""
    return binary(
        *("divide", a, b, operator.truediv, lambda g, y: g / b, lambda g, y: -g * y / b),
        reads=(b, b),
        labels=("the right operand",) * 2,
    )


def logaddexp(a: Operand, b: Operand) -> Tensor:
    """log(e ** a + e ** b), without overflow."""
    left, right = values(a, b)
    xp = namespace(**{"logaddexp's left operand": left, "logaddexp's right operand": right})
    try:
        data = xp.logaddexp(left, right)
    except (TypeError, ValueError) as error:
        raise _unfit("logaddexp", left, right, error) from error
    rules: Sequence[Callable[[Tensor, Tensor], Tensor]] = ()
    if is_recorded(x for x in (a, b) if isinstance(x, Tensor)):
        # sigmoid(a - b), small ones too; not by the result, which has lost digits where both are far from 0.
        difference = left - right
        rules = (
            lambda g, y: unbroadcast(g * exp(-softplus(-_difference(a, b, difference))), a),
            lambda g, y: unbroadcast(g * exp(-softplus(_difference(a, b, difference))), b),
        )
    return record("logaddexp", data, (a, b), rules)


@lifted
def pow(x: Tensor, exponent: Any) -> Tensor:
    """x ** exponent, for a number as exponent."""
    if not isinstance(exponent, numbers.Real):
        raise TypeError(
            f"pow: the exponent is a {type(exponent).__name__}; expected a number (write exp(b * log(a)) otherwise)"
        )
    # NumPy's numbers have a dtype, which would widen a float32 base; Python's do not.
    exponent = int(exponent) if isinstance(exponent, numbers.Integral) else float(exponent)
    power = 1.0 if exponent == 0 else exponent
    return record("pow", x.data**exponent, (x,), [lambda g, y: g * (exponent * x ** (power - 1))], (x,), X)


@lifted
def negative(x: Tensor) -> Tensor:
    """-x."""
    return record("negative", -x.data, (x,), [lambda g, y: -g])
