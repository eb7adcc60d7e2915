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
from . import elman_gates, exponential, gru_gates, leaky_gates, norm_gates
from .activations import sigmoid
from .candidates import row, share, share_back, update_back
from .compiling import shared_kernel
from .gru_gates import gru_candidate_back
from .intrinsics import offset, offsets
from .lstm_gates import cell_back, lstm, lstm_back, output_back, peephole
from .rows import add_product, clear, copy

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
            gru_gates.gru(z0, z1, z2, z3, mask, h_old, h, size)
        elif kind == PEEPHOLE:
            peephole(z0, z1, z2, z3, diagonals, stride, mask, c_old, c, h, size)
        elif kind == RESET_BEFORE:
            gru_gates.reset_before(z1, z2, mask, h_old, h, size)
        elif kind == MGU:
            share(z0, z1, mask, h_old, h, size)
        elif kind == GATED_LEAKY:
            leaky_gates.gated_leaky(z0, z1, z2, diagonals, h_old, h, size)
        elif kind == LEAKY_TANH:
            leaky_gates.leaky_tanh(z0, diagonals, offset(diagonals, stride), h_old, h, size)
        elif kind == LEAKY_RELU:
            leaky_gates.leaky_relu(z0, diagonals, offset(diagonals, stride), h_old, h, size)
        elif kind in EXPONENTIAL:
            exponential.slstm(kind == SLSTM_EXP, z0, stride, offsets(old, at), offsets(new, at), size)
        elif kind == NORM_LSTM:
            norm_gates.norm_lstm(z0, diagonals, mask, c_old, c, h, size)
        elif kind == NORM_GRU:
            norm_gates.norm_gru(z0, diagonals, mask, h_old, h, size)
        elif kind == TANH:
            elman_gates.tanh_step(z0, h, size)
        elif kind == IND_TANH:
            elman_gates.independent_tanh(z0, diagonals, h_old, h, size)
        elif kind == IND_RELU:
            elman_gates.independent_relu(z0, diagonals, h_old, h, size)
        else:
            elman_gates.relu_step(z0, h, size)


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
            gru_gates.candidate_back(z0, z3, d2, dx, offset(dx_h, 2 * size), size)
            copy(dx_h, dx, 2 * size)
        elif kind == RESET_BEFORE:
            clear(dx, size)
            update_back(z1, z2, mask, h_old, back, d1, d2, size)
        elif kind == MGU:
            share_back(z0, z1, mask, h_old, back, dx, d1, size)
        elif kind == GATED_LEAKY:
            leaky_gates.gated_leaky_back(z0, z1, diagonals, back, dx, d1, dx_h, size)
        elif kind in LEAKY:
            keep, rate = diagonals, offset(diagonals, size)
            if kind == LEAKY_TANH:
                leaky_gates.leaky_tanh_back(z0, keep, rate, back, dx, size)
            else:
                leaky_gates.leaky_relu_back(z0, keep, rate, back, dx, size)
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
            elman_gates.tanh_step_back(h, back, dx, size)
        else:
            elman_gates.relu_step_back(h, back, dx, size)
        if kind in INDEPENDENT:
            add_product(back, dx, diagonals, size)


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
