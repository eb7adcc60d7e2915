"""One step of every cell for a whole batch, forward and back: what stands between two products.

Plain Python, which translate.py makes CUDA C++ of for a device, and which runs as it is in Numba's simulator. Arrays
come flat, and none of them twice. A thread has one unit j, and one sequence b after another.

    z (T, B, N)         pre-activations from x and, with KEEP, the activations afterwards; N columns in blocks of H:
                        TANH, RELU z    LSTM i f g o    GRU r z n and, with KEEP, the product with h for n
    zh (B, G*H)         the product with h
    bias (N)            what pre-activations start from; a GRU's always has the fourth block
    hs, cs (T+1, B, H)  all states, the initial one at index 0 or, with REVERSE, at T
    dh, dc (B, H)       the cotangents of the state after this step, and afterwards those of the state before it, but
                        for what comes through the product: that is added to dh before the next launch
    dhs, dcs (T, B, H)  the cotangents of the results, with GIVEN_H and GIVEN_C

A state of more parts has NAMEs, dNAME and dNAMEs of each, by the names in kinds.py, and further bits after GIVEN_C.
    flags (T, B)        with FLAGGED: HELD and FRESH
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from .. import scalar_cells
from ..scalar_cells import ZERO
from .launch import simulated

# What a launch is told. The last one has a bit for each part of the state, however many there are.
KEEP, REVERSE, RELU, PEEPHOLES, FLAGGED, LATER, GIVEN = (1 << k for k in range(7))
GIVEN_H, GIVEN_C = GIVEN, GIVEN << 1
# What is so at one step of one sequence: the state stays as it is; the state before it counts as zero.
HELD, FRESH = 1, 2

cuda: Any = importlib.import_module("numba.cuda") if simulated() else None  # nothing else runs this as Python

_cells = scalar_cells.build(lambda function: function, np.tanh)  # math.tanh would give float64
tanh, tanh_back, relu, relu_back = _cells.tanh, _cells.tanh_back, _cells.relu, _cells.relu_back
lstm, lstm_back, peephole, peephole_back = _cells.lstm, _cells.lstm_back, _cells.peephole, _cells.peephole_back
gru, gru_back = _cells.gru, _cells.gru_back


def flag_of(flags, row, options):
    """HELD and FRESH, in one sequence at one step."""
    return flags[row] if options & FLAGGED else 0


def before(t, options):
    """The index of the state before step t; that of the state after it is the other one of t and t + 1."""
    return t + 1 if options & REVERSE else t


def after(t, options):
    return t if options & REVERSE else t + 1


def summed(z, zh, bias, at, q, j, fresh):
    """A pre-activation from its three parts; zero state has no product, whatever was computed."""
    total = z[at] + bias[j]
    return total if fresh else total + zh[q]


def cotangent(dh, dhs, flags, t, b, batch, row, at, options):
    """dh of the state after step t: what came back from the step after it, and what the result got."""
    total = dh[at]
    if options & LATER:  # the step after this one may have begun a new sequence
        later = t - 1 if options & REVERSE else t + 1
        if flag_of(flags, later * batch + b, options) & FRESH:
            total = ZERO
    if options & GIVEN_H:
        total = total + dhs[row + at]
    return total


def elman_forward(z, zh, bias, hs, flags, t, batch, size, options):
    """TANH, and RELU with that option."""
    j = cuda.grid(1)
    if j < size:
        for b in range(cuda.blockIdx.y, batch, cuda.gridDim.y):
            row, q = t * batch + b, b * size + j
            old, now = before(t, options) * batch * size + q, after(t, options) * batch * size + q
            flag = flag_of(flags, row, options)
            if flag & HELD:
                hs[now] = ZERO if flag & FRESH else hs[old]
                continue
            total = summed(z, zh, bias, row * size + j, q, j, flag & FRESH)
            hs[now] = relu(total) if options & RELU else tanh(total)


def elman_backward(hs, dh, dz, dhs, flags, t, batch, size, options):
    """The way back of it. dz (T, B, H)."""
    j = cuda.grid(1)
    if j < size:
        for b in range(cuda.blockIdx.y, batch, cuda.gridDim.y):
            step, q = t * batch * size, b * size + j
            d = cotangent(dh, dhs, flags, t, b, batch, step, q, options)
            if flag_of(flags, t * batch + b, options) & HELD:
                dz[step + q], dh[q] = ZERO, d
                continue
            h = hs[after(t, options) * batch * size + q]
            dz[step + q] = relu_back(h, d) if options & RELU else tanh_back(h, d)
            dh[q] = ZERO


def lstm_forward(z, zh, bias, p, hs, cs, flags, t, batch, size, options):
    """LSTM, and PEEPHOLE with that option; p (3, H) are its peepholes."""
    j = cuda.grid(1)
    if j < size:
        for b in range(cuda.blockIdx.y, batch, cuda.gridDim.y):
            row, q = t * batch + b, b * size + j
            old, now = before(t, options) * batch * size + q, after(t, options) * batch * size + q
            flag = flag_of(flags, row, options)
            if flag & HELD:
                hs[now], cs[now] = ZERO if flag & FRESH else hs[old], ZERO if flag & FRESH else cs[old]
                continue
            fresh, at, zat = flag & FRESH, 4 * row * size + j, 4 * b * size + j
            c = ZERO if fresh else cs[old]
            zi = summed(z, zh, bias, at, zat, j, fresh)
            zf = summed(z, zh, bias, at + size, zat + size, j + size, fresh)
            zg = summed(z, zh, bias, at + 2 * size, zat + 2 * size, j + 2 * size, fresh)
            zo = summed(z, zh, bias, at + 3 * size, zat + 3 * size, j + 3 * size, fresh)
            if options & PEEPHOLES:
                i, f, g, o, c_new, h_new = peephole(zi, zf, zg, zo, c, p[j], p[j + size], p[j + 2 * size])
            else:
                i, f, g, o, c_new, h_new = lstm(zi, zf, zg, zo, c)
            hs[now], cs[now] = h_new, c_new
            if options & KEEP:
                z[at], z[at + size], z[at + 2 * size], z[at + 3 * size] = i, f, g, o


def lstm_backward(z, cs, p, dh, dc, dz, dhs, dcs, flags, t, batch, size, options):
    """The way back of it. dz (T, B, 4H)."""
    j = cuda.grid(1)
    if j < size:
        for b in range(cuda.blockIdx.y, batch, cuda.gridDim.y):
            row, step, q = t * batch + b, t * batch * size, b * size + j
            at, flag = 4 * row * size + j, flag_of(flags, row, options)
            d, d_c = cotangent(dh, dhs, flags, t, b, batch, step, q, options), dc[q]
            if options & GIVEN_C:
                d_c = d_c + dcs[step + q]
            if flag & HELD:
                dz[at], dz[at + size], dz[at + 2 * size], dz[at + 3 * size] = ZERO, ZERO, ZERO, ZERO
                dh[q], dc[q] = d, ZERO if flag & FRESH else d_c
                continue
            i, f, g, o = z[at], z[at + size], z[at + 2 * size], z[at + 3 * size]
            c = ZERO if flag & FRESH else cs[before(t, options) * batch * size + q]
            c_new = cs[after(t, options) * batch * size + q]
            if options & PEEPHOLES:
                pi, pf, po = p[j], p[j + size], p[j + 2 * size]
                dzi, dzf, dzg, dzo, d_c = peephole_back(i, f, g, o, c, c_new, d, d_c, pi, pf, po)
            else:
                dzi, dzf, dzg, dzo, d_c = lstm_back(i, f, g, o, c, c_new, d, d_c)
            dz[at], dz[at + size], dz[at + 2 * size], dz[at + 3 * size] = dzi, dzf, dzg, dzo
            dh[q], dc[q] = ZERO, ZERO if flag & FRESH else d_c


def gru_forward(z, zh, bias, hs, flags, t, batch, size, options):
    """GRU with the reset after the product."""
    j = cuda.grid(1)
    if j < size:
        for b in range(cuda.blockIdx.y, batch, cuda.gridDim.y):
            row, q = t * batch + b, b * size + j
            old, now = before(t, options) * batch * size + q, after(t, options) * batch * size + q
            flag = flag_of(flags, row, options)
            if flag & HELD:
                hs[now] = ZERO if flag & FRESH else hs[old]
                continue
            fresh, at, zat = flag & FRESH, (4 if options & KEEP else 3) * row * size + j, 3 * b * size + j
            h, m = ZERO if fresh else hs[old], bias[j + 3 * size]
            if not fresh:
                m = m + zh[zat + 2 * size]
            zr = summed(z, zh, bias, at, zat, j, fresh)
            zz = summed(z, zh, bias, at + size, zat + size, j + size, fresh)
            r, u, n, h_new = gru(zr, zz, z[at + 2 * size] + bias[j + 2 * size], m, h)
            hs[now] = h_new
            if options & KEEP:
                z[at], z[at + size], z[at + 2 * size], z[at + 3 * size] = r, u, n, m


def gru_backward(z, hs, dh, dzx, dzh, dhs, flags, t, batch, size, options):
    """The way back of it. dzx and dzh (T, B, 3H) differ in the block of n."""
    j = cuda.grid(1)
    if j < size:
        for b in range(cuda.blockIdx.y, batch, cuda.gridDim.y):
            row, step, q = t * batch + b, t * batch * size, b * size + j
            at, zat, flag = 3 * row * size + j, 4 * row * size + j, flag_of(flags, row, options)
            d = cotangent(dh, dhs, flags, t, b, batch, step, q, options)
            if flag & HELD:
                dzx[at], dzx[at + size], dzx[at + 2 * size] = ZERO, ZERO, ZERO
                dzh[at], dzh[at + size], dzh[at + 2 * size] = ZERO, ZERO, ZERO
                dh[q] = d
                continue
            r, u, n, m = z[zat], z[zat + size], z[zat + 2 * size], z[zat + 3 * size]
            h = ZERO if flag & FRESH else hs[before(t, options) * batch * size + q]
            dzr, dzz, dxn, dm, d = gru_back(r, u, n, m, h, d)
            dzx[at], dzx[at + size], dzx[at + 2 * size] = dzr, dzz, dxn
            dzh[at], dzh[at + size], dzh[at + 2 * size] = dzr, dzz, dm
            dh[q] = d


KERNELS = {
    kernel.__name__: kernel
    for kernel in (elman_forward, elman_backward, lstm_forward, lstm_backward, gru_forward, gru_backward)
}
"""By name. Parameters up to ``flags`` are arrays, of the call's type but for flags, which are bytes; then integers."""
