"""Where the equations of a kind of cell lie: machine code of gates.py or general_gates.py, called at its address.

Loops are compiled once for all kinds, and of equations no more than those of the kinds that somebody uses.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

from numba import types

from ..kinds import FIRST_GENERAL, KINDS, MOST_PARTS
from . import gates, general_gates
from .compiling import address_of

SIZE, FLAG, FLAGS = types.intp, types.boolean, types.CPointer(types.uint8)
NOTHING = types.Omitted(None)  # an argument that whoever calls does not give, and that takes no place


@cache
def ahead(kind: int, itemsize: int, dropped: bool = False) -> tuple[int, int]:
    """``step`` for numbers of so many bytes and, of a cell with a gate between its products, ``reset``; else 0.

    Where candidates are ``dropped``, ``step`` is told by what they are multiplied.
    """
    number, state = _pointers(itemsize)
    step = number, SIZE, state, state, number, SIZE, SIZE, FLAG, FLAGS, SIZE, number if dropped else NOTHING
    reset = number, number, SIZE, number, number, SIZE, FLAG, FLAGS, SIZE
    return _addresses(kind, ("step", step), ("reset", reset))


@cache
def back(kind: int, itemsize: int, dropped: bool = False) -> tuple[int, int]:
    """The same of ``step_back`` and ``reset_back``."""
    number, state = _pointers(itemsize)
    step_back = (
        number, SIZE, state, state, number, number, SIZE, state, number, number, SIZE, number, SIZE, SIZE, FLAG, FLAGS,
        SIZE, number if dropped else NOTHING,
    )  # fmt: skip
    reset_back = number, SIZE, number, number, number, SIZE, number, SIZE, SIZE, FLAG, FLAGS, SIZE
    return _addresses(kind, ("step_back", step_back), ("reset_back", reset_back))


def compile_equations(itemsize: int) -> None:
    """Compile those of all kinds, each of which otherwise waits for its first layer."""
    for kind in KINDS:
        ahead(kind.number, itemsize)
        back(kind.number, itemsize)


def _pointers(itemsize: int) -> tuple[types.Type, types.Type]:
    """Of numbers, and of the parts of a state."""
    number = types.CPointer(types.float32 if itemsize == 4 else types.float64)
    return number, types.UniTuple(number, MOST_PARTS)


def _addresses(
    kind: int, step: tuple[str, tuple[types.Type, ...]], between: tuple[str, tuple[types.Type, ...]]
) -> tuple[int, int]:
    room: ModuleType = gates if kind < FIRST_GENERAL else general_gates
    first = address_of(getattr(room, step[0]), (types.literal(kind), *step[1]))
    return first, address_of(getattr(room, between[0]), between[1]) if KINDS[kind].between else 0
