"""Linear: an affine map of the last axis."""

from __future__ import annotations

import math
from typing import Any

from xprnn.arguments import float_dtype, input_tensor, sizes, true_or_false
from xprnn.backend import shared_namespace
from xprnn.nn import init
from xprnn.nn.module import Module
from xprnn.nn.weights import weight_of
from xprnn.ops.products import affine
from xprnn.randomness import Rng, generator
from xprnn.tensor import Parameter, Tensor


class Linear(Module):
    """y = x W^T + b.

    x (..., I), y (..., O); weight (O, I), bias (O,), both from U(+-1/sqrt(I)).

    Raises ValueError for an x whose last axis is not I and for weights of other shapes, TypeError for another dtype.
    """

    _fixed = frozenset({"in_features", "out_features"})

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, dtype: str = "float32", rng: Rng = None
    ) -> None:
        self.in_features, self.out_features = sizes("Linear", in_features=in_features, out_features=out_features)
        self.dtype = float_dtype("Linear", dtype)
        biased = true_or_false("Linear", "bias", bias)
        draws, bound = generator(rng), 1.0 / math.sqrt(in_features)
        self.weight = Parameter(init.uniform((out_features, in_features), bound, rng=draws, dtype=dtype))
        self.bias = Parameter(init.uniform((out_features,), bound, rng=draws, dtype=dtype)) if biased else None

    def forward(self, x: Any) -> Tensor:
        x, inputs, outputs = input_tensor("Linear", "x", x, self.dtype), self.in_features, self.out_features
        if x.shape[-1:] != (inputs,):
            raise ValueError(f"Linear: x has shape {x.shape}; expected (..., {inputs})")
        weight = weight_of(self, "weight", (outputs, inputs), self.dtype)
        bias = None if self.bias is None else weight_of(self, "bias", (outputs,), self.dtype)
        given = (x, weight) if bias is None else (x, weight, bias)
        shared_namespace("Linear", ("x", "weight", "bias")[: len(given)], *[part.data for part in given])
        return affine(*given)

    def describe(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
