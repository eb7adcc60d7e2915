"""Few sequences and many units: the columns of every step are shared among threads.

A step is cut into parts of neighbouring units, all their gates together. A thread computes its own part first, then any
that no other thread has begun: one that is late, or busy elsewhere, is not waited for. All parts of a step done, its h
is whole, and the next step may begin. The same numbers come out whoever computes them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import config

from ..kinds import KINDS, PARTS
from . import equations, threads
from .arguments import Control, States, plain_tuples
from .bf16 import deep, lowered, operand, space_for
from .compiling import kernel
from .host import TILE
from .intrinsics import (
    address,
    addresses,
    all_parts,
    call_at,
    claim,
    count_up,
    offset,
    offsets,
    spread,
)
from .loops import rows_times
from .product import Array, Storage, multiply
from .recurrence import slots_of, state_after, state_before
from .waiting import wait_for

SCRATCH_BYTES = 1 << 24  # of pre-activations computed ahead, where they are not kept
WORTHWHILE = 2.5e5  # floating-point operations in a step, from which on sharing it beats its cost
ENOUGH_ROWS = 3  # for each thread, and the batch is better cut by sequences
MOST_THREADS = config.NUMBA_NUM_THREADS  # there never are more; to ask how many there are takes several microseconds


def parts(kind: int, batch: int, size: int, operations: float, itemsize: int) -> int:
    """Into how many parts a step of so many operations is cut; 1 where that does not pay, or cannot be done."""
    about = KINDS[kind]
    if operations < WORTHWHILE or about.between or about.norms or about.functions or not about.places:
        return 1
    lanes = TILE.lanes(itemsize)
    if batch >= ENOUGH_ROWS * MOST_THREADS or size % lanes or batch >= ENOUGH_ROWS * (workers := threads.workers()):
        return 1
    return min(workers, size // lanes)


class Shares(NamedTuple):
    """Parts of a step: packed weights, the block of z that each gate's product is added to, and where parts end."""

    weights: Array
    places: Array
    ends: Array
    diagonals: Array


class Chunk(NamedTuple):
    """Steps begin to end, in which direction; z[0] belongs to x[low]."""

    begin: int
    end: int
    low: int
    reverse: bool


class Progress(NamedTuple):
    """Which parts have been begun (S, parts), and how many of a step are done (S, 8), a cache line a step."""

    begun: Array
    done: Array


def run(
    count: int,
    kind: int,
    x: Array,
    w_ih: Array,
    w_hh: Array,
    bias: Array,
    diagonals: Array,
    states: States,
    control: Control,
    reverse: bool,
    keep: bool,
    storage: Storage,
) -> None:
    """Fill the states after every step, and z if it is to be kept, in ``count`` parts."""
    (steps, batch, _), size = x.shape, w_hh.shape[1]
    lanes = TILE.lanes(x.itemsize)
    # Parts are whole vectors, so that no part's product writes into another's columns.
    ends = np.array([size // lanes * k // count * lanes for k in range(count + 1)])
    gates_of = [w_hh[first : first + size] for first in range(0, len(w_hh), size)]
    packed = np.concatenate([storage.pack(w[low:high].T).reshape(-1) for low, high in pairwise(ends) for w in gates_of])
    shares = Shares(packed, np.array(KINDS[kind].places), ends, diagonals)
    block = steps if keep else min(max(SCRATCH_BYTES // (batch * bias.nbytes), 1), steps)
    z = states.z if keep else np.empty((block, batch, len(bias)), x.dtype)
    states, (step, _) = States(states.initial, states.after, z), equations.ahead(kind, x.itemsize)

    def run_block(begin: int, end: int) -> None:
        chunk = Chunk(begin, end, steps - end if reverse else begin, reverse)
        z[: end - begin] = bias
        _add_input_product(x[chunk.low : chunk.low + end - begin], w_ih, z)
        progress = Progress(np.zeros((end - begin, count), np.int64), np.zeros((end - begin, 8), np.int64))
        groups = plain_tuples(shares, states, control, chunk, progress)
        threads.together(lambda own: run_part(kind, step, *groups, own), count)

    for begin in range(0, steps, block):
        run_block(begin, min(begin + block, steps))


def _add_input_product(x: Array, w_ih: Array, z: Array) -> None:
    """z += x W_ih^T, for as many steps as x has."""
    rows = x.shape[0] * x.shape[1]
    flat = z.reshape(-1, z.shape[2])
    threads.share(lambda first, last: rows_times(x, w_ih, flat, first, last), rows, 2.0 * w_ih.size * rows)


@kernel
def run_part(kind, step, shares, states, control, chunk, progress, own):
    """One thread's part in running a cell over a chunk of steps, from z (S, B, N) with the input's pre-activations.

    ``own`` is the part of a step that this thread tries first.
    """
    begin, end, low_step, reverse = chunk
    w_hh, places, ends, diagonals = shares
    held, advance, restarts, restart = control
    first_states, states_after, z = states
    begun, done = progress
    steps, batch, size = states_after[0].shape
    columns, count, apart = z.shape[2], ends.size - 1, batch * size
    slots = slots_of(kind, states_after[1])
    initial, after = all_parts(addresses(first_states, 0), apart), all_parts(addresses(states_after, 0), slots * apart)
    spare, k_h = np.empty(PARTS[kind] * apart if restarts else 0, z.dtype), deep(address(w_hh, 0), size)
    space, h_row = space_for(w_hh, batch * k_h), lowered(address(w_hh, 0), size, k_h)
    for k in range(begin, end):
        t = steps - 1 - k if reverse else k
        for turn in range(count):
            part = (own + turn) % count
            if not claim(address(begun, (k - begin) * count + part)):
                continue
            low, high = ends[part], ends[part + 1]
            old = state_before(
                kind, k, t, reverse, initial, after, slots, apart, restarts, address(restart, t * batch),
                spread(address(spare, 0), apart), batch, size,
            )  # fmt: skip
            z_here = address(z, (t - low_step) * batch * columns)
            w = address(w_hh, low * k_h * places.size)
            h = operand(old[0], 1, 0, batch, size, size, address(space, 0), w)
            for gate in range(places.size):
                target = offset(z_here, places[gate] * size + low)
                multiply(h, 1, 0, batch, h_row, w, k_h, high - low, target, 0, columns)
                w = offset(w, (high - low) * k_h)
            call_at(
                step,
                (
                    kind, offset(z_here, low), columns, offsets(old, low),
                    offsets(state_after(after, t, slots, apart), low), address(diagonals, low), size, high - low, held,
                    address(advance, t * batch), batch,
                ),
            )  # fmt: skip
            count_up(address(done, (k - begin) * 8))
        wait_for(address(done, (k - begin) * 8), count)
