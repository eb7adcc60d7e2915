"""Positions: what tells attention, which knows no order, which step is which."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import input_tensor, weight_of, whole_number
from xprnn.backend import DTYPES, Array, Rng, backend_of, check_dtype, dtype_name, namespace
from xprnn.nn import init
from xprnn.nn.module import Module
from xprnn.tensor import Parameter, Tensor


class SinusoidalPositions(Module):
    """y[t] = x[t] + P[t],  P[t, 2i] = sin(t / 10000^(2i/E)),  P[t, 2i+1] = cos(t / 10000^(2i/E)).

    x and y (T, B, E), or (B, T, E) with ``batch_first``, or (T, E) without a batch; float32 or float64, of any length.
    No parameters: Vaswani et al. 2017 (arXiv 1706.03762). Raises TypeError and ValueError for other types and shapes.
    """

    def __init__(self, d_model: int, batch_first: bool = False) -> None:
        self.d_model, self.batch_first = whole_number("SinusoidalPositions", "d_model", d_model), batch_first
        self._table: Array = None  # what the last call needed; on its device, in its dtype

    def forward(self, x: Any) -> Tensor:
        x = _checked("SinusoidalPositions", x, self.d_model, self.batch_first, None)
        steps, home = _steps(x, self.batch_first), backend_of(x.data)
        table = self._table
        if (
            table is None
            or table.shape[0] < steps
            or (type(table), table.device, table.dtype) != (type(x.data), x.device, x.dtype)
        ):
            table = self._table = home.asarray(sinusoids(steps, self.d_model), dtype_name(x.data))
        return x + _beside(table[:steps, ...], x, self.batch_first)

    def describe(self) -> str:
        return f"{self.d_model}"


class LearnedPositions(Module):
    """y[t] = x[t] + weight[t], with a learned vector for each of the first ``max_length`` steps.

    x and y as in :class:`SinusoidalPositions`; weight (max_length, E) from N(0, 0.02^2) (Radford et al. 2019). Raises
    ValueError for a longer x, besides.
    """

    def __init__(
        self, max_length: int, d_model: int, batch_first: bool = False, *, dtype: str = "float32", rng: Rng = None
    ) -> None:
        self.max_length = whole_number("LearnedPositions", "max_length", max_length)
        self.d_model = whole_number("LearnedPositions", "d_model", d_model)
        self.batch_first, self.dtype = batch_first, check_dtype(dtype)
        self.weight = Parameter(init.normal((self.max_length, self.d_model), 0.02, rng=rng, dtype=dtype))

    def forward(self, x: Any) -> Tensor:
        x = _checked("LearnedPositions", x, self.d_model, self.batch_first, self.dtype)
        steps = _steps(x, self.batch_first)
        if steps > self.max_length:
            raise ValueError(
                f"LearnedPositions: x has {steps} steps; expected at most max_length = {self.max_length}: "
                "no vector was learned for the others"
            )
        weight = weight_of(self, "weight")
        namespace(**{"LearnedPositions: x": x.data, "LearnedPositions: its parameters": weight.data})
        return x + _beside(weight[:steps], x, self.batch_first)

    def describe(self) -> str:
        return f"{self.max_length}, {self.d_model}"


def sinusoids(steps: int, size: int) -> np.ndarray:
    """The table P (steps, size) of :class:`SinusoidalPositions`, float64 on the host."""
    angles = np.arange(steps)[:, None] / 10000.0 ** (np.arange(0, size, 2) / size)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(steps, size + size % 2)[:, :size]


def _checked(owner: str, x: Any, size: int, batch_first: bool, dtype: str | None) -> Tensor:
    x = input_tensor(owner, "x", x, dtype)
    if dtype_name(x.data) not in DTYPES:
        raise TypeError(f"{owner}: x has dtype {dtype_name(x.data)}; expected float32 or float64")
    if x.ndim not in (2, 3) or x.shape[-1] != size:
        axes = "B, T" if batch_first else "T, B"
        raise ValueError(f"{owner}: x has shape {x.shape}; expected ({axes}, {size}), or (T, {size}) without a batch")
    return x


def _steps(x: Tensor, batch_first: bool) -> int:
    return x.shape[1 if batch_first and x.ndim == 3 else 0]


def _beside(rows: Any, x: Tensor, batch_first: bool) -> Any:
    """Rows (T, E), so that they broadcast to x."""
    return ops.expand_dims(rows, 1) if x.ndim == 3 and not batch_first else rows
