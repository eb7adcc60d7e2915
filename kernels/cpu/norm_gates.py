"""Cells with layer normalisation on rows of products, forward and back; as in gates.py.

The rows of gains and biases are those of norm_weights.step_rows. Each loop is of few arrays: with more, LLVM gives up
vectorising.
"""

from __future__ import annotations

import numba

from .. import scalar_cells
from . import norms
from .activations import tanh
from .candidates import remix, update
from .compiling import OPTIONS, kernel
from .intrinsics import offset
from .lstm_gates import cell_back
from .rows import add, copy

_cells = scalar_cells.build(numba.njit(inline="always", **OPTIONS), tanh)
lstm_state, lstm_output, lstm_output_back = _cells.lstm_state, _cells.lstm_output, _cells.lstm_output_back
gru_candidate, gru_candidate_back = _cells.gru_candidate, _cells.gru_candidate_back


@kernel
def norm_lstm(x, rows, mask, c_old, c, h, size):
    """The products with x and h become N of themselves; the rows are those of norm_weights.step_rows."""
    m, i, moments = offset(x, 4 * size), offset(x, 8 * size), offset(x, 12 * size)
    f, g, o = offset(i, size), offset(i, 2 * size), offset(i, 3 * size)
    moments[0], moments[1] = norms.unit(x, 4 * size), norms.unit(m, 4 * size)
    norms.affine_both(x, m, rows, offset(rows, 4 * size), offset(rows, 8 * size), i, 4 * size)
    for j in range(size):
        i[j], f[j], g[j], c[j] = lstm_state(i[j], f[j], g[j], c_old[j])
    if mask is not None:
        remix(i, f, g, mask, c_old, c, size)
    moments[2], moments[3] = norms.moments(c, size)
    _centred(c, moments[2], moments[3], offset(rows, 12 * size), offset(rows, 13 * size), h, size)
    for j in range(size):
        o[j], h[j] = lstm_output(o[j], h[j])


@kernel
def norm_gru(x, rows, mask, h_old, h, size):
    m, r, moments = offset(x, 3 * size), offset(x, 6 * size), offset(x, 9 * size)
    z, n, x_n, m_n = offset(r, size), offset(r, 2 * size), offset(x, 2 * size), offset(m, 2 * size)
    moments[0], moments[1] = norms.unit(x, 2 * size), norms.unit(x_n, size)
    moments[2], moments[3] = norms.unit(m, 2 * size), norms.unit(m_n, size)
    norms.affine_both(x, m, rows, offset(rows, 3 * size), offset(rows, 6 * size), r, 2 * size)
    norms.affine(x_n, offset(rows, 2 * size), offset(rows, 8 * size), n, size)
    norms.affine(m_n, offset(rows, 5 * size), offset(rows, 9 * size), h, size)
    for j in range(size):
        r[j], n[j] = gru_candidate(r[j], n[j], h[j])
    update(z, n, mask, h_old, h, size)


@kernel
def _centred(x, mean, scale, gain, bias, y, size):
    """y = N(x) gain + bias, from the moments of x."""
    for j in range(size):
        y[j] = (x[j] - mean) * scale * gain[j] + bias[j]


@kernel
def norm_lstm_back(x, rows, mask, c_old, c, dh, dc, dz, dm, ds, size):
    """What comes through the product with h: from dz to dm."""
    m, z, moments = offset(x, 4 * size), offset(x, 8 * size), offset(x, 12 * size)
    o, do, y, from_c = offset(z, 3 * size), offset(dz, 3 * size), dm, offset(dm, size)
    gain = offset(rows, 12 * size)
    for j in range(size):
        y[j] = (c[j] - moments[2]) * moments[3]
    norms.affine(y, gain, offset(rows, 13 * size), ds, size)
    for j in range(size):
        do[j], ds[j] = lstm_output_back(o[j], ds[j], dh[j])
        dh[j] = 0
    copy(from_c, ds, size)
    norms.unit_back(y, moments[3], gain, from_c, size)
    add(dc, from_c, size)
    f, g, df, dg = offset(z, size), offset(z, 2 * size), offset(dz, size), offset(dz, 2 * size)
    cell_back(z, f, g, mask, c_old, dc, dz, df, dg, size)
    copy(dm, dz, 4 * size)
    norms.unit_back(m, moments[1], offset(rows, 4 * size), dm, 4 * size)


@kernel
def norm_gru_back(x, rows, dz, dm, ds, size):
    """The same, of r, z and n; of dz that of r is yet to come. ds gets that of what the product for n becomes."""
    m, r, moments = offset(x, 3 * size), offset(x, 6 * size), offset(x, 9 * size)
    m_n, dm_n, dn, own = offset(m, 2 * size), offset(dm, 2 * size), offset(dz, 2 * size), offset(rows, 5 * size)
    norms.affine(m_n, own, offset(rows, 9 * size), ds, size)
    for j in range(size):
        dz[j], ds[j] = gru_candidate_back(r[j], ds[j], dn[j])
    copy(dm, dz, 2 * size)
    copy(dm_n, ds, size)
    norms.unit_back(m, moments[2], offset(rows, 3 * size), dm, 2 * size)
    norms.unit_back(m_n, moments[3], own, dm_n, size)
