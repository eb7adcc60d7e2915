"""Few sequences and many units: the columns of every step are shared among threads.

A step is cut into parts of neighbouring units, all their gates together. A thread claims its own part first, then those
that nobody has claimed: one that is late, or busy elsewhere, is not waited for. All parts of a step done, its h is
whole, and the next step may begin. The same numbers come out whoever computes them.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..calls import GRU, LSTM, PEEPHOLE, RESET_BEFORE
from . import gates, threads
from .compiling import kernel
from .host import TILE
from .intrinsics import address, claim, count_up, give_way, offset, read_count
from .loops import rows_times, start, state_before
from .product import Array, multiply, pack

SCRATCH_BYTES = 1 << 24  # of pre-activations computed ahead, where they are not kept
PATIENCE = 1000  # looks at a counter before another thread gets this core
WORTHWHILE = 2.5e5  # floating-point operations in a step, from which on sharing it beats its cost
ENOUGH_ROWS = 3  # for each thread, and the batch is better cut by sequences


def parts(kind: int, batch: int, size: int, operations: float, itemsize: int) -> int:
    """Into how many parts a step of so many operations is cut; 1 where that does not pay, or cannot be done."""
    if operations < WORTHWHILE or kind == RESET_BEFORE:
        return 1
    workers, lanes = threads.workers(), TILE.lanes(itemsize)
    if batch >= ENOUGH_ROWS * workers or size % lanes:
        return 1
    return min(workers, size // lanes)


def run(
    count: int,
    kind: int,
    reverse: bool,
    x: Array,
    w_ih: Array,
    w_hh: Array,
    bias: Array,
    p: Array,
    states: tuple[Array, Array, Array, Array],
    keep: bool,
    control: tuple[bool, Array, bool, Array],
    bf16: bool,
) -> Array:
    """Fill hs and cs, the last two of ``states``, in ``count`` parts; returns z, for all steps if it is to be kept."""
    (steps, batch, _), size = x.shape, w_hh.shape[1]
    lanes = TILE.lanes(x.itemsize)
    # Parts are whole vectors, so that no part's product writes into another's columns.
    ends = np.array([size // lanes * k // count * lanes for k in range(count + 1)])
    gates_of = [w_hh[first : first + size] for first in range(0, len(w_hh), size)]
    packed = np.concatenate([pack(w[low:high].T, bf16).reshape(-1) for low, high in pairwise(ends) for w in gates_of])
    places = np.array([0, 1, 3]) if kind == GRU else np.arange(len(gates_of))  # a GRU's n has two blocks of z
    block = steps if keep else min(max(SCRATCH_BYTES // (batch * bias.nbytes), 1), steps)
    z = np.empty((block, batch, len(bias)), x.dtype)

    def run_block(begin: int, end: int) -> None:
        low = steps - end if reverse else begin
        z[: end - begin] = bias
        _add_input_product(x[low : low + end - begin], w_ih, z)
        claims, done = np.zeros((end - begin, count), np.int64), np.zeros((end - begin, 8), np.int64)
        rest = (p, *states, z, low, *control, begin, end, claims, done)
        threads.together(lambda own: forward(kind, reverse, packed, places, ends, *rest, own), count)

    for begin in range(0, steps, block):
        run_block(begin, min(begin + block, steps))
    return z


def _add_input_product(x: Array, w_ih: Array, z: Array) -> None:
    """z += x W_ih^T, for as many steps as x has."""
    rows = x.shape[0] * x.shape[1]
    flat = z.reshape(-1, z.shape[2])
    threads.share(lambda first, last: rows_times(x, w_ih, flat, first, last), rows, 2.0 * w_ih.size * rows)


@kernel
def forward(
    kind, reverse, w_hh, blocks, ends, p, h0, c0, hs, cs, z, low_step, held, advance, restarts, restart,
    begin, end, claims, done, own,
):  # fmt: skip
    """Run a cell over steps begin to end, from z (S, B, N) with the input's share of their pre-activations.

    z[0] belongs to x[low_step]. ``blocks`` (G) says to which block of z each gate's product is added, ``ends`` where
    parts end. ``claims`` (S, parts) and ``done`` (S, 8), a cache line a step, start at zero; ``own`` is the part that
    this thread tries first.
    """
    steps, batch, size = hs.shape
    columns, count, has_c = z.shape[2], ends.size - 1, kind in (LSTM, PEEPHOLE)
    h_start = np.empty((batch if restarts else 0, size), hs.dtype)
    c_start = np.empty_like(h_start)
    for k in range(begin, end):
        t = steps - 1 - k if reverse else k
        before = t + 1 if reverse else t - 1
        for turn in range(count):
            part = (own + turn) % count
            if not claim(address(claims, (k - begin) * count + part)):
                continue
            low, high = ends[part], ends[part + 1]
            h_old = state_before(k, before, batch, size, 0, h0, hs)
            c_old = state_before(k, before, batch, size, 0, c0, cs)
            if restarts:
                where = address(restart, t * batch)
                start(address(h_start, 0), h_old, where, batch, size)
                h_old = address(h_start, 0)
                if has_c:
                    start(address(c_start, 0), c_old, where, batch, size)
                    c_old = address(c_start, 0)
            z_here = address(z, (t - low_step) * batch * columns)
            w = address(w_hh, low * size * blocks.size)
            for gate in range(blocks.size):
                target = offset(z_here, blocks[gate] * size + low)
                multiply(h_old, 1, 0, batch, size, w, size, high - low, target, 0, columns)
                w = offset(w, (high - low) * size)
            at = t * batch * size + low
            gates.forward(
                kind, offset(z_here, low), columns, offset(h_old, low), offset(c_old, low), address(hs, at),
                address(cs, at), address(p, low), size, high - low, held, address(advance, t * batch), batch,
            )  # fmt: skip
            count_up(address(done, (k - begin) * 8))
        looks = 0
        while read_count(address(done, (k - begin) * 8)) < count:
            looks += 1
            if looks > PATIENCE:
                give_way()
