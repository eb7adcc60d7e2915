"""What a primitive may be given: Tensors, arrays of the same library, or numbers; and constants like them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from xprnn import backend
from xprnn.backend import namespace
from xprnn.tensor import Tensor

Operand = Any  # Tensor, array or number
P = ParamSpec("P")
R = TypeVar("R")
X = ("x",)
CROSSWISE = ("the right operand", "the left operand")
"""What errors call that which the rule of each operand reads."""


def value(x: Operand) -> Any:
    """The array, or number, behind an operand."""
    return x.data if isinstance(x, Tensor) else x


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
    """A number of NumPy as Python's."""
    item = number.item()
    return float(item) if isinstance(item, np.floating) else item  # long doubles stay NumPy's


def as_tensor(x: Any) -> Tensor:
    """The operand itself where it is a Tensor, else a constant around it."""
    return x if isinstance(x, Tensor) else Tensor(x)


def lifted(primitive: Callable[Concatenate[Tensor, P], R]) -> Callable[Concatenate[Operand, P], R]:
    """Let a primitive take an array or a number where it is written for a Tensor."""

    @functools.wraps(primitive)
    def on_operand(x: Operand, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return primitive(x if isinstance(x, Tensor) else _constant(primitive.__name__, x), *args, **kwargs)

    return on_operand


def _constant(name: str, x: Any) -> Tensor:
    """A Tensor around what is none. Raises TypeError for arrays of what are no numbers."""
    tensor = Tensor(x)
    if type(tensor.data) is np.ndarray and tensor.data.dtype.kind in "OSUMmV":
        raise TypeError(f"{name}: x is an array of dtype {tensor.data.dtype}; expected numbers")
    return tensor


def zeros_like(x: Operand) -> Tensor:
    """Zeros of the same shape, dtype and device; a constant."""
    return Tensor(namespace(value(x)).zeros_like(value(x)))


def ones_like(x: Operand) -> Tensor:
    """Ones of the same shape, dtype and device; a constant."""
    return Tensor(backend.ones_like(value(x)))
