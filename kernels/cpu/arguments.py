"""What the compiled loops are given, in groups. Arrays are contiguous; a state is two: h, and all its other parts.

Python has the groups by name, for readers and for mypy; compiled code gets them as plain tuples, which Numba takes as
fast as single arguments, while a named one costs it most of a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..kinds import Flags
from .product import Array, plain

NEVER = np.zeros((1, 0), np.uint8)


class Weights(NamedTuple):
    """What each step reads: packed weights of its products with h, elementwise weights (diagonals, H), and how many
    units a unit sees in a product, which are less than all where there are heads.
    """

    first: Array
    second: Array
    diagonals: Array
    own: int


class States(NamedTuple):
    """The state before the first step, h (B, H) and its other parts, one below the other; and after every step,
    (T, B, H) likewise, or of two steps in turns but for h; kept blocks z (S, R, N).
    """

    initial: tuple[Array, ...]
    after: tuple[Array, ...]
    z: Array


class Control(NamedTuple):
    """Whether states are ever held, and where (T, B); whether sequences ever restart, and where."""

    held: bool
    advance: Array
    restarts: bool
    restart: Array


class Cotangents(NamedTuple):
    """Of the state after every step (T, B, H), where given, and at the end (B, H), as in States; of pre-activations.

    And sums, as in norm_weights.sums_for, that so many sequences have together, for so many steps.
    """

    given: tuple[bool, ...]
    after: tuple[Array, ...]
    state: tuple[Array, ...]
    zx: Array
    zh: Array
    sums: Array
    group: int
    steps: int


class Span(NamedTuple):
    """Sequences b0 to b1, in which direction, a block of steps at a time, and whether z is kept of all of them."""

    b0: int
    b1: int
    reverse: bool
    block: int
    keep: bool


def plain_tuples(*groups: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """The groups without their names."""
    return [tuple(group) for group in groups]


EMPTY = {np.dtype(name): [np.empty((0,) * axes, name) for axes in range(4)] for name in ("float32", "float64")}
FREE = Control(False, NEVER, False, NEVER)


def control_of(flags: Flags) -> Control:
    """Flags as bytes."""
    if flags.advance is None and flags.restart is None:
        return FREE
    advance, restart = (NEVER if f is None else plain(f).view(np.uint8) for f in flags)
    return Control(flags.advance is not None, advance, flags.restart is not None, restart)


def filled(parts: Sequence[Any], axes: int, dtype: Any) -> tuple[Array, ...]:
    """The parts of a state as compiled code takes them: plain, and empty where one is missing."""
    empty = EMPTY[dtype][axes]
    if len(parts) > 2:
        given = [part for part in parts[1:] if part is not None]
        missing = np.zeros_like(given[0]) if given else None
        rest = np.concatenate([missing if part is None else part for part in parts[1:]]) if given else None
        parts = (parts[0], rest)
    h, c = parts if len(parts) == 2 else (*parts, None, None)[:2]
    return empty if h is None else plain(h), empty if c is None else plain(c)


def parted(arrays: Sequence[Array], count: int) -> tuple[Array, ...]:
    """The parts of a state out of what compiled code has of them."""
    if count <= 2:
        return tuple(arrays[:count])
    return arrays[0], *arrays[1].reshape(count - 1, -1, *arrays[0].shape[1:])


def room(
    count: int, shape: tuple[int, ...], dtype: Any, slots: int, make: Callable[..., Array] = np.empty
) -> tuple[Array, ...]:
    """Memory for a state of so many parts, as compiled code takes it; for so many steps but of h."""
    if count == 1:
        return make(shape, dtype), EMPTY[dtype][len(shape)]
    return make(shape, dtype), make(((count - 1) * slots, *shape[1:]), dtype)
