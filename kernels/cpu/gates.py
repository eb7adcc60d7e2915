"""The cells' equations on rows of pre-activations, forward and back.

Everything is in place: rows of z hold pre-activations, in blocks of H columns, and hold activations afterwards, where
a way back needs them. Blocks by kind of cell, with H-wide columns in this order:

    TANH, RELU,
    IND_*          z                     GRU            r z n and the product with h for n
    LSTM, PEEPHOLE i f g o               RESET_BEFORE   r z n and r h, whose product is added to n
    NORM_LSTM      for each gate the product with x and that with h, normalised; behind them the scales of both, and the
                   mean and the scale of c'
    NORM_GRU       likewise, then r z n; behind them the scales of r and z, and of n, of the product with x and that
                   with h
    MGU            f n and f h, whose product is added to n             LEAKY_* z
    SLSTM*         i f g o and the slope of the forget gate's logarithm GATED_LEAKY z n and the product with h

A row whose sequence is held at this step (``advance`` 0) keeps its state. Arrays come as addresses of the first row of
a share of the batch, since a slice of a Numba array counts references, which here would cost more than the arithmetic.
"""

from __future__ import annotations

import numba

from .. import scalar_cells
from ..kinds import (
    GATED_LEAKY,
    GRU,
    IND_RELU,
    IND_TANH,
    KINDS,
    LEAKY_RELU,
    LEAKY_TANH,
    LSTM,
    MGU,
    NORM_GRU,
    NORM_LSTM,
    PARTS,
    PEEPHOLE,
    RESET_BEFORE,
    SLSTM,
    SLSTM_EXP,
    TANH,
)
from . import exponential, norm_gates
from .activations import sigmoid, tanh
from .candidates import row, share, share_back, update, update_back
from .compiling import OPTIONS, kernel, shared_kernel
from .intrinsics import offset, offsets
from .lstm_gates import cell_back, lstm, lstm_back, output_back, peephole
from .rows import add_product, clear, copy

# The equations, inlined before types are known: only so does LLVM see whole loops, and vectorise them. By names of
# their own, since compiled code cannot look into a tuple of functions.
_cells = scalar_cells.build(numba.njit(inline="always", **OPTIONS), tanh, sigmoid)
tanh_back, relu, relu_back = _cells.tanh_back, _cells.relu, _cells.relu_back
gru_candidate, gru_candidate_back, gru_update = _cells.gru_candidate, _cells.gru_candidate_back, _cells.gru_update
opened, opened_back = _cells.opened, _cells.opened_back

APART, ROWS = tuple(kind.apart for kind in KINDS), tuple(kind.rows for kind in KINDS)
# Kinds that share a branch; by names, since only so does the compiler see which branches one kind has not.
EXPONENTIAL, LEAKY = (SLSTM, SLSTM_EXP), (LEAKY_TANH, LEAKY_RELU)
TANHS, INDEPENDENT = (TANH, IND_TANH), (IND_TANH, IND_RELU)


@shared_kernel
def step(kind, z, columns, old, new, diagonals, stride, size, held, advance, rows, drop=None):
    """One step of ``size`` units, from the parts of the old state to those of the new one.

    Rows of z are ``columns`` apart; those of states, of ``diagonals`` and of ``drop``, by which candidates are
    multiplied where it is given, and the blocks of z, ``stride``.
    """
    for b in range(rows):
        at = b * stride
        if held and advance[b] == 0:
            for part in range(PARTS[kind]):
                copy(offset(new[part], at), offset(old[part], at), size)
            continue
        h_old, h = offset(old[0], at), offset(new[0], at)
        c_old, c = offset(old[1], at), offset(new[1], at)  # of no use to a cell of one part
        z0 = offset(z, b * columns)
        z1, z2, z3 = offset(z0, stride), offset(z0, 2 * stride), offset(z0, 3 * stride)
        mask = row(drop, at)
        if kind == LSTM:
            lstm(z0, z1, z2, z3, mask, c_old, c, h, size)
        elif kind == GRU:
            _gru(z0, z1, z2, z3, mask, h_old, h, size)
        elif kind == PEEPHOLE:
            peephole(z0, z1, z2, z3, diagonals, stride, mask, c_old, c, h, size)
        elif kind == RESET_BEFORE:
            _reset_before(z1, z2, mask, h_old, h, size)
        elif kind == MGU:
            share(z0, z1, mask, h_old, h, size)
        elif kind == GATED_LEAKY:
            _gated_leak(z0, z1, z2, diagonals, h_old, h, size)
        elif kind == LEAKY_TANH:
            _tanh(z0, z0, size)
            _leak(z0, diagonals, offset(diagonals, stride), h_old, h, size)
        elif kind == LEAKY_RELU:
            _relu(z0, z0, size)
            _leak(z0, diagonals, offset(diagonals, stride), h_old, h, size)
        elif kind in EXPONENTIAL:
            exponential.slstm(kind == SLSTM_EXP, z0, stride, offsets(old, at), offsets(new, at), size)
        elif kind == NORM_LSTM:
            norm_gates.norm_lstm(z0, diagonals, mask, c_old, c, h, size)
        elif kind == NORM_GRU:
            norm_gates.norm_gru(z0, diagonals, mask, h_old, h, size)
        elif kind == TANH:
            _tanh(z0, h, size)
        elif kind == IND_TANH:
            _independent_tanh(z0, diagonals, h_old, h, size)
        elif kind == IND_RELU:
            _independent_relu(z0, diagonals, h_old, h, size)
        else:
            _relu(z0, h, size)


@kernel
def _tanh(z, h, size):
    for j in range(size):
        h[j] = tanh(z[j])


@kernel
def _relu(z, h, size):
    for j in range(size):
        h[j] = relu(z[j])


@kernel
def _independent_tanh(z, u, h_old, h, size):
    for j in range(size):
        h[j] = tanh(z[j] + u[j] * h_old[j])


@kernel
def _independent_relu(z, u, h_old, h, size):
    for j in range(size):
        h[j] = relu(z[j] + u[j] * h_old[j])


@kernel
def _gru(r, z, n, m, mask, h_old, h, size):
    for j in range(size):
        r[j], n[j] = gru_candidate(r[j], n[j], m[j])
    update(z, n, mask, h_old, h, size)


@kernel
def _leak(y, keep, rate, h_old, h, size):
    for j in range(size):
        h[j] = keep[j] * h_old[j] + rate[j] * y[j]


@kernel
def _gated_leak(z, n, m, rate, h_old, h, size):
    for j in range(size):
        z[j], n[j] = opened(z[j], n[j], m[j])
    for j in range(size):
        h[j] = h_old[j] + rate[j] * z[j] * n[j]


@shared_kernel
def reset(z, products, columns, h_old, diagonals, size, held, advance, rows):
    """RESET_BEFORE and MGU between their two products: r, or f, and r h where the second product finds it.

    ``diagonals`` are for general_gates.py, whose function is called in the same way.
    """
    for b in range(rows):
        r, old = offset(z, b * columns), offset(h_old, b * size)
        product = offset(products, b * columns)
        if held and advance[b] == 0:
            clear(product, size)  # the product for the weights' gradient sees these rows
            continue
        for j in range(size):
            r[j] = sigmoid(r[j])
            product[j] = r[j] * old[j]


@kernel
def _reset_before(z, n, mask, h_old, h, size):
    if mask is None:
        for j in range(size):
            n[j] = tanh(n[j])
            z[j], h[j] = gru_update(z[j], n[j], h_old[j])
    else:
        _tanh(n, n, size)
        update(z, n, mask, h_old, h, size)


@shared_kernel
def step_back(
    kind, z, columns, old, new, diagonals, dh, dh_columns, dstate, dzx, dzh, gates, sums, group, size, held, advance,
    rows, drop=None,
):  # fmt: skip
    """One step back.

    Rows of dh (``dh_columns`` apart) and of the other parts of dstate hold the cotangents of the new state, and hold
    those of the old state afterwards, but for what comes through products. Rows of dzx, and of dzh where the kind has
    a product that stays apart, both ``gates`` wide, get those of the pre-activations. Where a cell normalises, the
    gradients of its gains and biases are added to rows of ``sums``, one for each ``group`` of sequences.
    """
    for b in range(rows):
        dx, dx_h = offset(dzx, b * gates), offset(dzh, b * gates)
        if held and advance[b] == 0:
            clear(dx, gates)
            if APART[kind]:
                clear(dx_h, gates)
            continue
        at, back = b * size, offset(dh, b * dh_columns)
        h_old, h = offset(old[0], at), offset(new[0], at)
        z0 = offset(z, b * columns)
        z1, z2, z3 = offset(z0, size), offset(z0, 2 * size), offset(z0, 3 * size)
        d1, d2, d3 = offset(dx, size), offset(dx, 2 * size), offset(dx, 3 * size)
        mask = row(drop, at)
        if kind == LSTM:
            c_old, c, dcell = offset(old[1], at), offset(new[1], at), offset(dstate[1], at)
            lstm_back(z0, z1, z2, z3, mask, c_old, c, back, dcell, dx, d1, d2, d3, size)
        elif kind == PEEPHOLE:
            dcell = offset(dstate[1], at)
            output_back(z3, offset(new[1], at), back, dcell, d3, size)
            add_product(dcell, d3, offset(diagonals, 2 * size), size)
            cell_back(z0, z1, z2, mask, offset(old[1], at), dcell, dx, d1, d2, size)
            add_product(dcell, dx, diagonals, size)
            add_product(dcell, d1, offset(diagonals, size), size)
        elif kind == GRU:
            update_back(z1, z2, mask, h_old, back, d1, d2, size)
            _candidate_back(z0, z3, d2, dx, offset(dx_h, 2 * size), size)
            copy(dx_h, dx, 2 * size)
        elif kind == RESET_BEFORE:
            clear(dx, size)
            update_back(z1, z2, mask, h_old, back, d1, d2, size)
        elif kind == MGU:
            share_back(z0, z1, mask, h_old, back, dx, d1, size)
        elif kind == GATED_LEAKY:
            _gated_leak_back(z0, z1, diagonals, back, dx, d1, dx_h, size)
        elif kind in LEAKY:
            keep, rate = diagonals, offset(diagonals, size)
            if kind == LEAKY_TANH:
                _leaky_tanh_back(z0, keep, rate, back, dx, size)
            else:
                _leaky_relu_back(z0, keep, rate, back, dx, size)
        elif kind in EXPONENTIAL:
            exponential.slstm_back(z0, offsets(old, at), offsets(new, at), back, offsets(dstate, at), dx, size)
        elif kind == NORM_LSTM:
            norm_gates.norm_lstm_back(
                z0, diagonals, mask, offset(old[1], at), offset(new[1], at), back, offset(dstate[1], at), dx, dx_h,
                offset(sums, b // group * ROWS[kind] * size), size,
            )  # fmt: skip
        elif kind == NORM_GRU:
            update_back(offset(z0, 7 * size), offset(z0, 8 * size), mask, h_old, back, d1, d2, size)
            norm_gates.norm_gru_back(z0, diagonals, dx, dx_h, offset(sums, b // group * ROWS[kind] * size), size)
        elif kind in TANHS:
            _tanh_back(h, back, dx, size)
        else:
            _relu_back(h, back, dx, size)
        if kind in INDEPENDENT:
            add_product(back, dx, diagonals, size)


@kernel
def _tanh_back(h, dh, dz, size):
    for j in range(size):
        dz[j] = tanh_back(h[j], dh[j])
        dh[j] = 0


@kernel
def _relu_back(h, dh, dz, size):
    for j in range(size):
        dz[j] = relu_back(h[j], dh[j])
        dh[j] = 0


@kernel
def _leaky_tanh_back(y, keep, rate, dh, dz, size):
    for j in range(size):
        dz[j] = tanh_back(y[j], rate[j] * dh[j])
        dh[j] *= keep[j]


@kernel
def _leaky_relu_back(y, keep, rate, dh, dz, size):
    for j in range(size):
        dz[j] = relu_back(y[j], rate[j] * dh[j])
        dh[j] *= keep[j]


@kernel
def _gated_leak_back(z, n, rate, dh, dz, dn, dm, size):
    for j in range(size):
        dm[j] = rate[j] * dh[j]
    for j in range(size):
        dz[j], dn[j] = opened_back(z[j], n[j], dm[j])
    for j in range(size):
        dm[j] = dz[j] + dn[j]


@kernel
def _candidate_back(r, m, dn, dr, dm, size):
    for j in range(size):
        dr[j], dm[j] = gru_candidate_back(r[j], m[j], dn[j])


@shared_kernel
def reset_back(z, columns, h_old, drh, dh, dh_columns, dzx, gates, size, held, advance, rows):
    """The same on the way back: from the cotangent of r h to those of r and h, to which it is added."""
    for b in range(rows):
        if held and advance[b] == 0:
            continue  # step_back has cleared dzx
        r, old, d = offset(z, b * columns), offset(h_old, b * size), offset(drh, b * dh_columns)
        dr, back = offset(dzx, b * gates), offset(dh, b * dh_columns)
        for j in range(size):
            dzr, dh_j = gru_candidate_back(r[j], old[j], d[j])
            dr[j] += dzr
            back[j] += dh_j
