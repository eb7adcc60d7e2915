"""Recurrences that are linear in their state, c' = a c + b element by element: one pass over all steps.

Time is walked in order, so nothing depends on how work is cut; what makes it fast is that coefficients are made where
they are used, and that columns and sequences, which do not meet, are shared among threads. Nothing here may be fused
otherwise in one share than in another, so that an element has the same bits in any. Arrays are contiguous, (T, B, S)
for what is known at every step; a kind of kinds.LINEAR has its gates in z (T, B, G*S). Complex numbers have their real
parts in the first half of the columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..kinds import LINEAR, Flags
from . import scan_gates, threads
from .arguments import control_of
from .compiling import inlined_kernel, plain_kernel
from .intrinsics import address, offset
from .product import Array, plain
from .rows import add, clear, copy

GRAIN = 16  # columns that one thread has next to each other, at least
STEP, SCAN = 40.0, 6.0  # operations that an element counts for, with and without gates


def forward(kind: int, z: Array, start: Array, h_start: Array | None, flags: Flags) -> tuple[Array | None, Array]:
    """h, of a kind that has an output beside its state, and c, after every step.

    ``h_start`` is what h is at steps that are held before any other.
    """
    z, start, control = plain(z), plain(start), control_of(flags)
    c = np.empty((*z.shape[:2], start.shape[-1]), z.dtype)
    h, before = (np.empty_like(c), plain(h_start)) if h_start is not None else (c[:0], start[:0])
    _check(control, c, (), (start,) if h_start is None else (start, before), (z, LINEAR[kind].gates))
    _share(c, 1, STEP, lambda p0, p1: _walk(kind, z, start, before, tuple(control), c, h, p0, p1))
    return None if h_start is None else h, c


def backward(
    kind: int, z: Array, start: Array, c: Array, dh: tuple[Array, Array] | None, dc: tuple[Array, Array], flags: Flags
) -> tuple[Array, Array | None, Array]:
    """dz, and the cotangents of h and c before all steps, from those after every step and at the end."""
    z, start, c = plain(z), plain(start), plain(c)
    dz, after = np.empty_like(z), plain(dc[0])
    h_after, h_carry = (c[:0], start[:0]) if dh is None else (plain(dh[0]), dh[1].copy(order="C"))
    carry, control = dc[1].copy(order="C"), tuple(control_of(flags))
    every, last = ((after,), (start, carry)) if dh is None else ((after, h_after), (start, carry, h_carry))
    _check(control, c, every, last, (z, LINEAR[kind].gates))

    def work(p0: int, p1: int) -> None:
        _walk_back(kind, z, start, c, after, carry, h_after, h_carry, control, dz, p0, p1)

    _share(c, 1, STEP, work)
    return dz, None if dh is None else h_carry, carry


def scan(pairs: bool, a: Array, b: Array, start: Array, flags: Flags) -> Array:
    """c after every step; a broadcasts to b (T, B, S)."""
    b, start, (a, step, row), control = plain(b), plain(start), _strided(a, b), control_of(flags)
    c = np.empty_like(b)
    _check(control, c, (), (start,))
    _share(c, 1 + pairs, SCAN, lambda p0, p1: _scan(pairs, a, step, row, b, start, tuple(control), c, p0, p1))
    return c


def scan_back(pairs: bool, a: Array, g: Array, dlast: Array, flags: Flags) -> tuple[Array, Array]:
    """The complete cotangents of c after every step, and that before all, from those from outside."""
    g, (a, step, row), control = plain(g), _strided(a, g), control_of(flags)
    dc, carry = np.empty_like(g), dlast.copy(order="C")
    _check(control, dc, (), (carry,))
    _share(dc, 1 + pairs, SCAN, lambda p0, p1: _scan_back(pairs, a, step, row, g, carry, tuple(control), dc, p0, p1))
    return dc, carry


def factor_back(pairs: bool, start: Array, c: Array, dc: Array, flags: Flags) -> Array:
    """The cotangent of an a that is the same at all steps, of each sequence (B, S)."""
    start, c, dc, control = plain(start), plain(c), plain(dc), tuple(control_of(flags))
    _check(control, c, (dc,), (start,))
    da = np.zeros(start.shape)  # many steps are added up
    _share(c, 1 + pairs, SCAN, lambda p0, p1: _factor_back(pairs, start, c, dc, control, da, p0, p1))
    return da.astype(c.dtype)


def _check(
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


def _strided(a: Array, b: Array) -> tuple[Array, int, int]:
    """a as (1 or T, 1 or B, S), and how far apart its steps and its rows are: 0 where it is the same at all."""
    if a.ndim > 3 or any(n not in (1, m) for n, m in zip(a.shape[::-1], b.shape[::-1], strict=False)):
        raise ValueError(f"the factors of a scan have shape {a.shape}; expected {b.shape}, or what broadcasts to it")
    a = a.reshape((1,) * (3 - a.ndim) + a.shape)
    a = plain(np.broadcast_to(a, (*a.shape[:2], b.shape[2])))
    row = b.shape[2] if a.shape[1] > 1 else 0
    return a, a.shape[1] * a.shape[2] if a.shape[0] > 1 else 0, row


def _share(c: Array, halves: int, cost: float, work: Callable[[int, int], Any]) -> None:
    """Let threads work on ranges of places, counted over sequences and columns: of (T, B, S) there are B*S."""
    places = c.shape[1] * c.shape[2] // halves
    grains = -(-places // GRAIN)
    threads.share(lambda g0, g1: work(g0 * GRAIN, min(g1 * GRAIN, places)), grains, cost * c.size)


@inlined_kernel
def _part(p0, p1, row, size):
    """Which columns of a row a range of places has: the first, and how many."""
    first = max(p0 - row * size, 0)
    return first, min(p1 - row * size, size) - first


@plain_kernel
def _walk(kind, z, start, h_start, control, c, h, p0, p1):
    held, advance, restarts, restart = control
    steps, rows, size = c.shape
    apart, zeros, output = rows * size, np.zeros(size, c.dtype), len(h) > 0
    for t in range(steps):
        for row in range(p0 // size, (p1 + size - 1) // size):
            first, n = _part(p0, p1, row, size)
            at = t * apart + row * size + first
            old = address(start, at) if t == 0 else address(c, at - apart)
            again = restarts and restart[t, row] != 0
            if again:
                old = address(zeros, first)
            if held and advance[t, row] == 0:
                copy(address(c, at), old, n)
                if output:
                    h_old = address(h_start, at) if t == 0 else address(h, at - apart)
                    copy(address(h, at), address(zeros, first) if again else h_old, n)
                continue
            gates = address(z, (t * rows + row) * z.shape[2] + first)
            scan_gates.state(kind, gates, size, old, address(c, at), n)
            if output:
                scan_gates.output(kind, gates, size, address(c, at), address(h, at), n)


@plain_kernel
def _walk_back(kind, z, start, c, after, carry, h_after, h_carry, control, dz, p0, p1):
    held, advance, restarts, restart = control
    steps, rows, size = c.shape
    apart, wide, zeros, output = rows * size, z.shape[2], np.zeros(size, c.dtype), len(h_after) > 0
    for t in range(steps - 1, -1, -1):
        for row in range(p0 // size, (p1 + size - 1) // size):
            first, n = _part(p0, p1, row, size)
            at, gates = t * apart + row * size + first, (t * rows + row) * wide + first
            d, dh = address(carry, row * size + first), address(h_carry, row * size + first)
            add(d, address(after, at), n)
            if output:
                add(dh, address(h_after, at), n)
            again = restarts and restart[t, row] != 0
            if held and advance[t, row] == 0:
                for block in range(wide // size):
                    clear(address(dz, gates + block * size), n)
            else:
                old = address(start, at) if t == 0 else address(c, at - apart)
                if again:
                    old = address(zeros, first)
                if output:
                    scan_gates.output_back(kind, address(z, gates), size, address(c, at), dh, d, address(dz, gates), n)
                    clear(dh, n)
                scan_gates.state_back(kind, address(z, gates), size, old, d, address(dz, gates), n)
            if again:
                clear(d, n)
                if output:
                    clear(dh, n)


@plain_kernel
def _scan(pairs, a, a_step, a_row, b, start, control, c, p0, p1):
    held, advance, restarts, restart = control
    steps, rows, whole = c.shape
    size, apart, zeros = whole // 2 if pairs else whole, rows * whole, np.zeros(whole, c.dtype)
    for t in range(steps):
        for row in range(p0 // size, (p1 + size - 1) // size):
            first, n = _part(p0, p1, row, size)
            at = t * apart + row * whole + first
            new, old = address(c, at), address(start, at) if t == 0 else address(c, at - apart)
            if restarts and restart[t, row] != 0:
                old = address(zeros, first)
            factor, term = address(a, t * a_step + row * a_row + first), address(b, at)
            if held and advance[t, row] == 0:
                copy(new, old, n)
                if pairs:
                    copy(offset(new, size), offset(old, size), n)
            elif pairs:
                _complex(factor, offset(factor, size), old, offset(old, size), term, new, n)
                _complex_imaginary(
                    factor, offset(factor, size), old, offset(old, size), offset(term, size), offset(new, size), n
                )
            else:
                for j in range(n):
                    new[j] = factor[j] * old[j] + term[j]


@plain_kernel
def _scan_back(pairs, a, a_step, a_row, g, carry, control, dc, p0, p1):
    held, advance, restarts, restart = control
    steps, rows, whole = dc.shape
    size, apart = whole // 2 if pairs else whole, rows * whole
    for t in range(steps - 1, -1, -1):
        for row in range(p0 // size, (p1 + size - 1) // size):
            first, n = _part(p0, p1, row, size)
            at = t * apart + row * whole + first
            factor, total = address(a, t * a_step + row * a_row + first), address(dc, at)
            d = address(carry, row * whole + first)
            _sum(d, address(g, at), total, n)
            if pairs:
                _sum(offset(d, size), address(g, at + size), offset(total, size), n)
            again, stays = restarts and restart[t, row] != 0, held and advance[t, row] == 0
            if stays and not again:
                copy(d, total, n)
                if pairs:
                    copy(offset(d, size), offset(total, size), n)
                continue
            clear(d, n)
            if pairs:
                clear(offset(d, size), n)
            if not again:
                _add_back(pairs, factor, total, d, size, n)


@plain_kernel
def _factor_back(pairs, start, c, dc, control, da, p0, p1):
    held, advance, restarts, restart = control
    steps, rows, whole = c.shape
    size, apart = whole // 2 if pairs else whole, rows * whole
    for t in range(steps):
        for row in range(p0 // size, (p1 + size - 1) // size):
            if (held and advance[t, row] == 0) or (restarts and restart[t, row] != 0):
                continue
            first, n = _part(p0, p1, row, size)
            at = t * apart + row * whole + first
            old, d = address(start, at) if t == 0 else address(c, at - apart), address(dc, at)
            total = address(da, row * whole + first)
            _add_back(pairs, old, d, total, size, n)


@plain_kernel
def _add_back(pairs, a, d, total, size, n):
    """total += conj(a) d."""
    if pairs:
        _add_conjugate(a, offset(a, size), d, offset(d, size), total, n)
        _add_conjugate_imaginary(a, offset(a, size), d, offset(d, size), offset(total, size), n)
    else:
        for j in range(n):
            total[j] += a[j] * d[j]


@plain_kernel
def _add_conjugate(ar, ai, dr, di, total, n):
    for j in range(n):
        total[j] += ar[j] * dr[j] + ai[j] * di[j]


@plain_kernel
def _add_conjugate_imaginary(ar, ai, dr, di, total, n):
    for j in range(n):
        total[j] += ar[j] * di[j] - ai[j] * dr[j]


@plain_kernel
def _sum(d, g, total, n):
    for j in range(n):
        total[j] = d[j] + g[j]


@plain_kernel
def _complex(ar, ai, cr, ci, b, out, n):
    for j in range(n):
        out[j] = ar[j] * cr[j] - ai[j] * ci[j] + b[j]


@plain_kernel
def _complex_imaginary(ar, ai, cr, ci, b, out, n):
    for j in range(n):
        out[j] = ar[j] * ci[j] + ai[j] * cr[j] + b[j]
