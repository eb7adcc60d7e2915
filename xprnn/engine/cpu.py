"""Sequence calls on the compiled kernels of the host: which ones they take, and the translation there and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn import host_kernels
from xprnn.backend import DTYPES, Array, dtype_name
from xprnn.cells import Cell, State
from xprnn.engine import kernels
from xprnn.engine.call import Gradients, Result, SequenceCall
from xprnn.settings import current_precision

KINDS = ("TANH", "RELU", "LSTM", "PEEPHOLE", "GRU", "RESET_BEFORE")


def reasons_against(call: SequenceCall) -> list[str]:
    """What keeps the compiled kernels from running a call."""
    reasons = kernels.reasons_against(call, lambda array: type(array) is np.ndarray, "a NumPy array", KINDS)
    if not reasons and isinstance(host_kernels.kernels(), str):
        reasons.append(host_kernels.kernels())
    return reasons


def forward(call: SequenceCall) -> tuple[Result, Any]:
    """Run a call."""
    return kernels.forward(host_kernels.kernels(), call, bf16=_bf16(call.x) and not call.keep)


def backward(call: SequenceCall, saved: Any, dsequences: State, dfinal: State, need_dx: bool) -> Gradients:
    """The way back through a call."""
    return kernels.backward(host_kernels.kernels(), call, saved, dsequences, dfinal, need_dx)


def _bf16(x: Array) -> bool:
    """Whether weights may be rounded to be read faster."""
    return current_precision() == "bf16" and dtype_name(x) == "float32"


def open_stack(cell: Cell, weights: list[Array], layers: int, size: int, inputs: int, batch: int) -> Any:
    """The memory of a stack of layers that step by step without allocating; None where no kernel serves."""
    dtype = dtype_name(weights[0])
    name = kernels.kind(cell)
    if name is None or dtype not in DTYPES or any(type(w) is not np.ndarray for w in weights):
        return None
    found = host_kernels.kernels()
    if isinstance(found, str):
        return None
    return found.Stack([getattr(found, name)] * layers, inputs, size, batch, dtype, _bf16(weights[0]))
