"""Operators and methods of Tensors, which are these primitives."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable
from typing import Any

from xprnn.backend import Array, namespace
from xprnn.ops.arithmetic import add, divide, multiply, negative, pow, subtract
from xprnn.ops.choices import clip
from xprnn.ops.elementwise import abs, astype, cos, exp, log, relu, sigmoid, sin, sqrt, square, tanh
from xprnn.ops.indexing import getitem
from xprnn.ops.operands import Operand, value, values
from xprnn.ops.products import matmul
from xprnn.ops.reductions import log_softmax, logsumexp, max, mean, min, softmax, sum
from xprnn.ops.shapes import Axis, all_axes, expand_dims, matrix_transpose, one_axis, permute_dims, reshape, squeeze
from xprnn.tensor import Parameter, Tensor


def _comparison(compare: Callable[[Any, Any], Any]) -> Callable[[Tensor, Any], Any]:
    """A comparison that gives a plain boolean array."""

    def compared(a: Tensor, b: Operand) -> Any:
        left, right = values(a, b)
        if type(right) is not type(left) and (hasattr(right, "shape") or isinstance(right, (list, tuple))):
            namespace(**{"the comparison's left operand": left, "the comparison's right operand": right})
        return compare(left, right)

    return compared


METHODS = (
    *(sum, mean, max, min, logsumexp, softmax, log_softmax),
    *(exp, log, sqrt, square, abs, sin, cos, tanh, sigmoid, relu, clip, pow, astype),
)
"""Functions that Tensors have as methods, with the same arguments."""


def _exchanged(x: Tensor, axis0: int, axis1: int) -> Tensor:
    """Two axes exchanged."""
    a, b = all_axes((axis0, axis1), x.ndim)
    order = list(range(x.ndim))
    order[a], order[b] = b, a
    return permute_dims(x, tuple(order))


def _flattened(x: Tensor, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """The axes from the one to the other as one."""
    first, last = all_axes((start_axis, end_axis), x.ndim) if x.ndim else (0, -1)
    if first > last >= 0:
        raise ValueError(f"flatten: start_axis is {start_axis} and end_axis {end_axis}; expected them in order")
    shape = x.shape
    return reshape(x, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def _squeezed(x: Tensor, axis: Axis = None) -> Tensor:
    """Without axes of length 1, all of them or those given; longer ones stay, as in PyTorch."""
    return squeeze(x, tuple(a for a in all_axes(axis, x.ndim) if x.shape[a] == 1))


def _place_of(name: str, x: Tensor, axis: int | None) -> Array:
    """The place of an extremum, by argmax or argmin."""
    array = value(x)
    return getattr(namespace(array), name)(array, axis=None if axis is None else one_axis(axis, x.ndim))


def _in_place(sign: str, operation: Callable[[Any, Any], Tensor]) -> Callable[[Tensor, Any], Tensor]:
    """What ``x += y`` does: the name x then stands for a new Tensor. Refused where x is one that is trained."""

    def changed(x: Tensor, y: Operand) -> Tensor:
        if x.node is None and (x.requires_grad or isinstance(x, Parameter)):
            raise TypeError(
                f"a {type(x).__name__} does not change in place, and {sign} would make another Tensor, which nothing "
                "trains: assign .data, as in p.data = p.data - lr * p.grad.data, or give the result a name of its own"
            )
        return operation(x, y)

    return changed


def _give_operators() -> None:
    """Tensor's operators are these primitives; tensor.py cannot import them, so they are set here."""
    operators: dict[str, Any] = {
        "__array_namespace__": lambda self, api_version=None: sys.modules["xprnn.ops"],
        "__add__": add,
        "__radd__": lambda a, b: add(b, a),
        "__sub__": subtract,
        "__rsub__": lambda a, b: subtract(b, a),
        "__mul__": multiply,
        "__rmul__": lambda a, b: multiply(b, a),
        "__truediv__": divide,
        "__rtruediv__": lambda a, b: divide(b, a),
        "__pow__": pow,
        "__neg__": negative,
        "__matmul__": matmul,
        "__rmatmul__": lambda a, b: matmul(b, a),
        "__getitem__": getitem,
        "__iadd__": _in_place("+=", add),
        "__isub__": _in_place("-=", subtract),
        "__imul__": _in_place("*=", multiply),
        "__itruediv__": _in_place("/=", divide),
        "__ipow__": _in_place("**=", pow),
        "__imatmul__": _in_place("@=", matmul),
        "__eq__": _comparison(operator.eq),
        "__ne__": _comparison(operator.ne),
        "__lt__": _comparison(operator.lt),
        "__le__": _comparison(operator.le),
        "__gt__": _comparison(operator.gt),
        "__ge__": _comparison(operator.ge),
        "__abs__": abs,
        "T": property(matrix_transpose),
        "reshape": lambda x, *shape: reshape(x, shape[0] if len(shape) == 1 else shape),
        "permute": lambda x, *axes: permute_dims(x, axes[0] if len(axes) == 1 else axes),
        "transpose": _exchanged,
        "flatten": _flattened,
        "unsqueeze": expand_dims,
        "squeeze": _squeezed,
        "argmax": lambda x, axis=None: _place_of("argmax", x, axis),
        "argmin": lambda x, axis=None: _place_of("argmin", x, axis),
        **{method.__name__: method for method in METHODS},
    }
    for name, primitive in operators.items():
        setattr(Tensor, name, primitive)


_give_operators()
