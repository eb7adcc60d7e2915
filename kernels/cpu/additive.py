"""The scores of additive attention, v . tanh(q + k) for every pair of a query and a key, and the way back.

Nothing of the size of all pairs' (B, L, S, D) numbers is kept: the way back computes tanh again, which costs less than
to write it and to read it.
"""

from __future__ import annotations

import numpy as np

from . import threads
from .activations import tanh
from .compiling import kernel, summing_kernel
from .intrinsics import address
from .product import Array, plain
from .rows import add

OPERATIONS = 32.0  # that a tanh counts for, where threads are shared out


def scores(q: Array, k: Array, v: Array) -> Array:
    """e[b, l, s] = v . tanh(q[b, l] + k[b, s]), for q (B, L, D), k (B, S, D) and v (D,) of one type."""
    q, k, v = plain(q), plain(k), plain(v)
    batch, length, size = q.shape
    out = np.empty((batch, length, k.shape[1]), q.dtype)
    threads.share(lambda b0, b1: _scores(q, k, v, out, b0, b1), batch, OPERATIONS * size * out.size)
    return out


def gradients(q: Array, k: Array, v: Array, g: Array) -> tuple[Array, Array, Array]:
    """The cotangents of q, k and v from those of the scores, g (B, L, S)."""
    q, k, v, g = plain(q), plain(k), plain(v), plain(g)
    batch, size = len(q), len(v)
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros((batch, size), q.dtype)
    threads.share(lambda b0, b1: _gradients(q, k, g, dq, dk, dv, b0, b1), batch, OPERATIONS * size * g.size)
    dq *= v
    dk *= v
    return dq, dk, dv.sum(axis=0)


@kernel
def _scores(q, k, v, out, b0, b1):
    length, keys, size = q.shape[1], k.shape[1], q.shape[2]
    for b in range(b0, b1):
        for row in range(length):
            query, to = address(q, (b * length + row) * size), address(out, (b * length + row) * keys)
            for s in range(keys):
                to[s] = _weighted(query, address(k, (b * keys + s) * size), address(v, 0), size, v.dtype.type(0))


@summing_kernel
def _weighted(query, key, v, size, total):
    """total + v . tanh(query + key)."""
    for d in range(size):
        total += v[d] * tanh(query[d] + key[d])
    return total


@kernel
def _gradients(q, k, g, dq, dk, dv, b0, b1):
    """All but the factor v of dq and dk; dv for each b."""
    length, keys, size = q.shape[1], k.shape[1], q.shape[2]
    bent, of_row = np.empty(size, q.dtype), np.empty(size, q.dtype)
    for b in range(b0, b1):
        for row in range(length):
            at = (b * length + row) * size
            of_row[:] = 0  # a sum of its own: long ones lose digits
            for s in range(keys):
                to, here = (b * keys + s) * size, g[b, row, s]
                _bend(address(q, at), address(k, to), address(bent, 0), size)
                _add_slopes(address(bent, 0), here, address(dq, at), size)
                _add_slopes(address(bent, 0), here, address(dk, to), size)
                _add_times(address(bent, 0), here, address(of_row, 0), size)
            add(address(dv, b * size), address(of_row, 0), size)


# Loops of few arrays each: of more, the compiler does not find out that they do not overlap.


@kernel
def _bend(query, key, bent, size):
    for d in range(size):
        bent[d] = tanh(query[d] + key[d])


@kernel
def _add_slopes(bent, factor, total, size):
    for d in range(size):
        total[d] += factor - factor * bent[d] * bent[d]


@kernel
def _add_times(bent, factor, total, size):
    for d in range(size):
        total[d] += factor * bent[d]
