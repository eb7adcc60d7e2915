"""A cell's weights as one array, in the order in which its function in :mod:`xprnn.interop.c_source` reads them."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn.cells import GRU, LSTM, Cell, Elman, FullPeepholeLSTM, IndRNN, PeepholeLSTM, ResetBeforeGRU

Host = np.ndarray[Any, Any]
CELLS: dict[type, str] = {
    LSTM: "lstm",
    PeepholeLSTM: "lstm_peephole",
    FullPeepholeLSTM: "lstm_peephole_full",
    GRU: "gru",
    ResetBeforeGRU: "gru_reset_before",
    Elman: "rnn",
    IndRNN: "indrnn",
}
"""The function of each cell; that of the last two goes on with the name of their nonlinearity."""


def packed(cell: Cell, w: dict[str, Host]) -> Host:
    """The weights of one of CELLS, flat. One bias stands for two where the cell adds them."""
    zeros = np.zeros(len(w["weight_ih"]))
    b_ih, b_hh = w.get("bias_ih", zeros), w.get("bias_hh", zeros)
    w_ih, w_hh, end = w["weight_ih"], w["weight_hh"], len(zeros) // cell.gates * 2  # of the first two gates
    if isinstance(cell, GRU):
        bias = b_ih + np.concatenate([b_hh[:end], 0.0 * b_hh[end:]])
        return np.hstack([_units(bias, 3), _units(w_ih, 3), _units(b_hh[end:], 1), _units(w_hh, 3)]).ravel()
    if isinstance(cell, ResetBeforeGRU):
        passes = (slice(0, end), 2), (slice(end, None), 1)
        parts = (b_ih + b_hh, w_ih, w_hh)
        return np.concatenate([np.hstack([_units(a[rows], gates) for a in parts]).ravel() for rows, gates in passes])
    units = [_units(a, cell.gates) for a in (b_ih + b_hh, w_ih, w_hh)]
    if isinstance(cell, PeepholeLSTM):
        units.append(w["weight_ch"].T)
    if isinstance(cell, FullPeepholeLSTM):
        units.append(_units(w["weight_ch"][:end], 2))
        return np.concatenate([np.hstack(units).ravel(), w["weight_ch"][end:].ravel()])
    return np.hstack(units).ravel()


def _units(a: Host, gates: int) -> Host:
    """(G*H, K) or (G*H,) to (H, K*G): of each unit input by input, of each input gate by gate."""
    blocks = a.reshape(gates, len(a) // gates, -1)
    return blocks.transpose(1, 2, 0).reshape(blocks.shape[1], -1)
