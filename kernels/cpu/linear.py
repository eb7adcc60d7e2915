"""An affine map of rows, x W^T + b, and the way back through it."""

from __future__ import annotations

import numpy as np

from . import around, threads
from .arguments import EMPTY
from .matmul import matmul
from .product import Array, plain
from .sums import SHARES, outer_sum, row_sum


def affine(x: Array, weight: Array, bias: Array | None) -> Array:
    """x W^T + b, for x (N, I), W (O, I) and b (O,) of one type, or without b."""
    if threads.shares(2, 2.0 * x.size * len(weight)) > 1:
        return matmul(x, weight.T, bias=bias)
    y = np.empty((len(x), len(weight)), x.dtype)
    around.affine(plain(x), plain(weight), EMPTY[x.dtype][1] if bias is None else plain(bias), y)
    return y


def linear_back(
    g: Array, x: Array, weight: Array, need_x: bool, need_weight: bool, need_bias: bool
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients in x (N, I), W (O, I) and b (O,) from that of the result g (N, O), all of one type."""
    g = plain(g)
    if weight.nbytes > around.OWN_BYTES:
        dx = matmul(g, weight) if need_x else None
        return dx, outer_sum([(g, x)]) if need_weight else None, row_sum(g) if need_bias else None
    _, bias, rows, _ = EMPTY[g.dtype]
    dx = np.empty(x.shape, g.dtype) if need_x else rows
    dw = np.empty(weight.shape, g.dtype) if need_weight else rows
    db = np.empty(len(weight), g.dtype) if need_bias else bias
    given = g, plain(x), plain(weight), dx, dw, db, False, rows, rows, rows, False, rows, bias
    operations = 2.0 * g.size * weight.shape[1] * (need_x + need_weight)
    threads.share(lambda first, last: around.gradients(*given, (first, last)), SHARES, operations)
    return dx if need_x else None, dw if need_weight else None, db if need_bias else None
