"""Layers."""

from xprnn.nn import init
from xprnn.nn.dropout import Dropout
from xprnn.nn.embedding import Embedding
from xprnn.nn.layer_norm import LayerNorm
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.nn.recurrent import GRU, LSTM, RNN
from xprnn.nn.recurrent_cell import CellModule, GRUCell, LSTMCell, RNNCell
from xprnn.nn.recurrent_layer import RecurrentLayer
from xprnn.nn.sequential import Sequential
from xprnn.nn.step_layer import Recurrent, StepCell
from xprnn.nn.stream import Stream

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "CellModule",
    "Dropout",
    "Embedding",
    "GRUCell",
    "LSTMCell",
    "LayerNorm",
    "Linear",
    "Module",
    "RNNCell",
    "Recurrent",
    "RecurrentLayer",
    "Sequential",
    "StepCell",
    "Stream",
    "init",
]
