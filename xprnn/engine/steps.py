"""One step of a cell with nothing unusual about it, in one call of the host's kernels: else Python takes longest.

What is unusual goes the way of sequence calls, which runs a step of any cell, says who runs it, and what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xprnn import host_kernels
from xprnn.backend import Array
from xprnn.cells import Cell, State, Weights
from xprnn.engine import dispatch
from xprnn.engine.cell_kinds import number_of
from xprnn.engine.cpu import PLAIN, WEIGHTS
from xprnn.engine.observer import observing


def new_state(cell: Cell, weights: Weights, x: Array, state: Sequence[Array] | None, size: int) -> State | None:
    """The state (B, H) after a step from x (B, I) without a way back, by the kernels that a sequence call would take.

    A state of None is zero. None where a sequence call must look at it: where an array is not a plain one of NumPy's,
    or does not fit the others, where somebody forces another implementation, rounds, or looks on.
    """
    number = number_of(cell)
    if number not in PLAIN or tuple(weights) not in (WEIGHTS, WEIGHTS[:2]):
        return None
    if observing() is not None or not dispatch.left_to_the_host(x):
        return None
    dtype = x.dtype
    matrices, biases = [*weights.values()][:2], [*weights.values()][2:]
    for arrays, axes in ((x, *matrices, *(state or ())), 2), (biases, 1):
        for array in arrays:
            if type(array) is not np.ndarray or array.dtype is not dtype or array.ndim != axes:
                return None
            if not array.flags.carray:
                return None
    host = host_kernels.kernels()
    found: State | None = None
    if not isinstance(host, str):
        found = host.new_state(number, matrices, biases, x, state, size)
    return found
