"""Sequence calls in the terms of kernels: what every set of kernels asks of a call, and the translation there and back.

Kernels are for NumPy's or CuPy's arrays. A set of them is a module with a number for each kind of cell that it runs,
such as LSTM, a tuple Flags, and

    forward(kind, weights, x, h0, c0, flags, reverse, keep) -> hs, cs, saved
    backward(kind, weights, x, saved, flags, reverse, dhs, dcs, dh, dc, need_dx) -> dx, dh0, dc0, gradients
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from xprnn.backend import DTYPES, Array, dtype_name, namespace
from xprnn.cells import GRU, LSTM, Cell, Elman, PeepholeLSTM, ResetBeforeGRU, State
from xprnn.engine.call import Gradients, Result, SequenceCall

NAMES = {LSTM: "LSTM", PeepholeLSTM: "PEEPHOLE", GRU: "GRU", ResetBeforeGRU: "RESET_BEFORE"}


def kind(cell: Cell) -> str | None:
    """The kernels' name for a cell. By exact type: a subclass may compute something else."""
    return cell.nonlinearity.upper() if type(cell) is Elman else NAMES.get(type(cell))


def arrays(call: SequenceCall) -> dict[str, Array]:
    """Every array of a call by name."""
    return {"x": call.x, **call.weights} | {f"state {k}": part for k, part in enumerate(call.state)}


def reasons_against(call: SequenceCall, fits: Callable[[Array], bool], what: str, kinds: Collection[str]) -> list[str]:
    """What in a call itself is against kernels for some type of array, called ``what``, and some kinds of cells."""
    reasons, given, dtype = [], arrays(call), call.x.dtype
    if others := [name for name, array in given.items() if not fits(array)]:
        kind_of = type(given[others[0]])
        reasons.append(f"{others[0]} is a {kind_of.__module__.split('.')[0]}.{kind_of.__name__}, not {what}")
    elif dtype_name(call.x) not in DTYPES or not dtype.isnative:
        reasons.append(f"no kernels for {dtype}")
    elif mixed := [name for name, array in given.items() if array.dtype is not dtype and array.dtype != dtype]:
        reasons.append(f"x has dtype {dtype}, but {mixed[0]} has {given[mixed[0]].dtype}")
    if 0 in call.x.shape[:2]:
        reasons.append("there is no step or no sequence to run")
    if kind(call.cell) not in kinds:
        reasons.append(f"no kernel for the cell {call.cell.name}")
    return reasons


def forward(kernels: Any, call: SequenceCall, **options: Any) -> tuple[Result, Any]:
    """Run a call; ``options`` go to the kernels."""
    h0, *rest = call.state
    hs, cs, saved = kernels.forward(
        *_what(kernels, call), call.x, h0, rest[0] if rest else None, _flags(kernels, call), call.reverse, call.keep,
        **options,
    )  # fmt: skip
    sequences = (hs,) if cs is None else (hs, cs)
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
    dhs, *dcs = (d if d is None or inside is None else xp.where(inside, d, xp.zeros_like(d)) for d in dsequences)
    # Copies, since the kernels go on in place.
    dh, *dc = (
        xp.zeros(part.shape, dtype=part.dtype) if d is None else d.copy(order="C")
        for part, d in zip(call.state, dfinal, strict=True)
    )
    dx, dh, last, weights = kernels.backward(
        *_what(kernels, call), call.x, saved, _flags(kernels, call), call.reverse, dhs, dcs[0] if dcs else None,
        dh, dc[0] if dc else None, need_dx, **options,
    )  # fmt: skip
    return Gradients(dx, (dh,) if last is None else (dh, last), weights)


def _what(kernels: Any, call: SequenceCall) -> tuple[int, dict[str, Array]]:
    return getattr(kernels, kind(call.cell) or ""), call.weights


def _flags(kernels: Any, call: SequenceCall) -> Any:
    if call.control.advance is None and call.control.restart is None:
        return kernels.Flags(None, None)
    control = call.control.reversed() if call.reverse else call.control
    return kernels.Flags(*(None if f is None else f[..., 0] for f in (control.advance, control.restart)))
