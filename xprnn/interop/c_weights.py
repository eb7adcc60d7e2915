"""A cell's weights as one array, in the order in which its function in :mod:`xprnn.interop.c_source` reads them."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn.cells import GRU, LSTM, Cell, Elman, FullPeepholeLSTM, IndRNN, PeepholeLSTM, ResetBeforeGRU

Host = np.ndarray[Any, Any]
CELLS: dict[type, tuple[str, int]] = {
    LSTM: ("lstm", 4),
    PeepholeLSTM: ("lstm_peephole", 4),
    FullPeepholeLSTM: ("lstm_peephole_full", 4),
    GRU: ("gru", 4),
    ResetBeforeGRU: ("gru_reset_before", 3),
    Elman: ("rnn", 1),
    IndRNN: ("indrnn", 1),
}
"""The function of each cell, and how many numbers a unit it needs of z. Elman's goes on with its nonlinearity."""


def biases(cell: Cell, w: dict[str, Host]) -> Host:
    """What the gates start from: one bias stands for two where the cell adds them, which a GRU's last gate does not."""
    zeros = np.zeros(len(w["weight_ih"]), np.float32)
    b_ih, b_hh = w.get("bias_ih", zeros), w.get("bias_hh", zeros)
    if isinstance(cell, GRU):
        both = 2 * len(zeros) // cell.gates
        return np.concatenate([b_ih[:both] + b_hh[:both], b_ih[both:], b_hh[both:]])
    return b_ih + b_hh


def packed(cell: Cell, w: dict[str, Host]) -> Host:
    """The weights of one of CELLS, flat."""
    hidden = len(w["weight_ih"]) // cell.gates
    two = slice(0, 2 * hidden), slice(2 * hidden, None)  # the first two gates, and those behind them
    parts = [biases(cell, w), w["weight_ih"], w["weight_hh"]]
    if isinstance(cell, (GRU, ResetBeforeGRU)):
        parts[2:] = [w["weight_hh"][rows] for rows in two]
    if isinstance(cell, PeepholeLSTM):
        parts.append(w["weight_ch"].T)
    if isinstance(cell, FullPeepholeLSTM):
        parts += [w["weight_ch"][rows] for rows in two]
    return np.concatenate([part.T.ravel() for part in parts])
