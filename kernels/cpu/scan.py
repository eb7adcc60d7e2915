"""Recurrences that are linear in their state, c' = a c + b element by element, of coefficients that are given.

Complex numbers, ``pairs``, have their real parts in the first half of the columns. scan_shares.py says how work is
shared, and what holds for all scans.
"""

from __future__ import annotations

import numpy as np

from ..kinds import Flags
from .arguments import control_of
from .compiling import plain_kernel
from .intrinsics import address, offset
from .product import Array, plain
from .rows import clear, copy
from .scan_shares import check, columns_of, share

SCAN = 6.0  # operations that an element counts for


def scan(pairs: bool, a: Array, b: Array, start: Array, flags: Flags) -> Array:
    """c after every step; a broadcasts to b (T, B, S)."""
    b, start, (a, step, row), control = plain(b), plain(start), _strided(a, b), control_of(flags)
    c = np.empty_like(b)
    check(control, c, (), (start,))
    share(c, 1 + pairs, SCAN, lambda p0, p1: _scan(pairs, a, step, row, b, start, tuple(control), c, p0, p1))
    return c


def scan_back(pairs: bool, a: Array, g: Array, dlast: Array, flags: Flags) -> tuple[Array, Array]:
    """The complete cotangents of c after every step, and that before all, from those from outside."""
    g, (a, step, row), control = plain(g), _strided(a, g), control_of(flags)
    dc, carry = np.empty_like(g), dlast.copy(order="C")
    check(control, dc, (), (carry,))
    share(dc, 1 + pairs, SCAN, lambda p0, p1: _scan_back(pairs, a, step, row, g, carry, tuple(control), dc, p0, p1))
    return dc, carry


def factor_back(pairs: bool, start: Array, c: Array, dc: Array, flags: Flags) -> Array:
    """The cotangent of an a that is the same at all steps, of each sequence (B, S)."""
    start, c, dc, control = plain(start), plain(c), plain(dc), tuple(control_of(flags))
    check(control, c, (dc,), (start,))
    da = np.zeros(start.shape)  # many steps are added up
    share(c, 1 + pairs, SCAN, lambda p0, p1: _factor_back(pairs, start, c, dc, control, da, p0, p1))
    return da.astype(c.dtype)


def _strided(a: Array, b: Array) -> tuple[Array, int, int]:
    """a as (1 or T, 1 or B, S), and how far apart its steps and its rows are: 0 where it is the same at all."""
    if a.ndim > 3 or any(n not in (1, m) for n, m in zip(a.shape[::-1], b.shape[::-1], strict=False)):
        raise ValueError(f"the factors of a scan have shape {a.shape}; expected {b.shape}, or what broadcasts to it")
    a = a.reshape((1,) * (3 - a.ndim) + a.shape)
    a = plain(np.broadcast_to(a, (*a.shape[:2], b.shape[2])))
    row = b.shape[2] if a.shape[1] > 1 else 0
    return a, a.shape[1] * a.shape[2] if a.shape[0] > 1 else 0, row


@plain_kernel
def _scan(pairs, a, a_step, a_row, b, start, control, c, p0, p1):
    held, advance, restarts, restart = control
    steps, rows, whole = c.shape
    size, apart, zeros = whole // 2 if pairs else whole, rows * whole, np.zeros(whole, c.dtype)
    for t in range(steps):
        for row in range(p0 // size, (p1 + size - 1) // size):
            first, n = columns_of(p0, p1, row, size)
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
            first, n = columns_of(p0, p1, row, size)
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
            first, n = columns_of(p0, p1, row, size)
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
