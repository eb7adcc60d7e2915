"""What a primitive may be given: Tensors, arrays of the same library, or numbers; and constants like them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from xprnn import backend
from xprnn.backend import namespace
from xprnn.tensor import Parameter, Tensor

Operand = Any  # Tensor, array or number
P = ParamSpec("P")
R = TypeVar("R")
X = ("x",)
ORDINARY = frozenset((Tensor, Parameter))
"""Types of Tensors that are always operands; other subclasses may refuse to be one."""
CROSSWISE = ("the right operand", "the left operand")
"""What errors call the array that each operand's rule reads: the other operand."""


def value(x: Operand) -> Any:
    """The array, or number, behind an operand."""
    return x._read() if isinstance(x, Tensor) else x


def values(a: Operand, b: Operand) -> tuple[Any, Any]:
    """The arrays, or numbers, behind two operands.

    A number of NumPy beside an array is taken as Python's: its dtype would widen float32, and other libraries refuse
    it.
    """
    left, right = value(a), value(b)
    if isinstance(left, np.generic) != isinstance(right, np.generic):
        if isinstance(right, np.generic) and hasattr(left, "shape"):
            right = _plain(right)
        elif hasattr(right, "shape"):
            left = _plain(left)
    return left, right


def _plain(number: np.generic) -> Any:
    """A number of NumPy as one of Python's."""
    item = number.item()
    return float(item) if isinstance(item, np.floating) else item  # long doubles stay NumPy's


def as_tensor(x: Any) -> Tensor:
    """The operand itself where it is a Tensor, else a constant around it."""
    if not isinstance(x, Tensor):
        return Tensor(x)
    value(x)  # which may refuse
    return x


def factor(name: str, x: Any) -> Tensor:
    """As :func:`as_tensor`, but for lists, which have no dtype. Raises TypeError for these."""
    if isinstance(x, (list, tuple)):
        namespace(**{name: x})  # which refuses them as those of all operators
    return as_tensor(x)


def lifted(primitive: Callable[Concatenate[Tensor, P], R]) -> Callable[Concatenate[Operand, P], R]:
    """Let a primitive that is written for a Tensor take an array or a number too."""

    @functools.wraps(primitive)
    def on_operand(x: Operand, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return primitive(x if type(x) in ORDINARY else _operand(primitive.__name__, x), *args, **kwargs)
        except TypeError:
            if "out" not in kwargs:
                raise
            name = primitive.__name__
            raise TypeError(
                f"{name}: out is an argument of numpy.{name}, which knows no gradients: use x.{name}(axis, keepdims)"
            ) from None

    return on_operand


def _operand(name: str, x: Any) -> Tensor:
    """The operand as a Tensor. Raises TypeError for arrays of anything but numbers."""
    tensor = as_tensor(x)
    if type(tensor.data) is np.ndarray and tensor.data.dtype.kind in "OSUMmV":
        raise TypeError(f"{name}: x is an array of dtype {tensor.data.dtype}; expected numbers")
    return tensor


def zeros_like(x: Operand) -> Tensor:
    """Zeros of the same shape, dtype and device; a constant."""
    return Tensor(namespace(value(x)).zeros_like(value(x)))


def ones_like(x: Operand) -> Tensor:
    """Ones of the same shape, dtype and device; a constant."""
    return Tensor(backend.ones_like(value(x)))
