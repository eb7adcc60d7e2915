"""One step of a small batch of a plain cell, without a way back: Python does as little as it can around one call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ..kinds import KINDS, State
from . import at_once, equations
from .arguments import EMPTY
from .product import Array
from .sequence import one_call, scratch_columns


def new_state(
    kind: int, matrices: list[Array], biases: list[Array], x: Array, state: Sequence[Array] | None, size: int
) -> State | None:
    """The parts of the state (B, H) after a step from x (B, I), of a cell with weight_ih, weight_hh and maybe biases.

    A state of None is zero. All arrays are contiguous, aligned, writeable, of one type. None where they do not fit
    each other, and where more than this thread might do the work.
    """
    about, dtype, batch, itemsize = KINDS[kind], x.dtype, len(x), x.itemsize
    if batch == 0 or not one_call(about, (1, *x.shape), size, size, itemsize, False):
        return None
    (_, none, flat, deep), parts = EMPTY[dtype], len(about.parts)
    old = [np.zeros((batch, size), dtype) for _ in range(parts)] if state is None else [*state]
    if len(old) != parts:
        return None
    code, columns = _plan(kind, size, itemsize)
    new = [np.empty((1, batch, size), dtype) for _ in range(parts)]
    pair, results = (old, new) if parts == 2 else ((old[0], flat), (new[0], deep))
    weights, z = (*matrices, *(biases or (none, none))), np.empty((1, batch, columns), dtype)
    done = at_once.walk(kind, code, *weights, flat, x[None], tuple(pair), tuple(results), z, False)
    return tuple([part[0] for part in new]) if done else None


@lru_cache
def _plan(kind: int, size: int, itemsize: int) -> tuple[int, int]:
    """Where the equations lie, and how long a row of z is."""
    return equations.ahead(kind, itemsize)[0], scratch_columns(KINDS[kind], size, size, itemsize)
