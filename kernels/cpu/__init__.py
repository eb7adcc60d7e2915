"""Whole recurrent sequences compiled for the host by Numba."""

from . import additive, carry, diagonal, gated_scan, more_products, reservoir, scan, small
from .elementwise import erf, row_max, scatter_add, square_sum
from .equations import compile_equations
from .host import BF16_DOT
from .linear import affine, linear_back
from .matmul import matmul, matmul_large_stacks, matmul_stacks
from .parts import PARTS
from .product import BFLOAT16, EXACT, PAIRED
from .sequence import backward, forward, way
from .single_step import new_state
from .softmax import surprise, surprise_back
from .stack import Part, Stack
from .threads import one_thread
from .updates import adam

__all__ = [
    "BF16_DOT",
    "BFLOAT16",
    "EXACT",
    "PAIRED",
    "PARTS",
    "Part",
    "Stack",
    "adam",
    "additive",
    "affine",
    "carry",
    "backward",
    "compile_equations",
    "diagonal",
    "erf",
    "forward",
    "gated_scan",
    "linear_back",
    "matmul",
    "matmul_large_stacks",
    "matmul_stacks",
    "more_products",
    "new_state",
    "one_thread",
    "reservoir",
    "row_max",
    "scan",
    "scatter_add",
    "small",
    "square_sum",
    "surprise",
    "surprise_back",
    "way",
]
