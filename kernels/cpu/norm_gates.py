"""Cells with layer normalisation on rows of products, forward and back; as in gates.py.

The rows of gains and biases are those of norm_weights.step_rows, and those of ``sums``, to which the way back adds
their gradients, those of norm_weights.gradients.
"""

from __future__ import annotations

import numba

from .. import scalar_cells
from . import norms
from .activations import tanh
from .candidates import remix, update
from .compiling import OPTIONS, kernel
from .intrinsics import offset
from .lanes import loop_of
from .lstm_gates import cell_back
from .rows import add, clear

_cells = scalar_cells.build(numba.njit(inline="always", **OPTIONS), tanh)
lstm_state = _cells.lstm_state
_lanes = scalar_cells.build(lambda equation: equation, tanh)


def _output(zo, c, gain, bias, mean, scale):
    return _lanes.lstm_output(zo, (c - mean) * scale * gain + bias)


def _output_back(o, c, gain, bias, dh, mean, scale):
    """dzo, N(c), the cotangent of N(c) gain + bias; and what is summed of N(c)'s, and of that along N(c)."""
    y = (c - mean) * scale
    do, d = _lanes.lstm_output_back(o, y * gain + bias, dh)
    return do, y, d, d * gain, d * gain * y


def _cell_through(y, d, gain, dc, sum_gain, sum_bias, mean, along, scale):
    return dc + (d * gain - mean - y * along) * scale, sum_gain + d * y, sum_bias + d


def _candidate(zr, x, gain_x, bias_x, m, gain_m, bias_m):
    return _lanes.gru_candidate(zr, x * gain_x + bias_x, m * gain_m + bias_m)


def _candidate_back(r, m, gain_m, bias_m, dn):
    return _lanes.gru_candidate_back(r, m * gain_m + bias_m, dn)


_output_loop, _output_back_loop = loop_of(_output), loop_of(_output_back, sums=2)
_cell_back_loop = loop_of(_cell_through)
_candidate_loop, _candidate_back_loop = loop_of(_candidate), loop_of(_candidate_back)


@kernel
def norm_lstm(x, rows, mask, c_old, c, h, size):
    """The products with x and h become N of themselves."""
    m, i, moments = offset(x, 4 * size), offset(x, 8 * size), offset(x, 12 * size)
    f, g, o = offset(i, size), offset(i, 2 * size), offset(i, 3 * size)
    moments[0], moments[1] = norms.meet(x, m, rows, offset(rows, 4 * size), offset(rows, 8 * size), i, 4 * size)
    for j in range(size):
        i[j], f[j], g[j], c[j] = lstm_state(i[j], f[j], g[j], c_old[j])
    if mask is not None:
        remix(i, f, g, mask, c_old, c, size)
    mean, scale = norms.moments(c, size)
    moments[2], moments[3] = mean, scale
    _output_loop((o, c, offset(rows, 12 * size), offset(rows, 13 * size)), (o, h), (mean, scale), size)


@kernel
def norm_gru(x, rows, mask, h_old, h, size):
    m, r, moments = offset(x, 3 * size), offset(x, 6 * size), offset(x, 9 * size)
    z, n, x_n, m_n = offset(r, size), offset(r, 2 * size), offset(x, 2 * size), offset(m, 2 * size)
    moments[0], moments[2] = norms.meet(x, m, rows, offset(rows, 3 * size), offset(rows, 6 * size), r, 2 * size)
    moments[1], moments[3] = norms.unit(x_n, size), norms.unit(m_n, size)
    of_x, of_m = offset(rows, 2 * size), offset(rows, 5 * size)
    _candidate_loop(
        (r, x_n, of_x, offset(rows, 8 * size), m_n, of_m, offset(rows, 9 * size)), (r, n), (), size
    )  # fmt: skip
    update(z, n, mask, h_old, h, size)


@kernel
def norm_lstm_back(x, rows, mask, c_old, c, dh, dc, dz, dm, sums, size):
    """To the cotangents of both products, from those of the state."""
    m, z, moments = offset(x, 4 * size), offset(x, 8 * size), offset(x, 12 * size)
    f, g, o = offset(z, size), offset(z, 2 * size), offset(z, 3 * size)
    df, dg, do = offset(dz, size), offset(dz, 2 * size), offset(dz, 3 * size)
    gain, bias, sum_gain, sum_bias = (
        offset(rows, 12 * size), offset(rows, 13 * size), offset(sums, 12 * size), offset(sums, 13 * size)
    )  # fmt: skip
    y, d = dm, offset(dm, size)  # places that are free until their turn comes
    total, along = _output_back_loop((o, c, gain, bias, dh), (do, y, d), (moments[2], moments[3]), size)
    clear(dh, size)
    count = norms.number_like(x, size)
    _cell_back_loop(
        (y, d, gain, dc, sum_gain, sum_bias), (dc, sum_gain, sum_bias),
        (total / count, along / count, moments[3]), size,
    )  # fmt: skip
    cell_back(z, f, g, mask, c_old, dc, dz, df, dg, size)
    norms.meet_back(
        x, m, rows, offset(rows, 4 * size), moments[0], moments[1], dz, dz, dm, sums, offset(sums, 4 * size),
        offset(sums, 8 * size), 4 * size,
    )  # fmt: skip


@kernel
def norm_gru_back(x, rows, dz, dm, sums, size):
    """The same, from the cotangents of z and n."""
    m, r, moments = offset(x, 3 * size), offset(x, 6 * size), offset(x, 9 * size)
    x_n, m_n, dn, dm_n = offset(x, 2 * size), offset(m, 2 * size), offset(dz, 2 * size), offset(dm, 2 * size)
    own = offset(rows, 5 * size)
    _candidate_back_loop((r, m_n, own, offset(rows, 9 * size), dn), (dz, dm_n), (), size)
    add(offset(sums, 9 * size), dm_n, size)
    norms.meet_back(
        x, m, rows, offset(rows, 3 * size), moments[0], moments[2], dz, dz, dm, sums, offset(sums, 3 * size),
        offset(sums, 6 * size), 2 * size,
    )  # fmt: skip
    norms.meet_back(
        x_n, m_n, offset(rows, 2 * size), own, moments[1], moments[3], dn, dm_n, dm_n, offset(sums, 2 * size),
        offset(sums, 5 * size), offset(sums, 8 * size), size,
    )  # fmt: skip
