"""A whole sequence in one compiled call, forward and back, for a share of its batch.

No thread waits for another between steps: each runs all steps of its own sequences b0 to b1. Shapes: x (T, B, I),
hs and cs (T, B, H), z (S, R, N) with N at least the columns of all gate blocks. Where z is kept for the way back, S = T
and R = B; otherwise z is scratch for one block of steps and one share. The input product is done for a block of steps
at a time, few enough that their pre-activations are still in the cache when their turn comes.
"""

from __future__ import annotations

import numpy as np

from . import gates
from .compiling import kernel
from .gates import GRU, LSTM, PEEPHOLE
from .intrinsics import address
from .product import multiply

FEW = 6  # with fewer rows than a tile has, the rows of the input product are steps instead of sequences


@kernel
def begin(here, old, restart, b0, b1):
    """The state a step starts from: the old one, or zero where a new sequence begins."""
    for b in range(b0, b1):
        if restart[b] == 0:
            here[b] = old[b]
        else:
            here[b] = 0


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
    """Run a cell over time. ``w_hn`` is the GRU's product for n alone, which stays apart from the sum."""
    steps, batch, inputs = x.shape
    size, columns, z_rows = hs.shape[2], z.shape[2], z.shape[1]
    rows, width = b1 - b0, w_ih.shape[2]
    first = b0 if keep else 0
    has_c = kind in (LSTM, PEEPHOLE)
    h_begin, c_begin = (
        np.zeros((batch if restarts else 0, size), hs.dtype),
        np.zeros((batch if restarts else 0, size), hs.dtype),
    )
    for start in range(0, steps, block):
        stop = min(steps, start + block)
        low = steps - stop if reverse else start
        z_low = low if keep else 0
        for k in range(stop - start):
            for b in range(rows):
                z[z_low + k, first + b] = bias
        if rows < FEW:
            for b in range(rows):
                multiply(
                    address(x, (low * batch + b0 + b) * inputs), 1, 0, stop - start, batch * inputs,
                    w_ih.shape[0], inputs, width, address(w_ih, 0),
                    address(z, (z_low * z_rows + first + b) * columns), 0, z_rows * columns,
                )  # fmt: skip
        else:
            multiply(
                address(x, (low * batch + b0) * inputs), stop - start, batch * inputs, rows, inputs,
                w_ih.shape[0], inputs, width, address(w_ih, 0),
                address(z, (z_low * z_rows + first) * columns), z_rows * columns, columns,
            )  # fmt: skip
        for k in range(start, stop):
            t = steps - 1 - k if reverse else k
            before = t + 1 if reverse else t - 1
            h_old, c_old = (h0, c0) if k == 0 else (hs[before], cs[before])
            if restarts:
                begin(h_begin, h_old, restart[t], b0, b1)
                if has_c:
                    begin(c_begin, c_old, restart[t], b0, b1)
                h_old, c_old = h_begin, c_begin
            at = (z_low + t - low) * z_rows + first
            multiply(
                address(h_old, b0 * size), 1, 0, rows, size,
                w_hh.shape[0], size, width, address(w_hh, 0), address(z, at * columns), 0, columns,
            )  # fmt: skip
            if kind == GRU:
                multiply(
                    address(h_old, b0 * size), 1, 0, rows, size,
                    w_hn.shape[0], size, width, address(w_hn, 0), address(z, at * columns + 3 * size), 0, columns,
                )  # fmt: skip
            here = advance[t] if held else advance[0]
            gates.forward(kind, keep, z[z_low + t - low], first, h_old, c_old, hs[t], cs[t], p, held, here, b0, b1)


@kernel
def backward(
    kind,
    reverse,
    w_hh,
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
    """The way back. dh and dc (B, H) hold the cotangents of the final state, and then those of the initial one."""
    steps, batch, size = hs.shape
    rows, width, columns = b1 - b0, w_hh.shape[2], w_hh.shape[0] * w_hh.shape[2]
    has_c = kind in (LSTM, PEEPHOLE)
    back = np.zeros((rows, columns), hs.dtype)  # dh, with the columns that the product needs
    for b in range(rows):
        back[b, :size] = dh[b0 + b]
    h_begin, c_begin = (
        np.zeros((batch if restarts else 0, size), hs.dtype),
        np.zeros((batch if restarts else 0, size), hs.dtype),
    )
    for k in range(steps - 1, -1, -1):
        t = steps - 1 - k if reverse else k
        before = t + 1 if reverse else t - 1
        h_old, c_old = (h0, c0) if k == 0 else (hs[before], cs[before])
        if restarts:
            begin(h_begin, h_old, restart[t], b0, b1)
            if has_c:
                begin(c_begin, c_old, restart[t], b0, b1)
            h_old, c_old = h_begin, c_begin
        for b in range(rows):
            if given_h:
                back[b, :size] += dhs[t, b0 + b]
            if given_c:
                dc[b0 + b] += dcs[t, b0 + b]
        here = advance[t] if held else advance[0]
        gates.backward(kind, z[t], h_old, c_old, hs[t], cs[t], p, back, dc, dzx[t], dzh[t], held, here, b0, b1)
        inner = dzh.shape[2]
        multiply(
            address(dzh, (t * batch + b0) * inner), 1, 0, rows, inner,
            w_hh.shape[0], inner, width, address(w_hh, 0), address(back, 0), 0, columns,
        )  # fmt: skip
        if restarts:
            for b in range(rows):
                if restart[t, b0 + b] != 0:
                    back[b] = 0
                    if has_c:
                        dc[b0 + b] = 0
    for b in range(rows):
        dh[b0 + b] = back[b, :size]


@kernel
def rows_times(a, w, c, first, last):
    """Rows first to last of C += A W, for A (T, B, K) as T*B rows, and W packed."""
    k = a.shape[2]
    multiply(
        address(a, first * k), 1, 0, last - first, k, w.shape[0], k, w.shape[2], address(w, 0),
        address(c, first * c.shape[1]), 0, c.shape[1],
    )  # fmt: skip
