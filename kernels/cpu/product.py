"""Matrix products over packed weights: rows of A times W, added to rows of C.

``pack`` lays W (K, N) out in panels of as many columns as a tile has, each panel contiguous, the last one filled up
with zeros. ``multiply`` therefore adds zeros to the columns from N to ``padded(N)``, which C must have.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import kernel
from .host import TILE
from .intrinsics import address, make_tile, offset

Array = np.ndarray[Any, Any]
_t1, _t2, _t3, _t4, _t5, _t6 = (make_tile(rows, 1) for rows in range(1, 7))
TILE_COLUMNS = TILE.vectors * TILE.vector_bytes  # in bytes
DEPTH = 128  # rows of B in a block: 32 KiB with the widest tile
# Few rows need more columns in flight, to hide the latency of a multiply-add.
_one_wide, _one_double, _two_double = make_tile(1, 4), make_tile(1, 2), make_tile(2, 2)


def padded(columns: int, itemsize: int) -> int:
    """How many columns C needs for a W of so many."""
    width = TILE.columns(itemsize)
    return -(-columns // width) * width


def pack(w: Array) -> Array:
    """W (K, N), of any strides, as panels (P, K, columns)."""
    k, n = w.shape
    width = TILE.columns(w.itemsize)
    panels = -(-n // width)
    packed = np.empty((panels, k, width), dtype=w.dtype)
    whole = n // width
    packed[:whole] = w[:, : whole * width].reshape(k, whole, width).transpose(1, 0, 2)
    if whole < panels:
        packed[whole, :, : n - whole * width] = w[:, whole * width :]
        packed[whole, :, n - whole * width :] = 0.0
    return packed


@kernel
def _column(a, row, step, rows, w, k, c, ldc):
    """All rows of one panel."""
    while rows >= 6:
        _t6(a, row, step, w, k, c, ldc)
        a, c = offset(a, 6 * row), offset(c, 6 * ldc)
        rows -= 6
    if rows == 5:
        _t5(a, row, step, w, k, c, ldc)
    elif rows == 4:
        _t4(a, row, step, w, k, c, ldc)
    elif rows == 3:
        _t3(a, row, step, w, k, c, ldc)
    elif rows == 2:
        _t2(a, row, step, w, k, c, ldc)
    elif rows == 1:
        _t1(a, row, step, w, k, c, ldc)


@kernel
def multiply(a, groups, group_stride, rows, lda, panels, k, width, w, c, c_group_stride, ldc):
    """C += A W, for ``groups`` groups of ``rows`` rows. a, w, c are addresses, strides count elements.

    Groups let one pass over the weights serve several steps of a sequence whose rows do not follow each other.
    """
    q = 0
    if rows == 1 and groups == 1:
        while q + 4 <= panels:
            _one_wide(a, lda, 1, offset(w, q * k * width), k, offset(c, q * width), ldc)
            q += 4
        if q + 2 <= panels:
            _one_double(a, lda, 1, offset(w, q * k * width), k, offset(c, q * width), ldc)
            q += 2
    elif rows == 2 and groups == 1:
        while q + 2 <= panels:
            _two_double(a, lda, 1, offset(w, q * k * width), k, offset(c, q * width), ldc)
            q += 2
    while q < panels:
        for g in range(groups):
            _column(
                offset(a, g * group_stride), lda, 1, rows, offset(w, q * k * width), k,
                offset(c, g * c_group_stride + q * width), ldc,
            )  # fmt: skip
        q += 1


@kernel
def multiply_transposed(a, b, c, first, last):
    """C[first:last] += (A^T B)[first:last], for A (K, M), B (K, N), C (M, padded N): a sum of outer products.

    B is packed a block at a time, small enough to stay in the first cache while all rows of C pass over it.
    """
    size, columns = b.shape
    width = TILE_COLUMNS // b.itemsize
    panel = np.zeros((DEPTH, width), b.dtype)
    for low in range(0, size, DEPTH):
        depth = min(DEPTH, size - low)
        for start in range(0, columns, width):
            stop = min(start + width, columns)
            for k in range(depth):
                panel[k, : stop - start] = b[low + k, start:stop]
            panel[:, stop - start :] = 0
            _column(
                address(a, low * a.shape[1] + first), 1, a.shape[1], last - first, address(panel, 0), depth,
                address(c, first * c.shape[1] + start), c.shape[1],
            )  # fmt: skip


@kernel
def add_rows(a, total, first, last):
    """total[first:last] += the sum of the rows of A, in those columns."""
    part = total[first:last]
    for k in range(a.shape[0]):
        row = a[k, first:last]
        for j in range(part.size):
            part[j] += row[j]
