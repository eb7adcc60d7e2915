"""An affine map of rows, x W^T + b, and the way back through it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numba import carray, from_dtype, types

from . import around, threads
from .arguments import EMPTY
from .compiling import kernel
from .lent import Lent, Place, call_of, holds
from .matmul import matmul
from .product import Array, plain
from .sums import SHARES, outer_sum, row_sum


def affine(x: Array, weight: Array, bias: Array | None) -> Array:
    """x W^T + b, for x (N, I), W (O, I) and b (O,) of one type, or without b."""
    if threads.shares(2, 2.0 * x.size * len(weight)) > 1:
        return matmul(x, weight.T, bias=bias)
    (rows, inputs), outputs, b = x.shape, len(weight), EMPTY[x.dtype][1] if bias is None else bias
    y = np.empty((rows, outputs), x.dtype)
    if not _calls_of(x.dtype)[0](rows, inputs, outputs, b.size, x, weight, b, y):
        around.affine(plain(x), plain(weight), plain(b), y)
    return y


def linear_back(
    g: Array, x: Array, weight: Array, need_x: bool, need_weight: bool, need_bias: bool
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients in x (N, I), W (O, I) and b (O,) from that of the result g (N, O), all of one type."""
    if weight.nbytes > around.OWN_BYTES:
        dx = matmul(g, weight) if need_x else None
        return dx, outer_sum([(g, x)]) if need_weight else None, row_sum(g) if need_bias else None
    (count, inputs), (outputs, _), dtype = x.shape, weight.shape, g.dtype
    _, none, few, _ = EMPTY[dtype]
    dx = np.empty((count, inputs), dtype) if need_x else few
    dw = np.empty((outputs, inputs), dtype) if need_weight else few
    db = np.empty(outputs, dtype) if need_bias else none
    operations = 2.0 * g.size * inputs * (need_x + need_weight)
    small, asked = operations < threads.SERIAL_BELOW, (need_x, need_weight, need_bias)
    if not (small and _calls_of(dtype)[1](count, inputs, outputs, *asked, g, x, weight, dx, dw, db)):
        given = plain(g), plain(x), plain(weight), dx, dw, db, False, few, few, few, False, few, none
        threads.share(lambda first, last: around.gradients(*given, (first, last)), SHARES, operations)
    return dx if need_x else None, dw if need_weight else None, db if need_bias else None


@lru_cache
def _calls_of(dtype: Any) -> tuple[Callable[..., bool], Callable[..., bool]]:
    """Both ways for arrays of a type, as calls that take these as they lie."""
    number, own, size, flag = from_dtype(dtype), id(np.dtype(dtype.type)), types.intp, types.boolean
    lent, place = Lent(number), Place(number)
    ahead = call_of(_affine, (types.int64, *[size] * 4, *[lent] * 3, place), own)
    return ahead, call_of(_back, (types.int64, *[size] * 3, *[flag] * 3, *[lent] * 3, *[place] * 3), own)


@kernel
def _affine(dtype, rows, inputs, outputs, biases, x, weight, bias, y):
    """y = x W^T + b; False where an array is not plain, of these sizes."""
    if biases not in (0, outputs) or not (
        holds(x, rows * inputs, dtype) and holds(weight, outputs * inputs, dtype) and holds(bias, biases, dtype)
    ):
        return False
    given, w, b = carray(x.at, (rows, inputs)), carray(weight.at, (outputs, inputs)), carray(bias.at, (biases,))
    around.affine(given, w, b, carray(y.at, (rows, outputs)))
    return True


@kernel
def _back(dtype, rows, inputs, outputs, need_x, need_weight, need_bias, g, x, weight, dx, dw, db):
    """The gradients that are needed, as :func:`around.gradients` gives them; False where an array is none of these."""
    if not (
        holds(g, rows * outputs, dtype) and holds(x, rows * inputs, dtype) and holds(weight, outputs * inputs, dtype)
    ):
        return False
    few = carray(x.at, (0, 0))
    around.gradients(
        carray(g.at, (rows, outputs)), carray(x.at, (rows, inputs)), carray(weight.at, (outputs, inputs)),
        carray(dx.at, (rows * int(need_x), inputs)), carray(dw.at, (outputs * int(need_weight), inputs)),
        carray(db.at, (outputs * int(need_bias),)), False, few, few, few, False, few, carray(x.at, (0,)), (0, SHARES),
    )  # fmt: skip
    return True
