"""Sequence calls on the compiled kernels of the host: which ones they take, and the translation there and back."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import numpy as np

from xprnn.backend import DTYPES, Array, dtype_name
from xprnn.cells import GRU, LSTM, Cell, Elman, PeepholeLSTM, ResetBeforeGRU, State
from xprnn.precision import current_precision
from xprnn.sequence import Gradients, Result, SequenceCall


@cache
def _kernels() -> Any:
    """The kernels, imported and compiled only when a call needs them; or why there are none."""
    try:
        if importlib.import_module("numba").config.DISABLE_JIT:
            return "NUMBA_DISABLE_JIT is set"
        return importlib.import_module("xprnn.kernels.cpu")
    except Exception as error:  # a broken compiler stack raises far more than ImportError
        return f"Numba cannot be used ({type(error).__name__}: {error})"


def _kind(cell: Cell) -> str | None:
    """The kernel's name for a cell. By exact type: a subclass may compute something else."""
    if type(cell) is Elman:
        return cell.nonlinearity.upper()
    names = {LSTM: "LSTM", PeepholeLSTM: "PEEPHOLE", GRU: "GRU", ResetBeforeGRU: "RESET_BEFORE"}
    return names.get(type(cell))


def reasons_against(call: SequenceCall) -> list[str]:
    """What keeps the compiled kernels from running a call."""
    reasons = []
    arrays = {"x": call.x, **call.weights} | {f"state {k}": part for k, part in enumerate(call.state)}
    if others := [name for name, a in arrays.items() if type(a) is not np.ndarray]:
        reasons.append(f"{others[0]} is a {type(arrays[others[0]]).__name__}, not a NumPy array")
    elif dtype_name(call.x) not in DTYPES or not call.x.dtype.isnative:
        reasons.append(f"no kernels for {call.x.dtype}")
    elif mixed := [name for name, a in arrays.items() if a.dtype != call.x.dtype]:
        reasons.append(f"x has dtype {call.x.dtype}, but {mixed[0]} has {arrays[mixed[0]].dtype}")
    if 0 in call.x.shape[:2]:
        reasons.append("there is no step or no sequence to run")
    if _kind(call.cell) is None:
        reasons.append(f"no kernel for the cell {call.cell.name}")
    if not reasons and isinstance(_kernels(), str):
        reasons.append(_kernels())
    return reasons


def _arguments(call: SequenceCall) -> tuple[Any, ...]:
    kernels = _kernels()
    steps = call.steps.reversed() if call.reverse else call.steps
    flags = kernels.Flags(*(None if f is None else f[..., 0] for f in (steps.advance, steps.restart)))
    return kernels, getattr(kernels, _kind(call.cell) or ""), flags


def forward(call: SequenceCall) -> tuple[Result, Any]:
    """Run a call."""
    kernels, kind, flags = _arguments(call)
    h0, *rest = call.state
    hs, cs, saved = kernels.forward(
        kind, call.weights, call.x, h0, rest[0] if rest else None, flags, call.reverse, call.keep,
        _bf16(call.x) and not call.keep,
    )  # fmt: skip
    sequences = (hs,) if cs is None else (hs, cs)
    last = 0 if call.reverse else -1
    final = tuple(s[last].copy() for s in sequences)
    if call.steps.inside is not None:
        sequences = tuple(np.where(call.steps.inside, s, s.dtype.type(0)) for s in sequences)
    return Result(sequences, final), saved


def _bf16(x: Array) -> bool:
    """Whether weights may be rounded to be read faster."""
    return current_precision() == "bf16" and dtype_name(x) == "float32"


def backward(call: SequenceCall, saved: Any, dsequences: State, dfinal: State, need_dx: bool) -> Gradients:
    """The way back through a call."""
    kernels, kind, flags = _arguments(call)
    inside = call.steps.inside
    dhs, *dcs = (d if d is None or inside is None else np.where(inside, d, d.dtype.type(0)) for d in dsequences)
    # Copies, since the kernel goes on in place.
    dh, *dc = (
        np.zeros_like(part, order="C") if d is None else np.array(d, order="C")
        for part, d in zip(call.state, dfinal, strict=True)
    )
    dx, dh, last, weights = kernels.backward(
        kind, call.weights, call.x, saved, flags, call.reverse,
        dhs, dcs[0] if dcs else None, dh, dc[0] if dc else None, need_dx,
    )  # fmt: skip
    return Gradients(dx, (dh,) if last is None else (dh, last), weights)


def open_stack(cell: Cell, weights: list[Array], layers: int, size: int, inputs: int, batch: int) -> Any:
    """The memory of a stack of layers that step by step without allocating; None where no kernel serves."""
    dtype = dtype_name(weights[0])
    name = _kind(cell)
    if name is None or dtype not in DTYPES or any(type(w) is not np.ndarray for w in weights):
        return None
    kernels = _kernels()
    if isinstance(kernels, str):
        return None
    return kernels.Stack([getattr(kernels, name)] * layers, inputs, size, batch, dtype, _bf16(weights[0]))
