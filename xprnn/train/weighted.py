"""Means that know what they are taken over, so that a mean over batches is the mean over all that is in them."""

from __future__ import annotations

import math
import numbers
import weakref
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.backend import Array, dtype_name, namespace
from xprnn.postponed import require
from xprnn.tensor import Tensor

Weight = float | Array
"""What a mean counts for beside others: a float, or an array on a device, which nobody has waited for."""


class Mean(Tensor):
    """A scalar Tensor that is a mean, with its ``weight``: over how many elements, or over what sum of their weights.

    Its negative, its sum with numbers and Tensors, its product with them and quotient by them, and what has its value
    (detached, of another dtype or shape) keep the weight. The sum of two means has the mean of their weights, which is
    right where these are equal. Anything else is a Tensor.
    """

    __slots__ = ("weight",)

    def __init__(self, result: Tensor, weight: Weight) -> None:
        super().__init__(result.data)
        self.weight = float(weight) if isinstance(weight, (np.generic, np.ndarray)) else weight
        if result.node is not None:  # takes the place of the result, which nobody else holds, in the graph
            self.requires_grad, self.node, self.slot = True, result.node, result.slot
            self.node.outputs = (weakref.ref(self),)

    def __add__(self, other: Any) -> Tensor:
        return self._kept(ops.add(self, other), other)

    def __radd__(self, other: Any) -> Tensor:
        return self._kept(ops.add(other, self), other)

    def __sub__(self, other: Any) -> Tensor:
        return self._kept(ops.subtract(self, other), other)

    def __rsub__(self, other: Any) -> Tensor:
        return self._kept(ops.subtract(other, self), other)

    def __neg__(self) -> Tensor:
        return Mean(ops.negative(self), self.weight)

    def __mul__(self, other: Any) -> Tensor:
        return self._scaled(ops.multiply(self, other), other)

    def __rmul__(self, other: Any) -> Tensor:
        return self._scaled(ops.multiply(other, self), other)

    def __truediv__(self, other: Any) -> Tensor:
        return self._scaled(ops.divide(self, other), other)

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        return Mean(ops.sum(self, axis, keepdims), self.weight)

    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        return Mean(ops.mean(self, axis, keepdims), self.weight)

    def reshape(self, *shape: int | tuple[int, ...]) -> Tensor:
        return self._kept(super().reshape(*shape), None)

    def flatten(self, start_axis: int = 0, end_axis: int = -1) -> Tensor:
        return self._kept(super().flatten(start_axis, end_axis), None)

    def squeeze(self, axis: int | tuple[int, ...] | None = None) -> Tensor:
        return self._kept(super().squeeze(axis), None)

    def unsqueeze(self, axis: int) -> Tensor:
        return self._kept(super().unsqueeze(axis), None)

    def __getitem__(self, key: Any) -> Tensor:
        return self._kept(super().__getitem__(key), None)

    def astype(self, dtype: Any) -> Tensor:
        return self._kept(super().astype(dtype), None)

    def detach(self) -> Tensor:
        return Mean(super().detach(), self.weight)

    def _kept(self, result: Tensor, other: Any) -> Tensor:
        weight = (self.weight + other.weight) * 0.5 if isinstance(other, Mean) else self.weight
        return Mean(result, weight) if result.size == 1 else result

    def _scaled(self, result: Tensor, other: Any) -> Tensor:
        return result if isinstance(other, Mean) else self._kept(result, None)

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        return None, {**super().__getstate__()[1], "weight": self.weight}


def weighed(owner: str, result: Any, size: int) -> tuple[Tensor, Weight]:
    """What ``owner(model, batch)`` returned, a scalar Tensor, and its weight: the one given, a Mean's own, or size.

    Raises TypeError for anything but a scalar Tensor or (scalar Tensor, weight), and for a weight that is no number;
    ValueError for one that is below 0 or not finite.
    """
    value, weight = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    if not isinstance(value, Tensor) or value.size != 1:
        came = f"a Tensor of shape {value.shape}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise TypeError(
            f"{owner}(model, batch) returned {came}; expected a scalar Tensor, or one and its weight in a tuple"
        )
    if weight is None:
        return value, value.weight if isinstance(value, Mean) else float(size)
    return value, _checked(owner, ops.value(weight))


def weighed_number(owner: str, result: Any, size: int) -> tuple[Tensor, Weight]:
    """As :func:`weighed`, of what may also return a number or an array of one element in place of a Tensor."""
    value, *weight = result if isinstance(result, tuple) else (result,)
    if not isinstance(value, Tensor) and (isinstance(value, numbers.Real) or hasattr(value, "shape")):
        value = Tensor(value)
    return weighed(owner, (value, *weight) if weight else value, size)


def _checked(owner: str, weight: Any) -> Weight:
    if isinstance(weight, numbers.Real):
        weight = np.asarray(weight, dtype=np.float64)
    if not hasattr(weight, "shape") or math.prod(weight.shape) != 1:
        came = f"an array of shape {tuple(weight.shape)}" if hasattr(weight, "shape") else f"a {type(weight).__name__}"
        raise TypeError(f"{owner}(model, batch) returned {came} as the weight of its result; expected one number")
    xp = namespace(weight)
    weight = xp.reshape(weight, ())
    if not dtype_name(weight).startswith("float"):
        weight = xp.astype(weight, xp.float64)

    def wrong() -> ValueError:
        came = f"{owner}(model, batch) returned {float(weight)} as a weight"
        return ValueError(f"{came}; expected a finite number of at least 0")

    require(~((weight >= 0) & xp.isfinite(weight)), wrong)
    return float(weight) if type(weight) is np.ndarray else weight
