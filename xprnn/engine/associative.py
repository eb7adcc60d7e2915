"""The recurrence c_t = a_t c_{t-1} + b_t over all steps, in array code.

It is associative: two steps make one, (a2 a1, a2 b1 + b2). Time is cut into about sqrt(T) chunks of as many steps; all
chunks are walked side by side, each from 0, then their ends one after the other, and what came into a chunk is added to
its steps. That is 2 sqrt(T) small operations for T, twice the arithmetic, O(T) memory. The chunks follow from T alone,
so equal calls have equal bits. With |a| <= 1, and b bounded by 1, c differs from the loop's by at most
(2 sqrt(T) + 4) eps sum_s |a_t ... a_{s+1} b_s|, eps being the dtype's: each term of that sum goes through as many
roundings.

Complex numbers, ``pairs``, have their real parts in the first half of the columns.
"""

from __future__ import annotations

import math

from xprnn.backend import Array, namespace
from xprnn.cells.linear import halves, product


def associative(pairs: bool, a: Array, b: Array, start: Array, restart: Array | None) -> Array:
    """c after every step, for a and b (T, B, S) and c before them (B, S); restart (T, B, 1)."""
    xp, steps = namespace(a), a.shape[0]
    length = math.isqrt(steps - 1) + 1
    chunks = -(-steps // length)
    missing = chunks * length - steps
    if missing:  # steps that nobody asks for
        a, b = (xp.concat([part, xp.zeros_like(part[:missing, ...])], axis=0) for part in (a, b))
        restart = restart if restart is None else xp.concat([restart, xp.zeros_like(restart[:missing, ...])], axis=0)

    def by_step(part: Array) -> list[Array]:
        """(T, B, S) to the same step of all chunks, (N, B, S), for each step of a chunk."""
        return list(xp.unstack(xp.reshape(part, (chunks, length, *part.shape[1:])), axis=1))

    cuts = [None] * length if restart is None else by_step(restart)
    since: list[Array] = []  # of all steps of a chunk up to each, as one: a, b, and whether there was a restart
    for k, (factor, term, cut) in enumerate(zip(by_step(a), by_step(b), cuts, strict=True)):
        if k == 0:
            since.append((factor, term, cut))
            continue
        a_before, b_before, cut_before = since[-1]
        grown = product(pairs, factor, b_before) + term
        if cut is not None:
            grown, cut = xp.where(cut, term, grown), xp.logical_or(cut, cut_before)
        since.append((product(pairs, factor, a_before), grown, cut))
    entries, state = [], start
    for n in range(chunks):
        entries.append(state)
        factor, term, cut = (None if part is None else part[n, ...] for part in since[-1])
        grown = product(pairs, factor, state) + term
        state = grown if cut is None else xp.where(cut, term, grown)
    entered = xp.stack(entries)
    results = []
    for factor, term, cut in since:
        grown = product(pairs, factor, entered) + term
        results.append(grown if cut is None else xp.where(cut, term, grown))
    return xp.reshape(xp.stack(results, axis=1), (chunks * length, *start.shape))[:steps, ...]


def one(pairs: bool, like: Array) -> Array:
    """1, as pairs too, of a shape."""
    xp = namespace(like)
    if not pairs:
        return xp.ones_like(like)
    real, imaginary = halves(like)
    return xp.concat([xp.ones_like(real), xp.zeros_like(imaginary)], axis=-1)
