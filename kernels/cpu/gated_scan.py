"""Scans over time of cells that are linear in their state, whose coefficients are made of gates where they are used.

That is what makes them fast. A kind of kinds.LINEAR has its gates in z (T, B, G*S); scan_gates.py has its equations.
"""

from __future__ import annotations

import numpy as np

from ..kinds import LINEAR, Flags
from . import scan_gates
from .arguments import control_of
from .compiling import plain_kernel
from .intrinsics import address
from .product import Array, plain
from .rows import add, clear, copy
from .scan_shares import check, columns_of, share

STEP = 40.0  # operations that an element counts for


def forward(kind: int, z: Array, start: Array, h_start: Array | None, flags: Flags) -> tuple[Array | None, Array]:
    """h, of a kind that has an output beside its state, and c, after every step.

    ``h_start`` is what h is at steps that are held before any other.
    """
    z, start, control = plain(z), plain(start), control_of(flags)
    c = np.empty((*z.shape[:2], start.shape[-1]), z.dtype)
    h, before = (np.empty_like(c), plain(h_start)) if h_start is not None else (c[:0], start[:0])
    check(control, c, (), (start,) if h_start is None else (start, before), (z, LINEAR[kind].gates))
    share(c, 1, STEP, lambda p0, p1: _walk(kind, z, start, before, tuple(control), c, h, p0, p1))
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
    check(control, c, every, last, (z, LINEAR[kind].gates))

    def work(p0: int, p1: int) -> None:
        _walk_back(kind, z, start, c, after, carry, h_after, h_carry, control, dz, p0, p1)

    share(c, 1, STEP, work)
    return dz, None if dh is None else h_carry, carry


@plain_kernel
def _walk(kind, z, start, h_start, control, c, h, p0, p1):
    held, advance, restarts, restart = control
    steps, rows, size = c.shape
    apart, zeros, output = rows * size, np.zeros(size, c.dtype), len(h) > 0
    for t in range(steps):
        for row in range(p0 // size, (p1 + size - 1) // size):
            first, n = columns_of(p0, p1, row, size)
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
            first, n = columns_of(p0, p1, row, size)
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
