"""Whole recurrent sequences compiled for the host by Numba."""

from . import additive, scan
from .elementwise import erf
from .matmul import matmul, matmul_stacks
from .parts import PARTS
from .product import BFLOAT16, EXACT
from .sequence import backward, forward
from .stream import Part, Stack
from .threads import one_thread

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
    "one_thread",
    "scan",
]
