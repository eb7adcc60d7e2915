"""Cells with exponential gates on rows of pre-activations, forward and back; as in gates.py.

Each loop is of few arrays: with more, LLVM gives up vectorising.
"""

from __future__ import annotations

import numba

from .. import scalar_cells
from .activations import exp, log1p, sigmoid, tanh
from .compiling import OPTIONS, kernel
from .intrinsics import offset
from .rows import clear

_inlined = numba.njit(inline="always", **OPTIONS)
_cells, _plain = scalar_cells.build_exponential(_inlined, exp, log1p), scalar_cells.build(_inlined, tanh, sigmoid)
tanh_back = _plain.tanh_back
log_forget, slstm_scale, mix = _cells.log_forget, _cells.slstm_scale, _cells.mix
slstm_output, slstm_output_back = _cells.slstm_output, _cells.slstm_output_back
slstm_gates_back, slstm_scale_back = _cells.slstm_gates_back, _cells.slstm_scale_back


@kernel
def slstm(exponential, z, stride, old, new, size):
    """A step of one sequence; whether the forget gate is exponential too. Blocks of z are ``stride`` apart."""
    i, f, g, o, slope = z, offset(z, stride), offset(z, 2 * stride), offset(z, 3 * stride), offset(z, 4 * stride)
    h, c, n, m = new
    _, c_old, n_old, m_old = old
    if exponential:
        for j in range(size):
            f[j] += m_old[j]
            slope[j] = 1
    else:
        for j in range(size):
            log, slope[j] = log_forget(f[j])
            f[j] = log + m_old[j]
    for j in range(size):
        f[j], m[j] = slstm_scale(f[j], i[j], n_old[j])
    for j in range(size):
        i[j], f[j] = exp(i[j] - m[j]), exp(f[j] - m[j])
    for j in range(size):
        g[j] = tanh(g[j])
        c[j] = mix(i[j], f[j], g[j], c_old[j])
    for j in range(size):
        total = mix(i[j], f[j], 1, n_old[j])
        n[j] = 1 if total <= 1 else total  # written so that NaN passes
    for j in range(size):
        o[j] = sigmoid(o[j])
        h[j] = slstm_output(o[j], c[j], n[j])


@kernel
def slstm_back(z, old, new, dh, dstate, dz, size):
    """The way back of it; cotangents of the state are those of the new one, and then of the old one."""
    i, f, g, o, slope = z, offset(z, size), offset(z, 2 * size), offset(z, 3 * size), offset(z, 4 * size)
    di, df, dg, do = dz, offset(dz, size), offset(dz, 2 * size), offset(dz, 3 * size)
    _, dc, dn, dm = dstate
    h, _, n, _ = new
    _, c_old, n_old, _ = old
    for j in range(size):
        do[j], dn[j], dh[j] = slstm_output_back(o[j], h[j], n[j], dh[j], dn[j])
    for j in range(size):
        dc[j] += dh[j]
        dg[j] = tanh_back(g[j], dc[j] * i[j])
    clear(dh, size)
    for j in range(size):
        df[j], di[j] = slstm_gates_back(i[j], f[j], g[j], c_old[j], n_old[j], dc[j], dn[j])
    for j in range(size):
        dc[j] *= f[j]
        dn[j] *= f[j]
    for j in range(size):
        dm[j], di[j] = slstm_scale_back(i[j], n_old[j], df[j], di[j], dm[j])
    for j in range(size):
        df[j] = dm[j] * slope[j]
