"""Sums of outer products of bfloat16, added up in float32: gradients of weights, over all rows of all steps.

Rows of both operands are rounded as bf16.py has it, a block of them at a time: to pairs of neighbours in the sum where
the host has an instruction for these, with zeros beside the last row of an odd number, and elsewhere to float32 with
the same values. Pairs are moved about as if they were numbers of float32.
"""

from __future__ import annotations

import numpy as np

from .bf16 import LOWER, bfloat16_bits, bfloat16_pair, from_bfloat16_bits
from .compiling import kernel, shared_kernel
from .intrinsics import address, lanes, offset, retyped
from .product import DEPTH, PAIRED, VECTORS, multiply, padded_columns, turn

GROUP = PAIRED.group
ROWS = GROUP * DEPTH  # in a block
WEIGHTS = np.int16 if GROUP == 2 else np.float32  # what products with rounded rows know weights by


@kernel
def _round(a, apart, rows, columns, target, width):
    """Some rows of A, ``apart`` numbers from each other, in panels so wide, with zeros behind the last column."""
    lane, deep = lanes(target), (rows + GROUP - 1) // GROUP
    for row in range(deep):
        for start in range(0, columns, width):
            used = min(width, columns - start)
            wide = (used + lane - 1) // lane * lane
            first, to = offset(a, row * GROUP * apart + start), offset(target, start * deep + row * wide)
            if GROUP == 1:
                for j in range(used):
                    to[j] = from_bfloat16_bits(bfloat16_bits(first[j]))
            elif row * GROUP + 1 < rows:
                second = offset(first, apart)
                for j in range(used):
                    to[j] = bfloat16_pair(first[j], second[j])
            else:
                for j in range(used):
                    to[j] = bfloat16_pair(first[j], np.float32(0))
            for j in range(used, wide):
                to[j] = 0


@shared_kernel
def add_outer(a, b, c, first, last):
    """C[first:last] += (A^T B)[first:last], for A (R, M), B (R, N), both rounded, and C (M, padded N)."""
    (size, columns), across, wide, high = b.shape, a.shape[1], c.shape[1], last - first
    across_padded = padded_columns(high, address(c, 0))
    right, rounded = np.empty(DEPTH * wide, c.dtype), np.empty(DEPTH * across_padded, c.dtype)
    left = np.empty(DEPTH * high, c.dtype)
    for low in range(0, size, ROWS):
        rows = min(ROWS, size - low)
        deep = (rows + GROUP - 1) // GROUP
        _round(address(b, low * columns), columns, rows, columns, address(right, 0), VECTORS * lanes(address(c, 0)))
        _round(address(a, low * across + first), across, rows, high, address(rounded, 0), across_padded)
        deep_rows = rounded[: deep * across_padded].reshape(deep, across_padded)
        turn(deep_rows, left[: high * deep].reshape(high, deep), 0, high)
        multiply(
            retyped(address(left, 0), LOWER), 1, 0, high, deep * GROUP, retyped(address(right, 0), WEIGHTS),
            deep * GROUP, wide, address(c, first * wide), 0, wide,
        )  # fmt: skip
