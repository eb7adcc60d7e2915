"""A leaky recurrence whose matrix is mostly zeros: h' = (1 - a) h + a tanh(z + W h), forward only.

Sequences stand side by side in memory, (H, B), so that each number of W that is not zero meets all of them at once.
"""

from __future__ import annotations

import numpy as np

from . import threads
from .activations import tanh
from .compiling import kernel, summing_kernel
from .intrinsics import address
from .product import Array
from .rows import copy

OPERATIONS = 20.0  # that a tanh counts for, where threads are shared out


def forward(z: Array, h: Array, w: Array, leak: float, advance: Array | None, restart: Array | None) -> Array:
    """h after every step (T, B, H), for z (T, B, H), h (B, H) and w (H, H) of one type; flags (T, B) or None."""
    steps, batch, size = z.shape
    flat = np.ascontiguousarray(w).reshape(-1)
    places = np.flatnonzero(flat != 0)  # several times faster than to ask the numbers themselves
    rows, columns = np.divmod(places, size)
    values, ends = flat[places], np.searchsorted(rows, np.arange(size + 1))
    given, states = np.ascontiguousarray(z.transpose(0, 2, 1)), np.ascontiguousarray(h.T)
    out = np.empty_like(given)
    moving = np.ones((steps, batch), bool) if advance is None else np.ascontiguousarray(advance)
    fresh = np.zeros((steps, batch), bool) if restart is None else np.ascontiguousarray(restart)
    leak = z.dtype.type(leak)
    threads.share(
        lambda b0, b1: _walk(given, states, ends, columns, values, leak, moving, fresh, out, b0, b1),
        batch,
        steps * batch * (2.0 * len(values) + OPERATIONS * size),
    )
    return np.ascontiguousarray(out.transpose(0, 2, 1))


@kernel
def _walk(z, states, ends, columns, values, leak, moving, fresh, out, b0, b1):
    steps, size, batch = z.shape
    width, kept = b1 - b0, z.dtype.type(1) - leak
    h, total = states[:, b0:b1].copy(), np.empty((size, width), z.dtype)
    for t in range(steps):
        for b in range(b0, b1):
            if fresh[t, b]:
                for i in range(size):
                    h[i, b - b0] = 0
        for i in range(size):
            at, first, count = (t * size + i) * batch + b0, ends[i], ends[i + 1] - ends[i]
            if width == 1:
                total[i, 0] = _sum(address(columns, first), address(values, first), address(h, 0), count, z[t, i, b0])
            else:
                copy(address(total, i * width), address(z, at), width)
                _add_rows(
                    address(columns, first),
                    address(values, first),
                    address(h, 0),
                    address(total, i * width),
                    count,
                    width,
                )
        for i in range(size):
            _leak(address(total, i * width), address(h, i * width), kept, leak, width)
            for b in range(b0, b1):
                if moving[t, b]:
                    h[i, b - b0] = total[i, b - b0]
                out[t, i, b] = h[i, b - b0]


@summing_kernel
def _sum(columns, values, h, count, total):
    """total + the product of a row with the only sequence."""
    for k in range(count):
        total += values[k] * h[columns[k]]
    return total


@kernel
def _add_rows(columns, values, h, total, count, width):
    """To total, the product of a row with every sequence."""
    for k in range(count):
        source, factor = columns[k] * width, values[k]
        for b in range(width):
            total[b] += factor * h[source + b]


@kernel
def _leak(total, h, kept, leak, width):
    for b in range(width):
        total[b] = kept * h[b] + leak * tanh(total[b])
