"""The LSTM on rows of pre-activations, forward and back, with peepholes and without; as in gates.py.

Each loop is of few arrays: with more, LLVM gives up vectorising. Those of the plain LSTM are written out for whole
vectors: to ask whether their arrays overlap takes as long as the arithmetic of thirty units.
"""

from __future__ import annotations

import numba

from .. import scalar_cells
from .activations import sigmoid, tanh
from .candidates import remix, scale
from .compiling import OPTIONS, kernel
from .intrinsics import offset
from .lanes import loop_of
from .rows import clear

_cells = scalar_cells.build(numba.njit(inline="always", **OPTIONS), tanh, sigmoid)
lstm_state, lstm_output, lstm_output_back = _cells.lstm_state, _cells.lstm_output, _cells.lstm_output_back
lstm_input_back, lstm_forget_back = _cells.lstm_input_back, _cells.lstm_forget_back

_equations = scalar_cells.build(lambda equation: equation, tanh, sigmoid)
_state_loop, _output_loop = loop_of(_equations.lstm_state), loop_of(_equations.lstm_output)
_back_loop = loop_of(_equations.lstm_back)


@kernel
def next_cell(i, f, g, c_old, c, size):
    _state_loop((i, f, g, c_old), (i, f, g, c), (), size)


@kernel
def output(o, c, h, size):
    _output_loop((o, c), (o, h), (), size)


@kernel
def lstm(i, f, g, o, mask, c_old, c, h, size):
    _state_loop((i, f, g, c_old), (i, f, g, c), (), size)
    if mask is not None:
        remix(i, f, g, mask, c_old, c, size)
    _output_loop((o, c), (o, h), (), size)


@kernel
def peephole(i, f, g, o, p, stride, mask, c_old, c, h, size):
    pi, pf, po = p, offset(p, stride), offset(p, 2 * stride)
    for j in range(size):
        i[j], f[j], g[j], c[j] = lstm_state(i[j] + pi[j] * c_old[j], f[j] + pf[j] * c_old[j], g[j], c_old[j])
    if mask is not None:
        remix(i, f, g, mask, c_old, c, size)
    for j in range(size):
        o[j], h[j] = lstm_output(o[j] + po[j] * c[j], c[j])


@kernel
def output_back(o, c, dh, dc, do, size):
    for j in range(size):
        do[j], from_h = lstm_output_back(o[j], c[j], dh[j])
        dc[j] += from_h
        dh[j] = 0


@kernel
def cell_back(i, f, g, mask, c_old, dc, di, df, dg, size):
    for j in range(size):
        di[j], dg[j] = lstm_input_back(i[j], g[j], dc[j])
    if mask is not None:
        scale(di, mask, size)
        scale(dg, mask, size)
    for j in range(size):
        df[j], dc[j] = lstm_forget_back(f[j], c_old[j], dc[j])


@kernel
def lstm_back(i, f, g, o, mask, c_old, c, dh, dc, di, df, dg, do, size):
    """``dc`` goes from that of the new c to that of the old one; all of dh goes into the gates."""
    _back_loop((i, f, g, o, c_old, c, dh, dc), (di, df, dg, do, dc), (), size)
    clear(dh, size)
    if mask is not None:
        scale(di, mask, size)
        scale(dg, mask, size)
