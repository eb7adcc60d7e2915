"""Sequence calls in the terms of kernels: what every set of kernels asks of a call, and the translation there and back.

Kernels are for NumPy's or CuPy's arrays. A set of them is a module with a number for each kind of cell that it runs,
such as LSTM, a tuple Flags, and

    forward(kind, weights, x, h0, c0, flags, reverse, keep) -> hs, cs, saved
    backward(kind, weights, x, saved, flags, reverse, dhs, dcs, dh, dc, need_dx) -> dx, dh0, dc0, gradients
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any, NamedTuple

from xprnn.backend import DTYPES, Array, dtype_name, namespace
from xprnn.cells import GRU, LSTM, Cell, Elman, PeepholeLSTM, ResetBeforeGRU, State, Weights
from xprnn.engine.call import Gradients, Result, SequenceCall

NAMES = {LSTM: "LSTM", PeepholeLSTM: "PEEPHOLE", GRU: "GRU", ResetBeforeGRU: "RESET_BEFORE"}


ELMAN = {"tanh": "TANH", "relu": "RELU"}


class Kept(NamedTuple):
    """What a way back needs: the kernels' own cache, and for what sort of call it was made."""

    saved: Any
    sort: tuple[Any, ...]


def kind(cell: Cell) -> str | None:
    """The kernels' name for a cell. By exact type: a subclass may compute something else, as may a changed object."""
    if type(cell) is Elman:
        return ELMAN.get(cell.nonlinearity)
    return None if vars(cell) else NAMES.get(type(cell))


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


def check(call: SequenceCall) -> None:
    """Raise ValueError, or TypeError, where the arrays of a call do not fit each other.

    Kernels read lengths off x and the state, and go on past the end of whatever is smaller than these say.
    """
    cell, steps = call.cell, call.steps
    names = cell.state_names
    if len(call.state) != len(names):
        raise ValueError(f"{cell.name}: the state has {len(call.state)} parts; expected {len(names)}")
    if call.x.ndim != 3 or call.state[0].ndim != 2:
        came = tuple(call.x.shape), tuple(call.state[0].shape)
        raise ValueError(
            f"{cell.name}: x has shape {came[0]} and state h has shape {came[1]}; expected (T, B, I), (B, H)"
        )
    length, batch, inputs = call.x.shape
    size = call.state[0].shape[1]
    for name, part in zip(names, call.state, strict=True):
        if part.shape != (batch, size):
            raise ValueError(f"{cell.name}: state {name} has shape {tuple(part.shape)}; expected {(batch, size)}")
    check_weights(cell, call.weights, inputs, size)
    if steps.advance is None and steps.inside is None and steps.restart is None:  # the most common
        return
    for name, flags in vars(steps).items():
        if flags is not None:
            _require(call, name, flags, (length, batch, 1), "bool")


def check_weights(cell: Cell, weights: Weights, inputs: int, size: int) -> None:
    """Raise ValueError where a cell's weights are not those that it declares for so many inputs and units."""
    for name, shape in _weight_shapes(cell, inputs, size):
        weight = weights.get(name)
        if weight is None:
            if name.startswith("bias") and not any(other.startswith("bias") for other in weights):
                continue
            raise ValueError(f"{cell.name}: there is no {name}; expected one of shape {shape}")
        if weight.shape != shape:
            raise ValueError(f"{cell.name}: {name} has shape {tuple(weight.shape)}; expected {shape}")


@lru_cache
def _weight_shapes(cell: Cell, inputs: int, size: int) -> list[tuple[str, tuple[int, ...]]]:
    """Kept, since every call asks. A cell that kernels run has nothing that could change."""
    return list(cell.weight_shapes(inputs, size).items())


def _require(call: SequenceCall, name: str, array: Array, shape: tuple[int, ...], dtype: str) -> None:
    if tuple(array.shape) != shape:
        raise ValueError(f"{call.cell.name}: {name} has shape {tuple(array.shape)}; expected {shape}")
    if dtype_name(array) != dtype:
        raise TypeError(f"{call.cell.name}: {name} has dtype {dtype_name(array)}; expected {dtype}")


def forward(kernels: Any, call: SequenceCall, **options: Any) -> tuple[Result, Kept]:
    """Run a call; ``options`` go to the kernels. Raises ValueError for arrays that do not fit each other."""
    check(call)
    h0, *rest = call.state
    hs, cs, saved = kernels.forward(
        *_what(kernels, call), call.x, h0, rest[0] if rest else None, _flags(kernels, call), call.reverse, call.keep,
        **options,
    )  # fmt: skip
    sequences = (hs,) if cs is None else (hs, cs)
    last, inside = 0 if call.reverse else -1, call.steps.inside
    final = tuple(s[last].copy() for s in sequences)
    if inside is not None:
        xp = namespace(call.x)
        sequences = tuple(xp.where(inside, s, xp.zeros_like(s)) for s in sequences)
    return Result(sequences, final), Kept(saved, _sort(call))


def backward(
    kernels: Any, call: SequenceCall, kept: Kept, dsequences: State, dfinal: State, need_dx: bool, **options: Any
) -> Gradients:
    """The way back through a call. Raises as :func:`forward` does, also for cotangents and another call's cache."""
    check(call)
    if kept.saved is None or kept.sort != _sort(call):
        raise ValueError(f"{call.cell.name}: the cache is of another call, or of one that was not to keep it")
    dtype = dtype_name(call.x)
    for what, cotangents, lead in (("", dsequences, call.x.shape[:1]), ("the last ", dfinal, ())):
        for name, part, d in zip(call.cell.state_names, call.state, cotangents, strict=True):
            if d is not None:
                _require(call, f"the cotangent of {what}{name}", d, (*lead, *part.shape), dtype)
    xp, inside = namespace(call.x), call.steps.inside
    dhs, *dcs = (d if d is None or inside is None else xp.where(inside, d, xp.zeros_like(d)) for d in dsequences)
    # Copies, since the kernels go on in place.
    dh, *dc = (
        xp.zeros(part.shape, dtype=part.dtype) if d is None else d.copy(order="C")
        for part, d in zip(call.state, dfinal, strict=True)
    )
    dx, dh, last, weights = kernels.backward(
        *_what(kernels, call), call.x, kept.saved, _flags(kernels, call), call.reverse, dhs, dcs[0] if dcs else None,
        dh, dc[0] if dc else None, need_dx, **options,
    )  # fmt: skip
    return Gradients(dx, (dh,) if last is None else (dh, last), weights)


def _sort(call: SequenceCall) -> tuple[Any, ...]:
    """What calls must have in common for one to go back on the other's cache without reading past its end."""
    return kind(call.cell), call.x.shape, call.state[0].shape, call.reverse


def _what(kernels: Any, call: SequenceCall) -> tuple[int, dict[str, Array]]:
    return getattr(kernels, kind(call.cell) or ""), call.weights


def _flags(kernels: Any, call: SequenceCall) -> Any:
    if call.steps.advance is None and call.steps.restart is None:
        return kernels.Flags(None, None)
    steps = call.steps.reversed() if call.reverse else call.steps
    return kernels.Flags(*(None if f is None else f[..., 0] for f in (steps.advance, steps.restart)))
