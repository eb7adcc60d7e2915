"""The specification: one file per cell, its equations forward and backward in plain array code."""

from xprnn.cells.cell import Cell, PointwiseCell, State, Weights
from xprnn.cells.diagonal import DiagonalCell
from xprnn.cells.elman import Elman
from xprnn.cells.gru import GRU
from xprnn.cells.gru_reset_before import ResetBeforeGRU
from xprnn.cells.indrnn import IndRNN
from xprnn.cells.linear import LinearCell
from xprnn.cells.lru import LRU
from xprnn.cells.lstm import LSTM
from xprnn.cells.lstm_peephole import PeepholeLSTM
from xprnn.cells.lstm_peephole_full import FullPeepholeLSTM
from xprnn.cells.mingru import MinGRU
from xprnn.cells.minlstm import MinLSTM
from xprnn.cells.projected import Projected
from xprnn.cells.qrnn import QRNN
from xprnn.cells.s5 import S5
from xprnn.cells.sru import SRU

__all__ = [
    "GRU",
    "LRU",
    "LSTM",
    "QRNN",
    "S5",
    "SRU",
    "Cell",
    "DiagonalCell",
    "Elman",
    "FullPeepholeLSTM",
    "IndRNN",
    "LinearCell",
    "MinGRU",
    "MinLSTM",
    "PeepholeLSTM",
    "PointwiseCell",
    "Projected",
    "ResetBeforeGRU",
    "State",
    "Weights",
]
