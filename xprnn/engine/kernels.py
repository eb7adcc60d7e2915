"""Sequence calls in the terms of kernels: what every set of kernels asks of a call, and the translation there and back.

Kernels are for NumPy's or CuPy's arrays, and have cells by the numbers of their table of kinds. A set of them is a
module with

    forward(kind, weights, x, state, flags, reverse, keep) -> sequences, saved
    backward(kind, weights, x, saved, flags, reverse, dsequences, dstate, need_dx) -> dx, dstate, gradients

where states are tuples of one array for each part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xprnn.backend import DTYPES, Array, dtype_name, namespace
from xprnn.cells import GRU, LSTM, Cell, Elman, PeepholeLSTM, ResetBeforeGRU, State
from xprnn.engine.call import Gradients, Result, SequenceCall
from xprnn.kernels import kinds

NUMBERS = {LSTM: kinds.LSTM, PeepholeLSTM: kinds.PEEPHOLE, GRU: kinds.GRU, ResetBeforeGRU: kinds.RESET_BEFORE}
Kind = kinds.Kind
ELMAN = {"tanh": kinds.TANH, "relu": kinds.RELU}


def kind_of(cell: Cell) -> kinds.Kind | None:
    """The kernels' kind of a cell. By exact type: a subclass may compute something else."""
    number = ELMAN[cell.nonlinearity] if type(cell) is Elman else NUMBERS.get(type(cell))
    return None if number is None else kinds.KINDS[number]


def number_of(cell: Cell) -> int:
    """Its number, of a cell that has one."""
    kind = kind_of(cell)
    assert kind is not None
    return kind.number


def arrays(call: SequenceCall) -> dict[str, Array]:
    """Every array of a call by name."""
    return {"x": call.x, **call.weights} | {f"state {k}": part for k, part in enumerate(call.state)}


def reasons_against(
    call: SequenceCall, fits: Callable[[Array], bool], what: str, runs: Callable[[kinds.Kind], bool]
) -> list[str]:
    """What in a call itself is against kernels for some type of array, called ``what``, and some kinds of cells."""
    reasons, given, dtype = [], arrays(call), call.x.dtype
    if others := [name for name, array in given.items() if not fits(array)]:
        came = type(given[others[0]])
        reasons.append(f"{others[0]} is a {came.__module__.split('.')[0]}.{came.__name__}, not {what}")
    elif dtype_name(call.x) not in DTYPES or not dtype.isnative:
        reasons.append(f"no kernels for {dtype}")
    elif mixed := [name for name, array in given.items() if array.dtype is not dtype and array.dtype != dtype]:
        reasons.append(f"x has dtype {dtype}, but {mixed[0]} has {given[mixed[0]].dtype}")
    if 0 in call.x.shape[:2]:
        reasons.append("there is no step or no sequence to run")
    kind = kind_of(call.cell)
    if kind is None or not runs(kind):
        reasons.append(f"no kernel for the cell {call.cell.name}")
    return reasons


def forward(kernels: Any, call: SequenceCall, **options: Any) -> tuple[Result, Any]:
    """Run a call; ``options`` go to the kernels."""
    sequences, saved = kernels.forward(
        number_of(call.cell), call.weights, call.x, call.state, _flags(call), call.reverse, call.keep, **options
    )
    last, inside = 0 if call.reverse else -1, call.control.inside
    final = tuple(s[last].copy() for s in sequences)
    if inside is not None:
        xp = namespace(call.x)
        sequences = tuple(xp.where(inside, s, xp.zeros_like(s)) for s in sequences)
    return Result(sequences, final), saved


def backward(
    kernels: Any, call: SequenceCall, saved: Any, dsequences: State, dfinal: State, need_dx: bool, **options: Any
) -> Gradients:
    """The way back through a call."""
    xp, inside = namespace(call.x), call.control.inside
    if inside is not None:
        dsequences = tuple(None if d is None else xp.where(inside, d, xp.zeros_like(d)) for d in dsequences)
    # Copies, since the kernels go on in place.
    dstate = tuple(
        xp.zeros(part.shape, dtype=part.dtype) if d is None else d.copy(order="C")
        for part, d in zip(call.state, dfinal, strict=True)
    )
    found = kernels.backward(
        number_of(call.cell), call.weights, call.x, saved, _flags(call), call.reverse, dsequences, dstate,
        need_dx, **options,
    )  # fmt: skip
    return Gradients(*found)


def _flags(call: SequenceCall) -> kinds.Flags:
    if call.control.advance is None and call.control.restart is None:
        return kinds.Flags(None, None)
    control = call.control.reversed() if call.reverse else call.control
    return kinds.Flags(*(None if f is None else f[..., 0] for f in (control.advance, control.restart)))
