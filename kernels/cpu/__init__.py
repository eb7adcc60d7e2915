"""Whole recurrent sequences compiled for the host by Numba."""

from . import additive, reservoir, scan
from .elementwise import erf
from .matmul import matmul, matmul_stacks
from .parts import PARTS
from .product import BFLOAT16, EXACT
from .sequence import backward, forward
from .stream import Part, Stack

__all__ = [
    "BFLOAT16",
    "EXACT",
    "PARTS",
    "Part",
    "Stack",
    "additive",
    "backward",
    "erf",
    "forward",
    "matmul",
    "matmul_stacks",
    "reservoir",
    "scan",
]
