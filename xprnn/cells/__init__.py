"""The specification: one file per cell, its equations forward and backward in plain array code."""

from xprnn.cells.activations import Activation
from xprnn.cells.cell import Cell, PointwiseCell, State, Weights
from xprnn.cells.elman import Elman
from xprnn.cells.general_elman import GeneralElman
from xprnn.cells.general_gru import GeneralGRU, GeneralResetBeforeGRU
from xprnn.cells.general_lstm import GeneralLSTM
from xprnn.cells.gru import GRU
from xprnn.cells.gru_reset_before import ResetBeforeGRU
from xprnn.cells.indrnn import IndRNN
from xprnn.cells.layer_norm_gru import LayerNormGRU
from xprnn.cells.layer_norm_lstm import LayerNormLSTM
from xprnn.cells.lstm import LSTM
from xprnn.cells.lstm_peephole import PeepholeLSTM
from xprnn.cells.lstm_peephole_full import FullPeepholeLSTM
from xprnn.cells.projected import Projected

__all__ = [
    "GRU",
    "LSTM",
    "Activation",
    "Cell",
    "Elman",
    "FullPeepholeLSTM",
    "GeneralElman",
    "GeneralGRU",
    "GeneralLSTM",
    "GeneralResetBeforeGRU",
    "IndRNN",
    "LayerNormGRU",
    "LayerNormLSTM",
    "PeepholeLSTM",
    "PointwiseCell",
    "Projected",
    "ResetBeforeGRU",
    "State",
    "Weights",
]
