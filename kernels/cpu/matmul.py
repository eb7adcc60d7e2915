"""Products of matrices on the threads of these kernels.

NumPy's own library keeps its threads spinning for a while after each product. Where products and recurrent layers take
turns, as in training, the threads of the one then hold up those of the other.
"""

from __future__ import annotations

import numpy as np

from . import around, loops, threads
from .product import EXACT, Array, Storage, multiply_transposed, padded, plain


def matmul(a: Array, b: Array, storage: Storage = EXACT, bias: Array | None = None) -> Array:
    """A B + bias, for A (M, K) and B (K, N) of one type, of any strides; rounded as ``storage`` says."""
    (m, k), n = a.shape, b.shape[1]
    c = np.empty((m, padded(n, a.itemsize)), a.dtype)
    transposed = storage is EXACT and a.flags.f_contiguous and not a.flags.c_contiguous
    rows, other = (plain(a.T), plain(b)) if transposed else (plain(a).reshape(1, m, k), storage.pack(b))
    add = multiply_transposed if transposed else loops.rows_times

    def work(first: int, last: int) -> None:
        c[first:last] = 0  # by who adds to it, whose cache it is then in
        if bias is not None:
            c[first:last, :n] = bias
        add(rows, other, c, first, last)

    threads.share(work, m, 2.0 * m * k * n)
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


def matmul_large_stacks(a: Array, b: Array) -> Array:
    """The same of matrices so large that NumPy's library would take threads of its own for each: by these kernels."""
    columns = b.shape[-1]
    c = np.empty((*a.shape[:-1], padded(columns, a.itemsize)), a.dtype)
    left = _turned(a)
    right = not left and _turned(b)

    def work(first: int, last: int) -> None:
        rows, other = _matrices(a[first:last], left), _matrices(b[first:last], right)
        around.stack_products(rows, other, c[first:last].reshape(-1, *c.shape[-2:]), left, right)

    threads.share(work, len(a), 2.0 * a.size * columns)
    return c if c.shape[-1] == columns else np.ascontiguousarray(c[..., :columns])


def _matrices(a: Array, turned: bool) -> Array:
    """Matrices (N, M, K) one after the other, or their transposes."""
    a = plain(np.swapaxes(a, -2, -1) if turned else a)
    return a.reshape(-1, *a.shape[-2:])


def _turned(a: Array) -> bool:
    """Whether the columns of matrices are contiguous, and not also their rows."""
    return a.strides[-2] == a.itemsize != a.strides[-1]
