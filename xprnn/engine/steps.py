"""One step of a cell that has nothing unusual about it, with as little Python as can be around its kernels.

What is unusual goes the way of sequence calls, which runs a step of any cell, says who runs it, and what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xprnn.backend import Array
from xprnn.cells import Cell, State, Weights
from xprnn.engine import cpu, dispatch
from xprnn.engine.call import SequenceCall
from xprnn.engine.control import FREE
from xprnn.engine.observer import observing


def new_state(cell: Cell, weights: Weights, x: Array, state: Sequence[Array] | None, size: int) -> State | None:
    """The state (B, H) after a step from x (B, I), NumPy's, without a way back: as a sequence call would give it.

    A state of None is zero. None where a sequence call must look at it: where :func:`cpu.run_plain` declines, and where
    somebody forces another implementation, rounds, or looks on.
    """
    if x.ndim != 2 or observing() is not None or not dispatch.left_to_the_host(x):
        return None
    if state is None:
        state = (np.zeros((len(x), size), x.dtype),) * len(cell.state_names)
    found = cpu.run_plain(SequenceCall(cell, weights, x[None], tuple(state), FREE, every=False))
    return None if found is None else tuple([part[0] for part in found[0]])
