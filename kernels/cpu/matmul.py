"""Products of matrices on the threads of these kernels.

NumPy's own library keeps its threads spinning for a while after each product. Where products and recurrent layers take
turns, as in training, the threads of the one then hold up those of the other.
"""

from __future__ import annotations

import numpy as np

from . import loops, threads
from .product import EXACT, Array, Storage, multiply_transposed, padded, plain


def matmul(a: Array, b: Array, storage: Storage = EXACT) -> Array:
    """A B, for A (M, K) and B (K, N) of one type, of any strides; rounded as ``storage`` says."""
    (m, k), n = a.shape, b.shape[1]
    c = np.zeros((m, padded(n, a.itemsize)), a.dtype)
    operations = 2.0 * m * k * n
    if storage is EXACT and a.flags.f_contiguous and not a.flags.c_contiguous:
        columns, rows = plain(a.T), plain(b)
        threads.share(lambda first, last: multiply_transposed(columns, rows, c, first, last), m, operations)
    else:
        rows, packed = plain(a).reshape(1, m, k), storage.pack(b)
        threads.share(lambda first, last: loops.rows_times(rows, packed, c, first, last), m, operations)
    return c if c.shape[1] == n else np.ascontiguousarray(c[:, :n])


def matmul_stacks(a: Array, b: Array) -> Array:
    """A B for stacks of matrices, A (N, ..., M, K) and B (N, ..., K, L): NumPy's products, shared among threads."""
    out = np.empty((*a.shape[:-1], b.shape[-1]), a.dtype)
    threads.share(
        lambda first, last: np.matmul(a[first:last], b[first:last], out=out[first:last]),
        len(a),
        2.0 * a.size * b.shape[-1],
    )
    return out
