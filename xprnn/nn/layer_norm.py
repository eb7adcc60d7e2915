"""LayerNorm (Ba, Kiros, Hinton 2016, arXiv 1607.06450)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xprnn import ops
from xprnn.arguments import affordable, float_dtype, input_tensor, real_number, size, true_or_false
from xprnn.nn import init
from xprnn.nn.module import Module
from xprnn.nn.weights import weight_of
from xprnn.tensor import Parameter, Tensor


class LayerNorm(Module):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, with mean and variance over the last axes.

    x and y (..., *normalized_shape); weight and bias of normalized_shape, ones and zeros at first.
    """

    _fixed = frozenset({"normalized_shape"})

    def __init__(
        self, normalized_shape: int | tuple[int, ...], eps: float = 1e-5, *, bias: bool = True, dtype: str = "float32"
    ) -> None:
        lengths = normalized_shape if isinstance(normalized_shape, Iterable) else (normalized_shape,)
        shape = tuple(size("LayerNorm", "normalized_shape", length) for length in lengths)
        affordable("LayerNorm", {"weight": shape}, normalized_shape=shape)
        self.normalized_shape, self.dtype = shape, float_dtype("LayerNorm", dtype)
        self.eps = real_number("LayerNorm", "eps", eps, "a number of at least 0")
        self.weight = Parameter(init.constant(shape, 1.0, dtype=dtype))
        biased = true_or_false("LayerNorm", "bias", bias)
        self.bias = Parameter(init.constant(shape, 0.0, dtype=dtype)) if biased else None

    def forward(self, x: Any) -> Tensor:
        x = input_tensor("LayerNorm", "x", x, self.dtype)
        axes = tuple(range(-len(self.normalized_shape), 0))
        if x.shape[x.ndim + axes[0] :] != self.normalized_shape or x.ndim < len(axes):
            raise ValueError(f"LayerNorm: x has shape {x.shape}; expected (..., {str(self.normalized_shape)[1:-1]})")
        centred = x - ops.mean(x, axes, keepdims=True)
        y = centred / ops.sqrt(ops.mean(ops.square(centred), axes, keepdims=True) + self.eps)
        y = y * weight_of(self, "weight", self.normalized_shape, self.dtype)
        return y if self.bias is None else y + weight_of(self, "bias", self.normalized_shape, self.dtype)

    def describe(self) -> str:
        return f"{self.normalized_shape}"
