"""Whole recurrent sequences compiled for the host by Numba."""

from ..calls import GRU, LSTM, PEEPHOLE, RELU, RESET_BEFORE, TANH, Flags
from . import additive
from .elementwise import erf
from .matmul import matmul, matmul_stacks
from .sequence import Cache, backward, forward
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
    "additive",
    "backward",
    "erf",
    "forward",
    "matmul",
    "matmul_stacks",
]
