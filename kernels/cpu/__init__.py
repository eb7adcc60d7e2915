"""Whole recurrent sequences compiled for the host by Numba."""

from . import additive, scan
from .elementwise import erf
from .host import BF16_DOT
from .matmul import matmul, matmul_stacks
from .parts import PARTS
from .product import BFLOAT16, EXACT, PAIRED
from .sequence import backward, forward
from .stream import Part, Stack

__all__ = [
    "BF16_DOT",
    "BFLOAT16",
    "EXACT",
    "PAIRED",
    "PARTS",
    "Part",
    "Stack",
    "additive",
    "backward",
    "erf",
    "forward",
    "matmul",
    "matmul_stacks",
    "scan",
]
