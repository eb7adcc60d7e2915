"""Whole recurrent sequences compiled for the host by Numba."""

from . import additive, scan
from .elementwise import erf
from .matmul import matmul, matmul_stacks
from .product import BFLOAT16, EXACT
from .sequence import backward, forward
from .stream import Stack

__all__ = [
    "BFLOAT16",
    "EXACT",
    "Stack",
    "additive",
    "backward",
    "erf",
    "forward",
    "matmul",
    "matmul_stacks",
    "scan",
]
