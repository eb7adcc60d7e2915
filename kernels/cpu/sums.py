"""Sums over all rows, of outer products and of rows: the gradients of weights and of biases."""

from __future__ import annotations

import numpy as np

from . import threads
from .bf16_sums import add_outer
from .compiling import kernel, shared_kernel
from .intrinsics import address, lanes
from .product import (
    DEPTH,
    EXACT,
    PAIRED,
    Array,
    Storage,
    add_rows,
    multiply_transposed_part,
    padded,
    padded_columns,
    plain,
    turn,
    turns,
)
from .rows import add, add_times, clear, copy
from .unpacked import FEW

SHARES = 1 << 10  # of what lies in rows, handed out to threads


def outer_sum(pairs: list[tuple[Array, Array]], storage: Storage = EXACT) -> Array:
    """Sum over steps and sequences of dz^T x, (N, K), over one pair or two of dz (..., N) and x (..., K).

    With PAIRED all numbers are rounded to bfloat16.
    """
    n, k = pairs[0][0].shape[-1], pairs[0][1].shape[-1]
    flat = [(plain(dz.reshape(-1, n)), plain(x.reshape(-1, k))) for dz, x in pairs]
    operations = 2.0 * n * k * sum(len(dz) for dz, _ in flat)
    if storage is PAIRED:
        return np.ascontiguousarray(_rounded_sum(flat, operations)[:, :k])
    (dz, x), (more_dz, more_x) = flat[0], flat[1] if len(flat) > 1 else (flat[0][0][:0], flat[0][1][:0])
    out = np.empty((n, k), x.dtype)
    threads.share(lambda first, last: outer_share(dz, x, more_dz, more_x, out, (first, last)), SHARES, operations)
    return out


def _rounded_sum(pairs: list[tuple[Array, Array]], operations: float) -> Array:
    """Sum of A^T B of rounded numbers, (M, padded N), over pairs of A (K, M) and B (K, N)."""
    (_, m), (_, n), itemsize = pairs[0][0].shape, pairs[0][1].shape, pairs[0][0].itemsize
    total = np.zeros((m, padded(n, itemsize)), pairs[0][0].dtype)

    def work(first: int, last: int) -> None:
        for a, b in pairs:
            add_outer(a, b, total, first, last)

    threads.share(work, m, operations)
    return total


def row_sum(dz: Array) -> Array:
    """Of dz (..., N), over steps and sequences."""
    rows, total = dz.reshape(-1, dz.shape[-1]), np.empty(dz.shape[-1], dz.dtype)
    threads.share(lambda first, last: row_share(rows, total, (first, last)), SHARES, 4.0 * dz.size)
    return total


@kernel
def cut(count, step, share):
    """The first and the last of so many rows in a share, two numbers of SHARES; but for all rows, whole steps."""
    first, last = share
    steps = (count + step - 1) // step
    return steps * first // SHARES * step, min(steps * last // SHARES * step, count)


@kernel
def _products(a, b, more_a, more_b, total, first, last, low_column, high_column):
    """Rows first to last, and some columns, of a^T b + more_a^T more_b, from the beginning of a vector on."""
    columns = total.shape[1]
    for row in range(first, last):
        to = address(total, row * columns + low_column)
        clear(to, padded_columns(high_column - low_column, to))
    multiply_transposed_part(a, b, total, first, last, low_column, high_column)
    multiply_transposed_part(more_a, more_b, total, first, last, low_column, high_column)


@shared_kernel
def _few_products(d, y, out, first, last):
    """Rows first to last of out (N, K) = d^T y for few rows of these: each is written once, and added to while it is
    in the first cache.
    """
    k = out.shape[1]
    for row in range(first, last):
        to = address(out, row * k)
        clear(to, k)
        for other in range(len(d)):
            add_times(to, d[other, row], address(y, other * k), k)


@shared_kernel
def _add_product(d, y, out):
    """out (1, K) += d^T y, for one column of d: with y where it lies, block by block, since long sums lose digits."""
    k = out.shape[1]
    block = np.empty(k, out.dtype)
    for low in range(0, len(d), DEPTH):
        clear(address(block, 0), k)
        for row in range(low, min(low + DEPTH, len(d))):
            add_times(address(block, 0), d[row, 0], address(y, row * k), k)
        add(address(out, 0), address(block, 0), k)


@shared_kernel
def outer_share(d, y, more_d, more_y, out, share):
    """A share of out (N, K) = the sum of d^T y over all rows of d (R, N) and y (R, K), and over more of them."""
    n, k = out.shape
    first, last = cut(n, lanes(address(out, 0)), share)
    if len(more_d) == 0 and 0 < len(d) <= FEW:
        _few_products(d, y, out, first, last)
    elif len(d) == 0 and 0 < len(more_d) <= FEW:
        _few_products(more_d, more_y, out, first, last)
    elif n == 1:
        if first < last:
            clear(address(out, 0), k)
            _add_product(d, y, out)
            _add_product(more_d, more_y, out)
    elif turns(n, k, len(d) + len(more_d), out):  # nor does a thread read more of d then than its own columns
        total = np.empty((k, padded_columns(n, address(out, 0))), out.dtype)
        _products(y, d, more_y, more_d, total, 0, k, first, last)
        turn(total, out, first, last)
    else:
        columns = padded_columns(k, address(out, 0))
        total = out if columns == k else np.empty((n, columns), out.dtype)
        _products(d, y, more_d, more_y, total, first, last, 0, k)
        for row in range(first, last if columns != k else first):
            copy(address(out, row * k), address(total, row * columns), k)


@kernel
def row_share(d, out, share):
    """A share of out (N) = the sum of all rows of d (R, N)."""
    first, last = cut(out.size, lanes(address(out, 0)), share)
    out[first:last] = 0
    add_rows(d, out, first, last)
