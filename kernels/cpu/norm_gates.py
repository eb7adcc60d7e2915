"""Cells with layer normalisation on rows of products, forward and back; as in gates.py.

The rows of gains and biases are those of norm_weights.step_rows, and those of ``sums``, to which the way back adds
their gradients, those of norm_weights.gradients.
"""

from __future__ import annotations

from functools import partial

from .. import scalar_cells
from . import norms
from .activations import sigmoid, tanh
from .candidates import update
from .compiling import kernel
from .intrinsics import offset
from .lanes import loop_of
from .rows import add, clear

_lanes = scalar_cells.build(lambda equation: equation, tanh, sigmoid)
GATES = range(4)


def _met(x, m, gain_x, gain_m, bias):
    return x * gain_x + m * gain_m + bias


def _gates(*rows, masked=False):
    """Both products normalised, c' and o. The rows: of each gate both products, both gains and the bias; then c."""
    *rows, mean_x, scale_x, mean_m, scale_m = rows
    x, m = [(z - mean_x) * scale_x for z in rows[:4]], [(z - mean_m) * scale_m for z in rows[4:8]]
    zi, zf, zg, zo = [_met(x[k], m[k], *rows[8 + k : 20 : 4]) for k in GATES]
    i, f, g, c_new = _lanes.lstm_state(zi, zf, zg, rows[20])
    return *x, *m, f * rows[20] + i * (g * rows[21]) if masked else c_new, _lanes.sigmoid(zo)


def _output(o, c, gain, bias, mean, scale):
    return (o * tanh((c - mean) * scale * gain + bias),)


def _output_back(x, m, gain_x, gain_m, bias_o, c, gain, bias, dh, mean, scale):
    """dzo, N(c), the cotangent of N(c) gain + bias; and what is summed of N(c)'s, and of that along N(c)."""
    y, o = (c - mean) * scale, _lanes.sigmoid(_met(x, m, gain_x, gain_m, bias_o))
    do, d = _lanes.lstm_output_back(o, y * gain + bias, dh)
    return do, y, d, d * gain, d * gain * y


def _gates_back(*rows, masked=False):
    """dzi, dzf, dzg and dc, from the whole of that of c'. The rows: as above without o; then c, and that cotangent."""
    zi, zf, zg = [_met(*rows[k:15:3]) for k in range(3)]
    i, f, g, (c, dc) = _lanes.sigmoid(zi), _lanes.sigmoid(zf), tanh(zg), rows[15:17]
    di, dg = _lanes.lstm_input_back(i, g, dc * rows[17] if masked else dc)
    df, dc = _lanes.lstm_forget_back(f, c, dc)
    return di, df, dg, dc


def _cell_through(y, d, gain, dc, sum_gain, sum_bias, mean, along, scale):
    return dc + (d * gain - mean - y * along) * scale, sum_gain + d * y, sum_bias + d


def _candidate(zr, x, gain_x, bias_x, m, gain_m, bias_m):
    return _lanes.gru_candidate(zr, x * gain_x + bias_x, m * gain_m + bias_m)


def _candidate_back(r, m, gain_m, bias_m, dn):
    return _lanes.gru_candidate_back(r, m * gain_m + bias_m, dn)


_gates_loop, _masked_gates_loop = loop_of(_gates), loop_of(partial(_gates, masked=True))
_output_loop, _output_back_loop = loop_of(_output), loop_of(_output_back, sums=2)
_gates_back_loop, _masked_gates_back_loop = loop_of(_gates_back), loop_of(partial(_gates_back, masked=True))
_cell_back_loop = loop_of(_cell_through)
_candidate_loop, _candidate_back_loop = loop_of(_candidate), loop_of(_candidate_back)


@kernel
def four(row, size):
    """Where a row's blocks of i, f, g and o lie."""
    return row, offset(row, size), offset(row, 2 * size), offset(row, 3 * size)


@kernel
def three(row, size):
    """Where those of i, f and g lie."""
    return row, offset(row, size), offset(row, 2 * size)


@kernel
def norm_lstm(x, rows, mask, c_old, c, h, size):
    """The products with x and h become N of themselves, of which the way back makes the gates anew."""
    m, moments = offset(x, 4 * size), offset(x, 8 * size)
    both = norms.moments_of_both(x, m, 4 * size)
    products = four(x, size) + four(m, size)
    given = products + four(rows, size) + four(offset(rows, 4 * size), size) + four(offset(rows, 8 * size), size)
    if mask is None:
        _gates_loop((*given, c_old), (*products, c, h), both, size)
    else:
        _masked_gates_loop((*given, c_old, mask), (*products, c, h), both, size)
    mean, scale = norms.moments(c, size)
    _output_loop((h, c, offset(rows, 12 * size), offset(rows, 13 * size)), (h,), (mean, scale), size)
    moments[0], moments[1], moments[2], moments[3] = both[1], both[3], mean, scale


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
    m, gain_m, bias, moments = offset(x, 4 * size), offset(rows, 4 * size), offset(rows, 8 * size), offset(x, 8 * size)
    of_o, gain, sum_gain, sum_bias = 3 * size, offset(rows, 12 * size), offset(sums, 12 * size), offset(sums, 13 * size)
    y, d = dm, offset(dm, size)  # places that are free until their turn comes
    total, along = _output_back_loop(
        (
            offset(x, of_o), offset(m, of_o), offset(rows, of_o), offset(gain_m, of_o), offset(bias, of_o), c, gain,
            offset(rows, 13 * size), dh,
        ),
        (offset(dz, of_o), y, d), (moments[2], moments[3]), size,
    )  # fmt: skip
    clear(dh, size)
    count = norms.number_like(x, size)
    _cell_back_loop(
        (y, d, gain, dc, sum_gain, sum_bias), (dc, sum_gain, sum_bias),
        (total / count, along / count, moments[3]), size,
    )  # fmt: skip
    given = three(x, size) + three(m, size) + three(rows, size) + three(gain_m, size) + three(bias, size) + (c_old, dc)
    if mask is None:
        _gates_back_loop(given, (*three(dz, size), dc), (), size)
    else:
        _masked_gates_back_loop((*given, mask), (*three(dz, size), dc), (), size)
    norms.meet_back(
        x, m, rows, gain_m, moments[0], moments[1], dz, dz, dm, sums, offset(sums, 4 * size),
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
