"""The cells' equations on rows of pre-activations, forward and back.

Everything is in place: rows of z hold pre-activations, in blocks of H columns, and hold activations afterwards, where
a way back needs them. Blocks by kind of cell, with H-wide columns in this order:

    TANH, RELU     z                     GRU            r z n and the product with h for n
    LSTM, PEEPHOLE i f g o               RESET_BEFORE   r z n and r h, whose product is added to n

A row whose sequence is held at this step (``advance`` 0) keeps its state. Arrays come as addresses of the first row of
a share of the batch, since a slice of a Numba array counts references, which here would cost more than the arithmetic.
"""

from __future__ import annotations

from .activations import sigmoid, tanh
from .compiling import kernel
from .intrinsics import offset, one_like

TANH, RELU, LSTM, PEEPHOLE, GRU, RESET_BEFORE = range(6)
BLOCKS = (1, 1, 4, 4, 4, 4)


@kernel
def copy(target, source, size):
    """target[:size] = source[:size]."""
    for j in range(size):
        target[j] = source[j]


@kernel
def clear(target, size):
    """target[:size] = 0."""
    for j in range(size):
        target[j] = 0


@kernel
def add(target, source, size):
    """target[:size] += source[:size]."""
    for j in range(size):
        target[j] += source[j]


@kernel
def forward(kind, z, columns, h_old, c_old, h, c, p, stride, size, held, advance, rows):
    """One step of ``size`` units. Rows of z are ``columns`` apart; those of states, and the blocks of z, ``stride``."""
    for b in range(rows):
        at = b * stride
        if held and advance[b] == 0:
            copy(offset(h, at), offset(h_old, at), size)
            if kind in (LSTM, PEEPHOLE):
                copy(offset(c, at), offset(c_old, at), size)
            continue
        z0 = offset(z, b * columns)
        z1, z2, z3 = offset(z0, stride), offset(z0, 2 * stride), offset(z0, 3 * stride)
        if kind == LSTM:
            _lstm(z0, z1, z2, z3, offset(c_old, at), offset(c, at), offset(h, at), size)
        elif kind == GRU:
            _gru(z0, z1, z2, z3, offset(h_old, at), offset(h, at), size)
        elif kind == PEEPHOLE:
            _peephole(z0, z1, z2, z3, p, stride, offset(c_old, at), offset(c, at), offset(h, at), size)
        elif kind == RESET_BEFORE:
            _interpolate(z1, z2, offset(h_old, at), offset(h, at), size)
        elif kind == TANH:
            _tanh(z0, offset(h, at), size)
        else:
            _relu(z0, offset(h, at), size)


@kernel
def _tanh(z, h, size):
    for j in range(size):
        h[j] = tanh(z[j])


@kernel
def _relu(z, h, size):
    for j in range(size):
        zero = z[j] - z[j] if z[j] <= 0 else z[j]  # written so that NaN passes
        h[j] = zero


@kernel
def _lstm(i, f, g, o, c_old, c, h, size):
    for j in range(size):
        ij, fj, gj = sigmoid(i[j]), sigmoid(f[j]), tanh(g[j])
        c[j] = fj * c_old[j] + ij * gj
        i[j], f[j], g[j] = ij, fj, gj
    for j in range(size):  # two loops of few arrays each: with more, LLVM gives up vectorising
        oj = sigmoid(o[j])
        h[j] = oj * tanh(c[j])
        o[j] = oj


@kernel
def _peephole(i, f, g, o, p, stride, c_old, c, h, size):
    pi, pf, po = p, offset(p, stride), offset(p, 2 * stride)
    for j in range(size):
        old = c_old[j]
        ij, fj, gj = sigmoid(i[j] + pi[j] * old), sigmoid(f[j] + pf[j] * old), tanh(g[j])
        c[j] = fj * old + ij * gj
        i[j], f[j], g[j] = ij, fj, gj
    for j in range(size):  # two loops of few arrays each: with more, LLVM gives up vectorising
        oj = sigmoid(o[j] + po[j] * c[j])
        h[j] = oj * tanh(c[j])
        o[j] = oj


@kernel
def _gru(r, z, n, m, h_old, h, size):
    for j in range(size):
        r[j] = sigmoid(r[j])
        n[j] = tanh(n[j] + r[j] * m[j])
    for j in range(size):
        zj = sigmoid(z[j])
        z[j] = zj
        h[j] = n[j] + zj * (h_old[j] - n[j])


@kernel
def reset(z, columns, h_old, size, held, advance, rows):
    """RESET_BEFORE between its two products: r and z, and r h where the second product finds it."""
    for b in range(rows):
        r, old = offset(z, b * columns), offset(h_old, b * size)
        update, product = offset(r, size), offset(r, 3 * size)
        if held and advance[b] == 0:
            clear(product, size)  # the product for the weights' gradient sees these rows
            continue
        for j in range(size):
            rj = sigmoid(r[j])
            r[j], update[j] = rj, sigmoid(update[j])
            product[j] = rj * old[j]


@kernel
def _interpolate(z, n, h_old, h, size):
    for j in range(size):
        nj = tanh(n[j])
        n[j] = nj
        h[j] = nj + z[j] * (h_old[j] - nj)


@kernel
def backward(
    kind, z, columns, h_old, c_old, h, c, p, dh, dh_columns, dc, dzx, dzh, gates, size, held, advance, rows
):  # fmt: skip
    """One step back.

    Rows of dh (``dh_columns`` apart) and dc hold the cotangents of the new state, and hold those of the old state
    afterwards, but for what comes through products. Rows of dzx, and of dzh for a GRU, both ``gates`` wide, get those
    of the pre-activations.
    """
    for b in range(rows):
        dx, dx_h = offset(dzx, b * gates), offset(dzh, b * gates)
        if held and advance[b] == 0:
            clear(dx, gates)
            if kind == GRU:
                clear(dx_h, gates)
            continue
        at, back = b * size, offset(dh, b * dh_columns)
        z0 = offset(z, b * columns)
        z1, z2, z3 = offset(z0, size), offset(z0, 2 * size), offset(z0, 3 * size)
        d1, d2, d3 = offset(dx, size), offset(dx, 2 * size), offset(dx, 3 * size)
        if kind in (LSTM, PEEPHOLE):
            dcell = offset(dc, at)
            _output_back(z3, offset(c, at), back, dcell, d3, size)
            if kind == PEEPHOLE:
                _add_scaled(dcell, d3, offset(p, 2 * size), size)
            _cell_back(z0, z1, z2, offset(c_old, at), dcell, dx, d1, d2, size)
            if kind == PEEPHOLE:
                _add_scaled(dcell, dx, p, size)
                _add_scaled(dcell, d1, offset(p, size), size)
        elif kind == GRU:
            _gru_back(z0, z1, z2, z3, offset(h_old, at), back, dx, d1, d2, size)
            copy(dx_h, dx, 2 * size)
            _scaled(offset(dx_h, 2 * size), d2, z0, size)
        elif kind == RESET_BEFORE:
            _interpolate_back(z1, z2, offset(h_old, at), back, d1, d2, size)
        elif kind == TANH:
            _tanh_back(offset(h, at), back, dx, size)
        else:
            _relu_back(offset(h, at), back, dx, size)


@kernel
def _tanh_back(h, dh, dz, size):
    for j in range(size):
        dz[j] = dh[j] * (one_like(h[j]) - h[j] * h[j])
        dh[j] = 0


@kernel
def _relu_back(h, dh, dz, size):
    for j in range(size):
        passed = dh[j] - dh[j] if h[j] <= 0 else dh[j]
        dz[j] = passed
        dh[j] = 0


@kernel
def _output_back(o, c, dh, dc, do, size):
    for j in range(size):
        t = tanh(c[j])
        one = one_like(t)
        do[j] = dh[j] * t * o[j] * (one - o[j])
        dc[j] += dh[j] * o[j] * (one - t * t)
        dh[j] = 0


@kernel
def _cell_back(i, f, g, c_old, dc, di, df, dg, size):
    for j in range(size):
        one = one_like(dc[j])
        di[j] = dc[j] * g[j] * i[j] * (one - i[j])
        dg[j] = dc[j] * i[j] * (one - g[j] * g[j])
    for j in range(size):
        df[j] = dc[j] * c_old[j] * f[j] * (one_like(dc[j]) - f[j])
        dc[j] *= f[j]


@kernel
def _add_scaled(dc, dz, p, size):
    for j in range(size):
        dc[j] += dz[j] * p[j]


@kernel
def _scaled(target, source, factor, size):
    for j in range(size):
        target[j] = source[j] * factor[j]


@kernel
def _gru_back(r, u, n, m, h_old, dh, dr, du, dn, size):
    for j in range(size):
        d = dh[j]
        one = one_like(d)
        dnj = d * (one - u[j]) * (one - n[j] * n[j])
        du[j] = d * (h_old[j] - n[j]) * u[j] * (one - u[j])
        dr[j] = dnj * m[j] * r[j] * (one - r[j])
        dn[j] = dnj
        dh[j] = d * u[j]


@kernel
def _interpolate_back(u, n, h_old, dh, du, dn, size):
    for j in range(size):
        d = dh[j]
        one = one_like(d)
        dn[j] = d * (one - u[j]) * (one - n[j] * n[j])
        du[j] = d * (h_old[j] - n[j]) * u[j] * (one - u[j])
        dh[j] = d * u[j]


@kernel
def reset_back(z, columns, h_old, drh, dh, dh_columns, dzx, gates, size, held, advance, rows):
    """RESET_BEFORE between the two products of its way back: from the cotangent of r h to those of r and h."""
    for b in range(rows):
        if held and advance[b] == 0:
            continue  # backward has cleared dzx
        r, old, d = offset(z, b * columns), offset(h_old, b * size), offset(drh, b * dh_columns)
        dr, back = offset(dzx, b * gates), offset(dh, b * dh_columns)
        for j in range(size):
            dr[j] = d[j] * old[j] * r[j] * (one_like(d[j]) - r[j])
            back[j] += d[j] * r[j]
