"""Positions: what tells attention, which knows no order, which step is which."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import float_dtype, floating_input, size, sizes, true_or_false
from xprnn.backend import Array, backend_of, dtype_name, namespace
from xprnn.nn import init
from xprnn.nn.form import Form
from xprnn.nn.module import Module
from xprnn.nn.weights import weight_of
from xprnn.randomness import Rng
from xprnn.tensor import Parameter, Tensor


class SinusoidalPositions(Module):
    """y[t] = x[t] + P[t],  P[t, 2i] = sin(t / 10000^(2i/E)),  P[t, 2i+1] = cos(t / 10000^(2i/E)).

    x and y (T, B, E), or (B, T, E) with ``batch_first``, or (T, E) without a batch; float32 or float64, of any length.
    No parameters: Vaswani et al. 2017 (arXiv 1706.03762). Raises TypeError and ValueError for other types and shapes.
    """

    _fixed = frozenset({"d_model"})

    def __init__(self, d_model: int, batch_first: bool = False) -> None:
        self.d_model = size("SinusoidalPositions", "d_model", d_model)
        self.batch_first = true_or_false("SinusoidalPositions", "batch_first", batch_first)
        self._table: Array = None  # what the last call needed; on its device, in its dtype

    def forward(self, x: Any) -> Tensor:
        x = floating_input("SinusoidalPositions", "x", x)
        form, home = Form.of("SinusoidalPositions", "x", x, self.d_model, self.batch_first), backend_of(x.data)
        steps = x.shape[form.time_axis]
        table = self._table
        if (
            table is None
            or table.shape[0] < steps
            or (type(table), table.device, table.dtype) != (type(x.data), x.device, x.dtype)
        ):
            table = self._table = home.asarray(sinusoids(steps, self.d_model), dtype_name(x.data))
        return x + _beside(table[:steps, ...], form)

    def describe(self) -> str:
        return f"{self.d_model}"


class LearnedPositions(Module):
    """y[t] = x[t] + weight[t], with a learned vector for each of the first ``max_length`` steps.

    x and y as in :class:`SinusoidalPositions`; weight (max_length, E) from N(0, 0.02^2) (Radford et al. 2019). Raises
    ValueError for a longer x, besides.
    """

    _fixed = frozenset({"max_length", "d_model"})

    def __init__(
        self, max_length: int, d_model: int, batch_first: bool = False, *, dtype: str = "float32", rng: Rng = None
    ) -> None:
        self.max_length, self.d_model = sizes("LearnedPositions", max_length=max_length, d_model=d_model)
        self.batch_first = true_or_false("LearnedPositions", "batch_first", batch_first)
        self.dtype = float_dtype("LearnedPositions", dtype)
        self.weight = Parameter(init.normal((self.max_length, self.d_model), 0.02, rng=rng, dtype=dtype))

    def forward(self, x: Any) -> Tensor:
        x = floating_input("LearnedPositions", "x", x, self.dtype)
        form = Form.of("LearnedPositions", "x", x, self.d_model, self.batch_first)
        steps = x.shape[form.time_axis]
        if steps > self.max_length:
            raise ValueError(
                f"LearnedPositions: x has {steps} steps; expected at most max_length = {self.max_length}: "
                "no vector was learned for the others"
            )
        weight = weight_of(self, "weight", (self.max_length, self.d_model), self.dtype)
        namespace(**{"LearnedPositions: x": x.data, "LearnedPositions: its parameters": weight.data})
        return x + _beside(weight[:steps], form)

    def describe(self) -> str:
        return f"{self.max_length}, {self.d_model}"


def sinusoids(steps: int, size: int) -> np.ndarray:
    """The table P (steps, size) of :class:`SinusoidalPositions`, float64 on the host."""
    angles = np.arange(steps)[:, None] / 10000.0 ** (np.arange(0, size, 2) / size)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(steps, size + size % 2)[:, :size]


def _beside(rows: Any, form: Form) -> Any:
    """Rows (T, E), so that they broadcast to x."""
    return ops.expand_dims(rows, 1) if form is Form.TIME_MAJOR else rows
