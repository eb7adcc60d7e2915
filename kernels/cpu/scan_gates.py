"""The cells that are linear in their state on rows of gates, in blocks of S columns, forward and back.

    MINGRU z h    MINLSTM f i h    SRU c f r s    QRNN z f o

Gates and coefficients are computed where they are used, and again on the way back. Each loop is of few arrays: with
more, LLVM gives up vectorising.
"""

from __future__ import annotations

import numba
import numpy as np

from ..kinds import MINGRU, MINGRU_LOG, MINLSTM, MINLSTM_LOG, SRU
from .activations import exp, sigmoid, tanh
from .compiling import PLAIN, plain_kernel
from .intrinsics import offset

# Inlined before types are known: only so does LLVM see whole loops, and vectorise them.
inlined = numba.njit(inline="always", **PLAIN)
HALF, ONE, ZERO = np.float32(0.5), np.int8(1), np.int8(0)


@inlined
def _positive(v):
    """g: v + 1/2 for v >= 0, else sigmoid(v)."""
    return v + HALF if v >= ZERO else sigmoid(v)


@inlined
def _positive_back(v, dg):
    s = sigmoid(v)
    return dg if v >= ZERO else dg * s * (ONE - s)


@inlined
def _share_of(f, i):
    """sigmoid(f) / (sigmoid(f) + sigmoid(i)), each sigmoid being exp(min(z, 0)) / (1 + exp(-|z|))."""
    ratio = (ONE + exp(-abs(f))) / (ONE + exp(-abs(i)))
    return ONE / (ONE + ratio * exp((i if i < ZERO else ZERO) - (f if f < ZERO else ZERO)))


@plain_kernel
def state(kind, z, size, old, new, n):
    z1, z2 = offset(z, size), offset(z, 2 * size)
    if kind == MINGRU:
        for j in range(n):
            u = sigmoid(z[j])
            new[j] = u * z1[j] + (ONE - u) * old[j]
    elif kind == MINGRU_LOG:
        for j in range(n):
            u = sigmoid(z[j])
            new[j] = u * _positive(z1[j]) + (ONE - u) * old[j]
    elif kind == MINLSTM:
        for j in range(n):
            f = _share_of(z[j], z1[j])
            new[j] = f * old[j] + (ONE - f) * z2[j]
    elif kind == MINLSTM_LOG:
        for j in range(n):
            f = _share_of(z[j], z1[j])
            new[j] = f * old[j] + (ONE - f) * _positive(z2[j])
    elif kind == SRU:
        for j in range(n):
            f = sigmoid(z1[j])
            new[j] = f * old[j] + (ONE - f) * z[j]
    else:
        for j in range(n):
            f = sigmoid(z1[j])
            new[j] = f * old[j] + (ONE - f) * tanh(z[j])


@plain_kernel
def output(kind, z, size, c, h, n):
    z2, z3 = offset(z, 2 * size), offset(z, 3 * size)
    if kind == SRU:
        for j in range(n):
            r = sigmoid(z2[j])
            h[j] = r * c[j] + (ONE - r) * z3[j]
    else:
        for j in range(n):
            h[j] = sigmoid(z2[j]) * c[j]


@plain_kernel
def output_back(kind, z, size, c, dh, d, dz, n):
    """dz of the output's gates; d, the cotangent of c, gets what comes of dh."""
    z2, z3, d2, d3 = offset(z, 2 * size), offset(z, 3 * size), offset(dz, 2 * size), offset(dz, 3 * size)
    for j in range(n):
        d2[j] = sigmoid(z2[j])
    for j in range(n):
        d[j] += dh[j] * d2[j]
    if kind == SRU:
        for j in range(n):
            d3[j] = dh[j] * (ONE - d2[j])
        for j in range(n):
            d2[j] *= dh[j] * (c[j] - z3[j]) * (ONE - d2[j])
    else:
        for j in range(n):
            d2[j] *= dh[j] * c[j] * (ONE - d2[j])


@plain_kernel
def state_back(kind, z, size, old, d, dz, n):
    """dz of the other gates; d, the cotangent of c', becomes that of c."""
    z1, z2, d1, d2 = offset(z, size), offset(z, 2 * size), offset(dz, size), offset(dz, 2 * size)
    if kind in (MINGRU, MINGRU_LOG):
        for j in range(n):
            dz[j] = sigmoid(z[j])
        if kind == MINGRU_LOG:
            for j in range(n):
                d1[j] = _positive_back(z1[j], d[j] * dz[j])
            _forget_positive_back(dz, old, z1, d, n)
        else:
            for j in range(n):
                d1[j] = d[j] * dz[j]
            _forget_back(dz, old, z1, d, n)
    elif kind in (MINLSTM, MINLSTM_LOG):
        for j in range(n):
            dz[j] = _share_of(z1[j], z[j])  # of i: what h loses
        if kind == MINLSTM_LOG:
            for j in range(n):
                d2[j] = _positive_back(z2[j], d[j] * dz[j])
            _forget_positive_back(dz, old, z2, d, n)
        else:
            for j in range(n):
                d2[j] = d[j] * dz[j]
            _forget_back(dz, old, z2, d, n)
        for j in range(n):
            d1[j] = dz[j] * sigmoid(-z1[j])
        for j in range(n):
            dz[j] *= -sigmoid(-z[j])
    elif kind == SRU:
        for j in range(n):
            d1[j] = sigmoid(-z1[j])
        for j in range(n):
            dz[j] = d[j] * d1[j]
        _forget_back(d1, old, z, d, n)
        for j in range(n):
            d1[j] = -d1[j]
    else:
        for j in range(n):
            dz[j] = tanh(z[j])
        for j in range(n):
            d1[j] = sigmoid(-z1[j])
        for j in range(n):
            share, g = d1[j], dz[j]
            d1[j] = d[j] * (old[j] - g) * share * (ONE - share)
            dz[j] = d[j] * share * (ONE - g * g)
            d[j] *= ONE - share


@plain_kernel
def _forget_back(u, old, v, d, n):
    """For c' = c + u (v - c), u being sigmoid(k): u becomes dk, and d, the cotangent of c', that of c."""
    for j in range(n):
        share = u[j]
        u[j] = d[j] * (v[j] - old[j]) * share * (ONE - share)
        d[j] *= ONE - share


@plain_kernel
def _forget_positive_back(u, old, v, d, n):
    """The same for c' = c + u (g(v) - c)."""
    for j in range(n):
        share = u[j]
        u[j] = d[j] * (_positive(v[j]) - old[j]) * share * (ONE - share)
        d[j] *= ONE - share
