"""The cells' equations on rows of pre-activations, forward and back.

Everything is in place: rows of z hold pre-activations, in blocks of H columns, and hold activations afterwards, which
is what the way back needs. Blocks by kind of cell, with H-wide columns in this order:

    TANH, RELU   z                LSTM, PEEPHOLE   i f g o                GRU   r z n and the product with h for n

A row whose sequence is held at this step (``advance`` 0) keeps its state.
"""

from __future__ import annotations

from .activations import sigmoid, tanh
from .compiling import kernel

TANH, RELU, LSTM, PEEPHOLE, GRU = range(5)
BLOCKS = (1, 1, 4, 4, 4)


@kernel
def forward(kind, keep, z, first, h_old, c_old, h, c, p, held, advance, b0, b1):
    """One step for sequences b0 to b1; row ``first`` of z belongs to b0."""
    size = h.shape[1]
    for b in range(b0, b1):
        if held and advance[b] == 0:
            h[b] = h_old[b]
            if kind in (LSTM, PEEPHOLE):
                c[b] = c_old[b]
            continue
        row = z[first + b - b0]
        if kind == LSTM:
            _lstm(
                row[:size], row[size : 2 * size], row[2 * size : 3 * size], row[3 * size :], c_old[b], c[b], h[b], keep
            )
        elif kind == GRU:
            _gru(row[:size], row[size : 2 * size], row[2 * size : 3 * size], row[3 * size :], h_old[b], h[b])
        elif kind == PEEPHOLE:
            i, f, g, o = row[:size], row[size : 2 * size], row[2 * size : 3 * size], row[3 * size :]
            _peephole(i, f, g, o, p[0], p[1], p[2], c_old[b], c[b], h[b])
        elif kind == TANH:
            _tanh(row, h[b])
        else:
            _relu(row, h[b])


@kernel
def _tanh(z, h):
    for j in range(h.size):
        h[j] = tanh(z[j])


@kernel
def _relu(z, h):
    zero = h.dtype.type(0)
    for j in range(h.size):
        h[j] = zero if z[j] <= zero else z[j]  # written so that NaN passes


@kernel
def _elman_back(kind, h, dh, dz):
    zero, one = h.dtype.type(0), h.dtype.type(1)  # a plain 1 would turn float32 into float64
    if kind == TANH:
        for j in range(h.size):
            dz[j] = dh[j] * (one - h[j] * h[j])
    else:
        for j in range(h.size):
            dz[j] = zero if h[j] <= zero else dh[j]
    dh[:] = zero


@kernel
def _lstm(i, f, g, o, c_old, c, h, keep):
    for j in range(h.size):
        ij, fj, gj, oj = sigmoid(i[j]), sigmoid(f[j]), tanh(g[j]), sigmoid(o[j])
        cj = fj * c_old[j] + ij * gj
        c[j] = cj
        h[j] = oj * tanh(cj)
        if keep:  # where nothing goes back, writing them would cost up to a tenth
            i[j], f[j], g[j], o[j] = ij, fj, gj, oj


@kernel
def _peephole(i, f, g, o, pi, pf, po, c_old, c, h):
    for j in range(h.size):
        old = c_old[j]
        ij, fj, gj = sigmoid(i[j] + pi[j] * old), sigmoid(f[j] + pf[j] * old), tanh(g[j])
        c[j] = fj * old + ij * gj
        i[j], f[j], g[j] = ij, fj, gj
    for j in range(h.size):  # two loops of few arrays each: with more, LLVM gives up vectorising
        oj = sigmoid(o[j] + po[j] * c[j])
        h[j] = oj * tanh(c[j])
        o[j] = oj


@kernel
def _gru(r, z, n, m, h_old, h):
    for j in range(h.size):
        rj, zj = sigmoid(r[j]), sigmoid(z[j])
        nj = tanh(n[j] + rj * m[j])
        h[j] = nj + zj * (h_old[j] - nj)
        r[j], z[j], n[j] = rj, zj, nj


@kernel
def backward(kind, z, h_old, c_old, h, c, p, dh, dc, dzx, dzh, held, advance, b0, b1):
    """One step back for sequences b0 to b1.

    Rows of dh (from row 0) and dc hold the cotangents of the new state, and hold those of the old state afterwards, but
    for what comes through the product with h. Rows of dzx, and of dzh for a GRU, get those of the pre-activations.
    """
    size = h.shape[1]
    for b in range(b0, b1):
        dx = dzx[b]
        if held and advance[b] == 0:
            dx[:] = 0
            if kind == GRU:
                dzh[b][:] = 0
            continue
        row, back = z[b], dh[b - b0]
        if kind in (LSTM, PEEPHOLE):
            i, f, g, o = row[:size], row[size : 2 * size], row[2 * size : 3 * size], row[3 * size : 4 * size]
            di, df, dg, do = dx[:size], dx[size : 2 * size], dx[2 * size : 3 * size], dx[3 * size :]
            _output_back(o, c[b], back, dc[b], do)
            if kind == PEEPHOLE:
                _add_scaled(dc[b], do, p[2])
            _cell_back(i, f, g, c_old[b], dc[b], di, df, dg)
            if kind == PEEPHOLE:
                _add_scaled(dc[b], di, p[0])
                _add_scaled(dc[b], df, p[1])
        elif kind == GRU:
            r, u, n, m = row[:size], row[size : 2 * size], row[2 * size : 3 * size], row[3 * size : 4 * size]
            _gru_back(r, u, n, m, h_old[b], back, dx[:size], dx[size : 2 * size], dx[2 * size :])
            _gru_product_back(dx, r, dzh[b], size)
        else:
            _elman_back(kind, h[b], back, dx)


@kernel
def _output_back(o, c, dh, dc, do):
    zero, one = c.dtype.type(0), c.dtype.type(1)
    for j in range(c.size):
        t = tanh(c[j])
        do[j] = dh[j] * t * o[j] * (one - o[j])
        dc[j] += dh[j] * o[j] * (one - t * t)
        dh[j] = zero


@kernel
def _cell_back(i, f, g, c_old, dc, di, df, dg):
    one = dc.dtype.type(1)
    for j in range(c_old.size):
        d = dc[j]
        di[j] = d * g[j] * i[j] * (one - i[j])
        df[j] = d * c_old[j] * f[j] * (one - f[j])
        dg[j] = d * i[j] * (one - g[j] * g[j])
        dc[j] = d * f[j]


@kernel
def _add_scaled(dc, dz, p):
    for j in range(dc.size):
        dc[j] += dz[j] * p[j]


@kernel
def _gru_back(r, u, n, m, h_old, dh, dr, du, dn):
    one = dh.dtype.type(1)
    for j in range(h_old.size):
        d = dh[j]
        dnj = d * (one - u[j]) * (one - n[j] * n[j])
        du[j] = d * (h_old[j] - n[j]) * u[j] * (one - u[j])
        dr[j] = dnj * m[j] * r[j] * (one - r[j])
        dn[j] = dnj
        dh[j] = d * u[j]


@kernel
def _gru_product_back(dx, r, dh, size):
    for j in range(2 * size):
        dh[j] = dx[j]
    for j in range(size):
        dh[2 * size + j] = dx[2 * size + j] * r[j]
