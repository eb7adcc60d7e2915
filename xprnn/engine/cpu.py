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


def reasons_against(call: SequenceCall) -> list[str]:
    """What keeps the compiled kernels from running a call."""
    reasons = kernels.reasons_against(call, lambda array: type(array) is np.ndarray, "a NumPy array", lambda kind: True)
    if not reasons and isinstance(host_kernels.kernels(), str):
        reasons.append(host_kernels.kernels())
    return reasons


def forward(call: SequenceCall) -> tuple[Result, Any]:
    """Run a call."""
    host = host_kernels.kernels()
    return kernels.forward(host, call, storage=host.EXACT if call.keep else _storage(host, call.x))


def backward(call: SequenceCall, saved: Any, dsequences: State, dfinal: State, need_dx: bool) -> Gradients:
    """The way back through a call."""
    return kernels.backward(host_kernels.kernels(), call, saved, dsequences, dfinal, need_dx)


def _storage(host: Any, x: Array) -> Any:
    """How the kernels store weights: rounded, where that is asked for, to be read faster."""
    return host.BFLOAT16 if current_precision() == "bf16" and dtype_name(x) == "float32" else host.EXACT


def open_stack(cell: Cell, weights: list[Array], layers: int, size: int, inputs: int, batch: int) -> Any:
    """The memory of a stack of layers that step by step without allocating; None where no kernel serves."""
    dtype = dtype_name(weights[0])
    kind = kernels.kind_of(cell)
    if kind is None or dtype not in DTYPES or any(type(w) is not np.ndarray for w in weights):
        return None
    host = host_kernels.kernels()
    if isinstance(host, str):
        return None
    return host.Stack([kind.number] * layers, inputs, size, batch, dtype, _storage(host, weights[0]))
