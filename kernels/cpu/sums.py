"""Sums over all rows, of outer products and of rows: the gradients of weights and of biases."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import threads
from .bf16_sums import add_outer
from .product import EXACT, PAIRED, Array, Storage, add_rows, multiply_transposed, padded, plain, turn, turns


def outer_sum(pairs: list[tuple[Array, Array]], storage: Storage = EXACT) -> Array:
    """Sum over steps and sequences of dz^T x, (N, K), over pairs of dz (..., N) and x (..., K).

    With PAIRED all numbers are rounded to bfloat16.
    """
    n, k = pairs[0][0].shape[-1], pairs[0][1].shape[-1]
    flat = [(plain(dz.reshape(-1, n)), plain(x.reshape(-1, k))) for dz, x in pairs]
    like = flat[0][0]
    if storage is PAIRED:
        return np.ascontiguousarray(_product_sum(flat, add_outer)[:, :k])
    if not turns(n, k, like):
        return np.ascontiguousarray(_product_sum(flat)[:, :k])
    out = np.empty((n, k), like.dtype)
    turn(_product_sum([(x, dz) for dz, x in flat]), out, 0, n)
    return out


def _product_sum(pairs: list[tuple[Array, Array]], add: Callable[..., object] = multiply_transposed) -> Array:
    """Sum of A^T B, (M, padded N), over pairs of A (K, M) and B (K, N)."""
    (_, m), (_, n), itemsize = pairs[0][0].shape, pairs[0][1].shape, pairs[0][0].itemsize
    total = np.zeros((m, padded(n, itemsize)), pairs[0][0].dtype)

    def work(first: int, last: int) -> None:
        for a, b in pairs:
            add(a, b, total, first, last)

    threads.share(work, m, 2.0 * m * n * sum(len(a) for a, _ in pairs))
    return total


def row_sum(dz: Array) -> Array:
    """Of dz (..., N), over steps and sequences."""
    rows, total = dz.reshape(-1, dz.shape[-1]), np.zeros(dz.shape[-1], dz.dtype)
    threads.share(lambda first, last: add_rows(rows, total, first, last), len(total), 4.0 * dz.size)
    return total
