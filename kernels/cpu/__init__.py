"""Whole recurrent sequences compiled for the host by Numba."""

from .gates import GRU, LSTM, PEEPHOLE, RELU, RESET_BEFORE, TANH
from .matmul import matmul
from .sequence import Cache, Flags, backward, forward
from .stream import Stack

__all__ = [
    "GRU",
    "LSTM",
    "PEEPHOLE",
    "RELU",
    "RESET_BEFORE",
    "TANH",
    "Cache",
    "Flags",
    "Stack",
    "backward",
    "forward",
    "matmul",
]
