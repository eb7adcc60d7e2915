"""A whole sequence in one compiled call, forward and back, for a share of its batch.

No thread waits for another between steps: each runs all steps of its own sequences b0 to b1. Shapes: x (T, B, I),
hs and cs (T, B, H), z (S, R, N) with N at least the columns of all gate blocks. Where z is kept for the way back, S = T
and R = B; otherwise z is scratch for one block of steps and one share. The input product is done for a block of steps
at a time, few enough that their pre-activations are still in the cache when their turn comes.
"""

from __future__ import annotations

import numpy as np

from ..calls import GRU, LSTM, PEEPHOLE, RESET_BEFORE
from . import gates
from .compiling import kernel
from .intrinsics import address, offset
from .product import multiply

FEW = 6  # with fewer rows than a tile has, the rows of the input product are steps instead of sequences


@kernel
def start(here, old, restart, rows, size):
    """The state a step starts from, in ``here``: the old one, or zero where a new sequence begins."""
    for b in range(rows):
        if restart[b] == 0:
            gates.copy(offset(here, b * size), offset(old, b * size), size)
        else:
            gates.clear(offset(here, b * size), size)


@kernel
def state_before(k, before, batch, size, b0, first, states):
    """Where the state before the k-th step lies: rows b0 on of the initial state, or of an earlier step's."""
    return address(first, b0 * size) if k == 0 else address(states, (before * batch + b0) * size)


@kernel
def forward(
    kind,
    reverse,
    x,
    w_ih,
    w_hh,
    w_hn,
    bias,
    p,
    h0,
    c0,
    hs,
    cs,
    z,
    keep,
    block,
    held,
    advance,
    restarts,
    restart,
    b0,
    b1,
):
    """Run a cell over time. ``w_hn`` is a GRU's product for n alone, which stays apart from the sum."""
    steps, batch, inputs = x.shape
    size, columns, z_rows = hs.shape[2], z.shape[2], z.shape[1]
    rows, has_c = b1 - b0, kind in (LSTM, PEEPHOLE)
    first = b0 if keep else 0
    h_start = np.empty((rows if restarts else 0, size), hs.dtype)
    c_start = np.empty_like(h_start)
    for begin in range(0, steps, block):
        end = min(steps, begin + block)
        low = steps - end if reverse else begin
        z_low = low if keep else 0
        for k in range(end - begin):
            for b in range(rows):
                gates.copy(address(z, ((z_low + k) * z_rows + first + b) * columns), address(bias, 0), columns)
        if rows < FEW:
            for b in range(rows):
                multiply(
                    address(x, (low * batch + b0 + b) * inputs), 1, 0, end - begin, batch * inputs,
                    address(w_ih, 0), inputs, w_ih.shape[0],
                    address(z, (z_low * z_rows + first + b) * columns), 0, z_rows * columns,
                )  # fmt: skip
        else:
            multiply(
                address(x, (low * batch + b0) * inputs), end - begin, batch * inputs, rows, inputs,
                address(w_ih, 0), inputs, w_ih.shape[0],
                address(z, (z_low * z_rows + first) * columns), z_rows * columns, columns,
            )  # fmt: skip
        for k in range(begin, end):
            t = steps - 1 - k if reverse else k
            before = t + 1 if reverse else t - 1
            h_old = state_before(k, before, batch, size, b0, h0, hs)
            c_old = state_before(k, before, batch, size, b0, c0, cs)
            here = address(advance, t * batch + b0)
            if restarts:
                where = address(restart, t * batch + b0)
                start(address(h_start, 0), h_old, where, rows, size)
                h_old = address(h_start, 0)
                if has_c:
                    start(address(c_start, 0), c_old, where, rows, size)
                    c_old = address(c_start, 0)
            z_here = address(z, ((z_low + t - low) * z_rows + first) * columns)
            multiply(h_old, 1, 0, rows, size, address(w_hh, 0), size, w_hh.shape[0], z_here, 0, columns)
            if kind == GRU:
                n = offset(z_here, 3 * size)
                if w_ih.shape[0] > 3 * size:  # the zeros that the input product added here are NaN where x is infinite
                    for b in range(rows):
                        gates.copy(offset(n, b * columns), address(bias, 3 * size), size)
                multiply(h_old, 1, 0, rows, size, address(w_hn, 0), size, w_hn.shape[0], n, 0, columns)
            elif kind == RESET_BEFORE:
                gates.reset(z_here, columns, h_old, size, held, here, rows)
                n, product = offset(z_here, 2 * size), offset(z_here, 3 * size)
                multiply(product, 1, 0, rows, columns, address(w_hn, 0), size, w_hn.shape[0], n, 0, columns)
            at = (t * batch + b0) * size
            gates.forward(
                kind, z_here, columns, h_old, c_old, address(hs, at), address(cs, at), address(p, 0), size,
                size, held, here, rows,
            )  # fmt: skip


@kernel
def backward(
    kind,
    reverse,
    w_hh,
    w_hn,
    p,
    h0,
    c0,
    hs,
    cs,
    z,
    dhs,
    dcs,
    dh,
    dc,
    dzx,
    dzh,
    given_h,
    given_c,
    held,
    advance,
    restarts,
    restart,
    b0,
    b1,
):
    """The way back. dh and dc (B, H) hold the cotangents of the final state, and then those of the initial one.

    ``w_hn`` is the product for n alone where it goes back apart from the others, before the reset gate.
    """
    steps, batch, size = hs.shape
    rows, wide, columns, inner = b1 - b0, w_hh.shape[0], z.shape[2], dzh.shape[2]
    has_c = kind in (LSTM, PEEPHOLE)
    back = np.zeros((rows, wide), hs.dtype)  # dh, with the columns that the product needs
    drh = np.zeros((rows if kind == RESET_BEFORE else 0, wide), hs.dtype)
    for b in range(rows):
        gates.copy(address(back, b * wide), address(dh, (b0 + b) * size), size)
    h_start = np.empty((rows if restarts else 0, size), hs.dtype)
    c_start = np.empty_like(h_start)
    for k in range(steps - 1, -1, -1):
        t = steps - 1 - k if reverse else k
        before = t + 1 if reverse else t - 1
        h_old = state_before(k, before, batch, size, b0, h0, hs)
        c_old = state_before(k, before, batch, size, b0, c0, cs)
        here, where = address(advance, t * batch + b0), address(restart, t * batch + b0)
        if restarts:
            start(address(h_start, 0), h_old, where, rows, size)
            h_old = address(h_start, 0)
            if has_c:
                start(address(c_start, 0), c_old, where, rows, size)
                c_old = address(c_start, 0)
        at = (t * batch + b0) * size
        for b in range(rows):
            if given_h:
                gates.add(address(back, b * wide), address(dhs, at + b * size), size)
            if given_c:
                gates.add(address(dc, (b0 + b) * size), address(dcs, at + b * size), size)
        z_here, dx = address(z, (t * batch + b0) * columns), address(dzx, (t * batch + b0) * inner)
        d = address(dzh, (t * batch + b0) * inner)
        gates.backward(
            kind, z_here, columns, h_old, c_old, address(hs, at), address(cs, at), address(p, 0),
            address(back, 0), wide, address(dc, b0 * size), dx, d, inner, size, held, here, rows,
        )  # fmt: skip
        if kind == RESET_BEFORE:
            gates.clear(address(drh, 0), rows * wide)
            multiply(
                offset(dx, 2 * size), 1, 0, rows, inner, address(w_hn, 0), size, wide, address(drh, 0), 0, wide
            )  # fmt: skip
            gates.reset_back(
                z_here, columns, h_old, address(drh, 0), address(back, 0), wide, dx, inner, size, held, here, rows
            )
            multiply(d, 1, 0, rows, inner, address(w_hh, 0), 2 * size, wide, address(back, 0), 0, wide)
        else:
            multiply(d, 1, 0, rows, inner, address(w_hh, 0), inner, wide, address(back, 0), 0, wide)
        if restarts:
            for b in range(rows):
                if where[b] != 0:
                    gates.clear(address(back, b * wide), wide)
                    if has_c:
                        gates.clear(address(dc, (b0 + b) * size), size)
    for b in range(rows):
        gates.copy(address(dh, (b0 + b) * size), address(back, b * wide), size)


@kernel
def rows_times(a, w, c, first, last):
    """Rows first to last of C += A W, for A (T, B, K) as T*B rows, and W packed."""
    k = a.shape[2]
    multiply(
        address(a, first * k), 1, 0, last - first, k, address(w, 0), k, w.shape[0],
        address(c, first * c.shape[1]), 0, c.shape[1],
    )  # fmt: skip
