"""A diagonal of complex numbers between steps, and products before and behind it, in one pass over time.

    c' = p c + B x;  h = R c' + D x

with x (T, B, I), p (2N), B (2N, I), D (H, I) and R (H, 2N), complex numbers having all real parts first. Time is cut
into blocks of a few rows, which stay in the cache from one product to the next. Threads take one block after another;
of the scan through a block, which is short, each waits for that of the block before. No number depends on who computes
it.

Compiled code has rows of whole vectors: S real parts and S imaginary ones, of which those from N on stand for nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..kinds import Flags
from . import threads
from .arguments import Control, control_of
from .compiling import kernel
from .intrinsics import address, claim, count_up
from .product import ROWS, Array, multiply, multiply_transposed, pack, padded, plain
from .rows import add, clear, copy
from .turning import turn, turn_back
from .waiting import PATIENCE, wait_for

BLOCK = 11 * ROWS  # rows, in whole tiles
SLICES = 48  # that products for the gradients of weights are cut in, to be shared among threads


class Weights(NamedTuple):
    """p, B, D and R, or their gradients."""

    turn: Array
    before: Array
    beside: Array
    behind: Array


class Progress(NamedTuple):
    """Which blocks have been begun (K, G), how many of each group of sequences are scanned (G, 8), a cache line each.

    And of how many steps a block is.
    """

    begun: Array
    done: Array
    block: int


def forward(x: Array, w: Weights, start: Array, flags: Flags) -> tuple[Array, Array, Array]:
    """h (T, B, H) and c (T, B, 2N) after every step; and c as a way back needs it, before them too (T + 1, B, 2S).

    A step that is held keeps c, and its h is what would be made of that.
    """
    x, w, control = plain(x), Weights(*map(plain, w)), control_of(flags)
    (steps, batch, inputs), (size, columns) = x.shape, w.behind.shape
    _check(x, w, control, [(start, (batch, columns))])
    wide = 2 * padded(columns // 2, x.itemsize)
    c, h = np.empty((steps + 1, batch, wide), x.dtype), np.empty((steps, batch, padded(size, x.itemsize)), x.dtype)
    c[0] = _spread(start, wide)
    packed = pack(_spread(w.before.T, wide)), pack(w.beside.T), pack(_spread(w.behind, wide).T)
    p, zeros, progress = _spread(w.turn, wide), np.zeros(wide, x.dtype), _progress(steps, batch)

    def work(_: int) -> None:
        _walk(x, packed, p, zeros, tuple(control), c, h, tuple(progress))

    threads.together(work, _parts(progress, 2.0 * steps * batch * (inputs * (wide + size) + wide * size)))
    return h if h.shape[2] == size else h[..., :size].copy(), _gathered(c[1:], columns), c


def backward(
    x: Array, w: Weights, c: Array, dh: Array, dc: Array | None, dlast: Array, flags: Flags, need_dx: bool
) -> tuple[Array | None, Array, Weights]:
    """dx, the cotangent of c before all steps, and the gradients of p, B, D and R.

    From the cotangents of h and c after every step, and of c at the end; ``c`` is the last that :func:`forward` gave.
    At steps that are held, dh must be 0.
    """
    x, w, control, dh = plain(x), Weights(*map(plain, w)), control_of(flags), plain(dh)
    (steps, batch, inputs), (size, columns) = x.shape, w.behind.shape
    wide, rows = 2 * padded(columns // 2, x.itemsize), steps * batch
    every = [] if dc is None else [(dc, (steps, batch, columns))]
    given = [(c, (steps + 1, batch, wide)), (dh, (steps, batch, size)), (dlast, (batch, columns)), *every]
    _check(x, w, control, given)
    db, carry = np.empty((steps, batch, wide), x.dtype), np.empty((batch, wide), x.dtype)
    carry[:] = _spread(dlast, wide)
    if dc is not None:
        db[:] = _spread(dc, wide)
    dx = np.empty((steps, batch, padded(inputs, x.itemsize)) if need_dx else (0, 0, 0), x.dtype)
    before, beside = (_spread(w.before.T, wide).T, w.beside) if need_dx else (w.before[:0], w.beside[:0])
    packed, p, progress = (
        (pack(_spread(w.behind, wide)), pack(before), pack(beside)), _spread(w.turn, wide), _progress(steps, batch),
    )  # fmt: skip
    dp = np.zeros((progress.begun.size, wide), x.dtype)  # of each block, so that threads do not meet

    def work(_: int) -> None:
        _walk_back(dh, packed, p, tuple(control), c, dc is not None, carry, db, dx, dp, tuple(progress))

    threads.together(work, _parts(progress, 2.0 * rows * wide * size + 2.0 * dx.size * (wide + size)))
    flat_x, flat_h = x.reshape(rows, inputs), dh.reshape(rows, size)
    dbefore, dbeside, dbehind = _products(
        (db.reshape(rows, wide), flat_x), (flat_h, flat_x), (flat_h, c[1:].reshape(rows, wide))
    )
    gradients = Weights(
        _gathered(dp.sum(axis=0, dtype=np.float64).astype(x.dtype), columns), _gathered(dbefore.T, columns).T, dbeside,
        _gathered(dbehind, columns),
    )  # fmt: skip
    dx = dx if dx.shape[2] == inputs else dx[..., :inputs].copy()
    return dx if need_dx else None, _gathered(carry, columns), gradients


def _check(x: Array, w: Weights, control: Control, given: list[tuple[Array, tuple[int, ...]]]) -> None:
    """Raise ValueError, since compiled code reads as far as the shapes of x (T, B, I) and R (H, 2N) say."""
    (steps, batch, inputs), (size, columns) = x.shape, w.behind.shape
    weights = [(w.turn, (columns,)), (w.before, (columns, inputs)), (w.beside, (size, inputs))]
    flags = [(f, (steps, batch)) for there, f in (control[:2], control[2:]) if there]
    for array, shape in [*weights, *flags, *given]:
        if array.shape != shape:
            raise ValueError(f"an array of a scan has shape {array.shape}; expected {shape}")


def _spread(a: Array, wide: int) -> Array:
    """(..., 2N) to (..., 2S): both halves, each with zeros behind it. The array itself where they are as wide."""
    half = a.shape[-1] // 2
    if 2 * half == wide:
        return a
    spread = np.zeros((*a.shape[:-1], wide), a.dtype)
    spread[..., :half], spread[..., wide // 2 : wide // 2 + half] = a[..., :half], a[..., half:]
    return spread


def _gathered(a: Array, columns: int) -> Array:
    """From (..., 2S) the (..., 2N) that stand for something."""
    half = a.shape[-1] // 2
    if 2 * half == columns:
        return a
    return np.concatenate([a[..., : columns // 2], a[..., half : half + columns // 2]], axis=-1)


def _progress(steps: int, batch: int) -> Progress:
    """Blocks of about as many rows as fit the cache, each of one group of sequences."""
    groups = -(-batch // BLOCK)
    block = max(BLOCK // -(-batch // groups), 1)
    return Progress(np.zeros((-(-steps // block), groups), np.int64), np.zeros((groups, 8), np.int64), block)


def _parts(progress: Progress, operations: float) -> int:
    return threads.shares(progress.begun.size, operations)


def _products(*pairs: tuple[Array, Array]) -> list[Array]:
    """A^T B, (M, N), of each pair of A (K, M) and B (K, N), shared among threads together."""
    totals = [np.zeros((a.shape[1], padded(b.shape[1], b.itemsize)), b.dtype) for a, b in pairs]

    def work(first: int, last: int) -> None:
        for (a, b), total in zip(pairs, totals, strict=True):
            low, high = (a.shape[1] * end // SLICES for end in (first, last))
            if low < high:
                multiply_transposed(a, b, total, low, high)

    threads.share(work, SLICES, sum(2.0 * a.size * b.shape[1] for a, b in pairs))
    return [np.ascontiguousarray(total[:, : b.shape[1]]) for (_, b), total in zip(pairs, totals, strict=True)]


@kernel
def _walk(x, weights, p, zeros, control, c, h, progress):
    """Whatever blocks no other thread has begun. c[0] is what was before all steps."""
    held, advance, restarts, restart = control
    w_before, w_beside, w_behind = weights
    begun, done, block = progress
    steps, batch, inputs = x.shape
    wide, out, groups = c.shape[2], h.shape[2], begun.shape[1]
    for place in range(begun.size):
        if not claim(address(begun, place)):
            continue
        t0, t1, b0, b1, first, count, rows = _bounds(place, steps, batch, block, groups)
        x_here, c_here, h_here = (
            address(x, first * inputs), address(c, (first + batch) * wide), address(h, first * out),
        )  # fmt: skip
        for k in range(count):
            clear(address(c, (first + (k + 1) * batch) * wide), rows * wide)
            clear(address(h, (first + k * batch) * out), rows * out)
        multiply(
            x_here, count, batch * inputs, rows, inputs, address(w_before, 0), inputs, wide, c_here, batch * wide, wide
        )
        multiply(
            x_here, count, batch * inputs, rows, inputs, address(w_beside, 0), inputs, out, h_here, batch * out, out
        )
        wait_for(address(done, (place % groups) * 8), place // groups, PATIENCE)
        for b in range(b0, b1):
            t = t0
            while t < t1:
                old, new = address(c, (t * batch + b) * wide), address(c, ((t + 1) * batch + b) * wide)
                if restarts and restart[t, b] != 0:
                    old = address(zeros, 0)
                if held and advance[t, b] == 0:
                    copy(new, old, wide)
                    t += 1
                    continue
                begin = t
                t += 1
                while t < t1 and not (held and advance[t, b] == 0) and not (restarts and restart[t, b] != 0):
                    t += 1
                turn(address(p, 0), old, new, batch * wide, t - begin, wide // 2)
        count_up(address(done, (place % groups) * 8))
        multiply(c_here, count, batch * wide, rows, wide, address(w_behind, 0), wide, out, h_here, batch * out, out)


@kernel
def _walk_back(dh, weights, p, control, c, given, carry, db, dx, dp, progress):
    """The way back, the last block first. Where ``given``, db has the cotangents of c; dx is made where there is room.

    ``carry``, the cotangent of c at the end, becomes that of c before all steps.
    """
    held, advance, restarts, restart = control
    w_behind, w_before, w_beside = weights
    begun, done, block = progress
    steps, batch, size = dh.shape
    wide, across, groups = c.shape[2], dx.shape[2], begun.shape[1]
    for turned in range(begun.size):
        place = begun.size - 1 - turned
        if not claim(address(begun, place)):
            continue
        t0, t1, b0, b1, first, count, rows = _bounds(place, steps, batch, block, groups)
        h_here, c_here, x_here = address(dh, first * size), address(db, first * wide), address(dx, first * across)
        if not given:
            for k in range(count):
                clear(address(db, (first + k * batch) * wide), rows * wide)
        multiply(h_here, count, batch * size, rows, size, address(w_behind, 0), size, wide, c_here, batch * wide, wide)
        wait_for(address(done, (place % groups) * 8), begun.shape[0] - 1 - place // groups, PATIENCE)
        for b in range(b0, b1):
            after, t = address(carry, b * wide), t1 - 1
            while t >= t0:
                here = address(db, (t * batch + b) * wide)
                again, stays = restarts and restart[t, b] != 0, held and advance[t, b] == 0
                if again or stays:
                    add(here, after, wide)
                    if stays:
                        copy(after, here, wide)
                        clear(here, wide)
                    if again:
                        clear(after, wide)
                    t -= 1
                    continue
                last = t
                t -= 1
                while t >= t0 and not (held and advance[t, b] == 0) and not (restarts and restart[t, b] != 0):
                    t -= 1
                before = address(c, (last * batch + b) * wide)
                turn_back(
                    address(p, 0), after, here, before, batch * wide, last - t, address(dp, place * wide), wide // 2
                )
        count_up(address(done, (place % groups) * 8))
        if dx.size > 0:
            for k in range(count):
                clear(address(dx, (first + k * batch) * across), rows * across)
            multiply(
                c_here, count, batch * wide, rows, wide, address(w_before, 0), wide, across, x_here, batch * across,
                across,
            )  # fmt: skip
            multiply(
                h_here, count, batch * size, rows, size, address(w_beside, 0), size, across, x_here, batch * across,
                across,
            )  # fmt: skip


@kernel
def _bounds(place, steps, batch, block, groups):
    """Steps t0 to t1 and sequences b0 to b1 of a block, its first row, and how many groups of how many rows it has.

    With all sequences in it its steps follow each other in memory, as one group.
    """
    k, g = place // groups, place % groups
    t0, t1, b0, b1 = k * block, min((k + 1) * block, steps), batch * g // groups, batch * (g + 1) // groups
    count, rows = (1, (t1 - t0) * batch) if groups == 1 else (t1 - t0, b1 - b0)
    return t0, t1, b0, b1, t0 * batch + b0, count, rows
