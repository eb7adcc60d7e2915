"""Sequence calls in the terms of kernels: what every set of kernels asks of a call, and the translation there and back.

Kernels are for NumPy's or CuPy's arrays, and have cells by the numbers of their table of kinds. A set of them is a
module with

    forward(kind, weights, x, state, flags, reverse, keep) -> sequences, saved
    backward(kind, weights, x, saved, flags, reverse, dsequences, dstate, need_dx) -> dx, dstate, gradients

where states are tuples of one array for each part.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from xprnn.backend import NATIVE, Array, dtype_name, zeros_beside
from xprnn.cells import Cell, Projected, State, Weights
from xprnn.engine.call import Gradients, Result, SequenceCall
from xprnn.engine.cell_kinds import inside, kind_of, number_of, told
from xprnn.engine.control import Control
from xprnn.kernels import kinds

NO_FLAGS = kinds.Flags(None, None)
_dtype = attrgetter("dtype")


class Kept(NamedTuple):
    """What a way back needs: the kernels' own cache, and the sort of call that it was made for."""

    saved: Any
    sort: tuple[Any, ...]


NOTHING = Kept(None, ())
"""What a call keeps that needs no way back."""


def arrays(call: SequenceCall) -> dict[str, Array]:
    """Every array of a call by name."""
    return {"x": call.x, **call.weights} | {f"state {k}": part for k, part in enumerate(call.state)}


def reasons_against(
    call: SequenceCall, fits: Callable[[Array], bool], what: str, runs: Callable[[kinds.Kind], bool]
) -> list[str]:
    """Why kernels cannot run a call: those for arrays that fit, called ``what`` in reasons, and for kinds that run."""
    reasons, kind = reasons_of_arrays(call, fits, what), kind_of(call.cell)
    if kind is None or not runs(kind):
        reasons.append(f"no kernel for the cell {call.cell.name}")
    return reasons


NOISE = "no kernel has zoneout, or dropout between steps"


def reasons_of_arrays(call: SequenceCall, fits: Callable[[Array], bool], what: str) -> list[str]:
    """Why kernels cannot run on a call's arrays, which have to fit and are called ``what`` in reasons."""
    reasons = [] if (other := _other_array(call, fits, what)) is None else [other]
    if 0 in call.x.shape[:2]:
        reasons.append("there is no step or no sequence to run")
    if call.noise is not None:
        reasons.append(NOISE)
    return reasons


def _other_array(call: SequenceCall, fits: Callable[[Array], bool], what: str) -> str | None:
    """Which array has another type than it should, or another dtype than x. Most often all are alike, and one look is
    enough.
    """
    x, alike = call.x, True
    exact, dtype, others = type(x), x.dtype, (*call.weights.values(), *call.state)
    for other in others:
        if type(other) is not exact or other.dtype is not dtype:  # NumPy has one object for each dtype
            alike = False
    if not fits(x) or (not alike and len(set(map(type, (x, *others)))) > 1):
        for name, array in arrays(call).items():
            if not fits(array):
                return f"{name} is a {type(array).__module__.split('.')[0]}.{type(array).__name__}, not {what}"
    if dtype not in NATIVE.values():
        return f"no kernels for {dtype}"
    if not alike and len(set(map(_dtype, (x, *others)))) > 1:
        name, array = next(pair for pair in arrays(call).items() if pair[1].dtype != x.dtype)
        return f"x has dtype {x.dtype}, but {name} has {array.dtype}"
    return None


def check(call: SequenceCall) -> None:
    """Raise ValueError, or TypeError, where the arrays of a call do not fit each other.

    Kernels take lengths from x and the state: of a smaller array they would read past the end.
    """
    cell, control = call.cell, call.control
    names = cell.state_names
    if len(call.state) != len(names):
        raise ValueError(f"{cell.name}: the state has {len(call.state)} parts; expected {len(names)}")
    if call.x.ndim != 3 or call.state[0].ndim != 2 or call.state[-1].ndim != 2:
        came = tuple(call.x.shape), tuple(call.state[0].shape)
        raise ValueError(
            f"{cell.name}: x has shape {came[0]} and state h has shape {came[1]}; expected (T, B, I), (B, H)"
        )
    length, batch, inputs = call.x.shape
    size = call.state[-1 if isinstance(cell, Projected) else 0].shape[1]
    for name, part, wide in zip(names, call.state, cell.state_sizes(size), strict=True):
        if part.shape != (batch, wide):
            came = tuple(part.shape)
            raise ValueError(f"{cell.name}: state {name} has shape {came}; expected {(batch, wide)}")
    check_weights(cell, call.weights, inputs, size)
    if control.advance is None and control.inside is None and control.restart is None:  # the most common
        return
    for name, flags in vars(control).items():
        if flags is not None:
            _require(call, name, flags, (length, batch, 1), "bool")


def check_weights(cell: Cell, weights: Weights, inputs: int, size: int) -> None:
    """Raise ValueError where a cell's weights are not those that it declares for so many inputs and units."""
    for name, shape in weight_shapes(cell, inputs, size).items():
        weight = weights.get(name)
        if weight is None:
            if name.startswith("bias") and not any(other.startswith("bias") for other in weights):
                continue
            raise ValueError(f"{cell.name}: there is no {name}; expected one of shape {shape}")
        if weight.shape != shape:
            raise ValueError(f"{cell.name}: {name} has shape {tuple(weight.shape)}; expected {shape}")


@lru_cache
def weight_shapes(cell: Cell, inputs: int, size: int) -> dict[str, tuple[int, ...]]:
    """The shapes that a cell declares. Cached, as every call asks; cells that kernels run cannot change."""
    return cell.weight_shapes(inputs, size)


def _require(call: SequenceCall, name: str, array: Array, shape: tuple[int, ...], dtype: str) -> None:
    if tuple(array.shape) != shape:
        raise ValueError(f"{call.cell.name}: {name} has shape {tuple(array.shape)}; expected {shape}")
    if dtype_name(array) != dtype:
        raise TypeError(f"{call.cell.name}: {name} has dtype {dtype_name(array)}; expected {dtype}")


def forward(kernels: Any, call: SequenceCall, **options: Any) -> tuple[Result, Kept]:
    """Run a call; ``options`` go to the kernels. Raises ValueError for arrays that do not fit each other."""
    check(call)
    cell = inside(call.cell)
    given = call.x, call.state, walk_flags(call), call.reverse, call.keep
    found = kernels.forward(number_of(cell), told(cell, call.weights), *given, **options)
    return finished(call, *found)


def finished(call: SequenceCall, sequences: State, saved: Any) -> tuple[Result, Kept]:
    """The result of a call from what kernels returned, and what the way back needs."""
    last = 0 if call.reverse else len(call.x) - 1
    final = tuple([s[last % len(s)].copy() for s in sequences])
    return of_kernels(call, number_of(inside(call.cell)), sequences, final, saved)


def of_kernels(
    call: SequenceCall, number: int | None, sequences: State, final: State, saved: Any
) -> tuple[Result, Kept]:
    """The same of a call whose final state they returned, too."""
    if not call.every:  # of all parts but h only the last two steps may be there
        steps = len(call.x)
        sequences = tuple([s if len(s) == steps else None for s in sequences])
    if call.control.inside is not None:
        sequences = tuple(map(call.control.shown, sequences))
    return Result(sequences, final), Kept(saved, _sort(call, number)) if call.keep else NOTHING


def backward(
    kernels: Any, call: SequenceCall, kept: Kept, dsequences: State, dfinal: State, need_dx: bool, **options: Any
) -> Gradients:
    """The way back through a call. Raises as :func:`forward` does, also for cotangents and another call's cache."""
    check(call)
    cell = inside(call.cell)
    number = number_of(cell)
    if kept.saved is None or not is_of(call, number, kept):
        raise ValueError(f"{call.cell.name}: the cache is of another call, or of one that was not to keep it")
    dtype = call.x.dtype
    for what, cotangents, lead in (("", dsequences, call.x.shape[:1]), ("the last ", dfinal, ())):
        for name, part, d in zip(call.cell.state_names, call.state, cotangents, strict=True):
            if d is not None and (d.shape != (*lead, *part.shape) or d.dtype is not dtype):
                _require(call, f"the cotangent of {what}{name}", d, (*lead, *part.shape), dtype_name(call.x))
    if call.control.inside is not None:
        dsequences = tuple(map(call.control.shown, dsequences))
    # Copies, since the kernels go on in place.
    dstate = tuple(
        zeros_beside(part, part.shape) if d is None else d.copy(order="C")
        for part, d in zip(call.state, dfinal, strict=True)
    )
    found = kernels.backward(
        number, told(cell, call.weights), call.x, kept.saved, walk_flags(call), call.reverse, dsequences, dstate,
        need_dx, **options,
    )  # fmt: skip
    return Gradients(*found)


def is_of(call: SequenceCall, number: int | None, kept: Kept) -> bool:
    """Whether a cache has the sizes that a call's way back reads."""
    return kept.sort == _sort(call, number)


def _sort(call: SequenceCall, number: int | None) -> tuple[Any, ...]:
    """What two calls must have in common for the cache of one to have the sizes that the other reads."""
    return type(call.cell), number, call.x.shape, call.state[0].shape, call.state[-1].shape, call.reverse


def walk_flags(call: SequenceCall) -> kinds.Flags:
    """The flags of a call, in the order of its walk."""
    return flags_of(call.control.reversed() if call.reverse else call.control)


def flags_of(control: Control) -> kinds.Flags:
    """Where states move on and where they restart, (T, B), in the order of the walk."""
    if control.advance is None and control.restart is None:
        return NO_FLAGS
    return kinds.Flags(*(None if f is None else f[..., 0] for f in (control.advance, control.restart)))
