"""How a scan over time is shared among threads, and what is asked of its arrays.

Time is walked in order, so nothing depends on how work is cut; columns and sequences do not meet, and are shared.
Nothing in a scan may be fused otherwise in one share than in another, so that an element has the same bits in any.
Arrays are contiguous, (T, B, S) for what is known at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import threads
from .compiling import inlined_kernel
from .product import Array

GRAIN = 16  # columns that one thread has next to each other, at least


def check(
    control: tuple[Any, ...],
    like: Array,
    every: tuple[Array, ...],
    last: tuple[Array, ...],
    gates: tuple[Array, int] | None = None,
) -> None:
    """Raise ValueError, since compiled code reads as far as the shape of ``like`` (T, B, S) says.

    ``every`` has values for each step as that has, ``last`` for one; ``gates`` are z and how many blocks it has.
    """
    steps, rows, size = like.shape
    held, advance, restarts, restart = control
    expected = [(part, like.shape) for part in every] + [(part, (rows, size)) for part in last]
    expected += [(f, (steps, rows)) for there, f in ((held, advance), (restarts, restart)) if there]
    expected += [] if gates is None else [(gates[0], (steps, rows, gates[1] * size))]
    for array, shape in expected:
        if array.shape != shape:
            raise ValueError(f"an array of a scan has shape {array.shape}; expected {shape}")


def share(c: Array, halves: int, cost: float, work: Callable[[int, int], Any]) -> None:
    """Let threads work on ranges of places, counted over sequences and columns: of (T, B, S) there are B*S."""
    places = c.shape[1] * c.shape[2] // halves
    grains = -(-places // GRAIN)
    threads.share(lambda g0, g1: work(g0 * GRAIN, min(g1 * GRAIN, places)), grains, cost * c.size)


@inlined_kernel
def columns_of(p0, p1, row, size):
    """Which columns of a row a range of places has: the first, and how many."""
    first = max(p0 - row * size, 0)
    return first, min(p1 - row * size, size) - first
