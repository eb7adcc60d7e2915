"""Few sequences and many units: the columns of every step are shared among threads.

A step is cut into parts of neighbouring units, all their gates together. A thread claims its own part first, then those
that nobody has claimed: one that is late, or busy elsewhere, is not waited for. All parts of a step done, its h is
whole, and the next step may begin. The same numbers come out whoever computes them.
"""

from __future__ import annotations

import numpy as np

from . import gates, threads
from .compiling import kernel
from .gates import LSTM, PEEPHOLE, RESET_BEFORE
from .host import TILE
from .intrinsics import address, claim, count_up, give_way, offset, read_count
from .loops import start, state_before
from .product import Array, multiply, pack

PATIENCE = 1000  # looks at a counter before another thread gets this core
WORTHWHILE = 2.5e5  # floating-point operations in a step, from which on sharing it beats its cost
ENOUGH_ROWS = 3  # for each thread, and the batch is better cut by sequences


def parts(kind: int, batch: int, size: int, operations: float, itemsize: int) -> int:
    """Into how many parts a step of so many operations is cut; 1 where that does not pay, or cannot be done."""
    workers = threads.workers()
    lanes = TILE.lanes(itemsize)
    if kind == RESET_BEFORE or batch >= ENOUGH_ROWS * workers or operations < WORTHWHILE or size % lanes:
        return 1
    return min(workers, size // lanes)


def bounds(size: int, count: int, lanes: int) -> list[int]:
    """Where parts begin and end: whole vectors, so that no part's product writes into another's columns."""
    return [size // lanes * k // count * lanes for k in range(count + 1)]


def pack_parts(w_hh: Array, size: int, ends: list[int]) -> Array:
    """weight_hh (G*H, H) packed part by part, and in each gate by gate."""
    blocks = [
        pack(w_hh[gate * size + low : gate * size + high].T).reshape(-1)
        for low, high in zip(ends[:-1], ends[1:], strict=True)
        for gate in range(len(w_hh) // size)
    ]
    return np.concatenate(blocks)


@kernel
def forward(
    kind, reverse, w_hh, blocks, ends, p, h0, c0, hs, cs, z, keep, held, advance, restarts, restart, claims, done, own
):  # fmt: skip
    """Run a cell over time, from z (T, B, N) that holds the input's share of all pre-activations.

    ``blocks`` (G) says to which block of z each gate's product is added, ``ends`` where parts end; ``claims`` (T, parts)
    and ``done`` (T, 8), a cache line for each step, start at zero; ``own`` is the part that this thread tries first.
    """
    steps, batch, size = hs.shape
    columns, count, has_c = z.shape[2], ends.size - 1, kind in (LSTM, PEEPHOLE)
    h_start = np.empty((batch if restarts else 0, size), hs.dtype)
    c_start = np.empty_like(h_start)
    for k in range(steps):
        t = steps - 1 - k if reverse else k
        before = t + 1 if reverse else t - 1
        for turn in range(count):
            part = (own + turn) % count
            if not claim(address(claims, k * count + part)):
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
            z_here = address(z, t * batch * columns)
            w = address(w_hh, low * size * blocks.size)
            for gate in range(blocks.size):
                target = offset(z_here, blocks[gate] * size + low)
                multiply(h_old, 1, 0, batch, size, w, size, high - low, target, 0, columns)
                w = offset(w, (high - low) * size)
            at = t * batch * size + low
            gates.forward(
                kind, keep, offset(z_here, low), columns, offset(h_old, low), offset(c_old, low), address(hs, at),
                address(cs, at), address(p, low), size, high - low, held, address(advance, t * batch), batch,
            )  # fmt: skip
            count_up(address(done, k * 8))
        looks = 0
        while read_count(address(done, k * 8)) < count:
            looks += 1
            if looks > PATIENCE:
                give_way()
