"""Linear with a weight of 8 bits."""

from __future__ import annotations

import math
from typing import Any

from xprnn.arguments import input_tensor
from xprnn.backend import shared_namespace
from xprnn.engine import dispatch, int8
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.nn.quantized.rows import Twins, refuse_gradients
from xprnn.nn.weights import Declared
from xprnn.tensor import Tensor


class QuantizedLinear(Module):
    """y = x W^T + b with W as numbers of 8 bits, which :func:`xprnn.nn.quantize` makes of a Linear. For inference.

    y_n = b_n + s s_n sum_k q_k W_nk, with codes q = round(127 x / max|x|) and s = max|x| / 127 of each row of x.

    x (..., I), y (..., O) float32; weight (O, I) int8, scale (O,) and bias (O,) float32. A row that is not finite gives
    NaN. Raises ValueError for an x whose last axis is not I, TypeError for another dtype, RuntimeError where a gradient
    is asked for.
    """

    _fixed = frozenset({"in_features", "out_features", "declared"})
    dtype = "float32"

    def __init__(self, linear: Linear, name: str = "Linear", twins: Twins | None = None) -> None:
        twins = Twins() if twins is None else twins
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight, scale = twins.coded(name, "weight", linear.weight)
        weights = {"weight": weight, "scale": scale}
        if linear.bias is not None:
            weights["bias"] = twins.kept(linear.bias)
        else:
            self.bias = None
        self.declared = Declared.of(self, weights)
        self._codes = int8.Codes()

    def forward(self, x: Any) -> Tensor:
        x, w = input_tensor("QuantizedLinear", "x", x, self.dtype), self.declared.present(self)
        refuse_gradients("QuantizedLinear", (x, *w.values()))
        if x.ndim < 1 or x.shape[-1] != self.in_features:
            raise ValueError(f"QuantizedLinear: x has shape {x.shape}; expected (..., {self.in_features})")
        weight, scale, bias = (w[name].data if name in w else None for name in ("weight", "scale", "bias"))
        xp = shared_namespace("QuantizedLinear", ("x", "its weight"), x.data, weight)
        rows = xp.reshape(x.data, (math.prod(x.shape[:-1]), self.in_features))
        dispatch.note(lambda: int8.verdict(f"Linear in int8, {rows.shape[0]} rows", rows, weight))
        y = int8.linear(self._codes, weight, scale, bias, rows)
        return Tensor(xp.reshape(y, (*x.shape[:-1], self.out_features)))

    def describe(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
