"""What layer normalisation has outside the loop over time: the rows that its steps read, and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kinds import Kind, Weights
from . import threads
from .arguments import States
from .compiling import kernel
from .intrinsics import address
from .norms import moments, normalise_back
from .product import DEPTH, Array
from .scratch import scratch


def step_rows(about: Kind, w: Weights, size: int, dtype: Any) -> Array:
    """What a step reads, (rows, H): gain_ih, gain_hh; biases, summed where they meet; and those of n or of c'.

    A GRU's last row is what its product for n alone is given.
    """
    none = np.zeros(about.gates * size, dtype)
    bias = w["bias_ih"] + w["bias_hh"] if "bias_ih" in w else none
    if "c" in about.parts:
        last = [w["gain_c"], w.get("bias_c", none[:size])]
    else:
        own = slice(2 * size, 3 * size)
        bias[own] = w["bias_ih"][own] if "bias_ih" in w else 0
        last = [w["bias_hh"][own] if "bias_hh" in w else none[:size]]
    return np.concatenate([w["gain_ih"], w["gain_hh"], bias, *last], dtype=dtype).reshape(about.rows, size)


def way_back(
    about: Kind, w: Weights, states: States, dzx: Array, ds: Array
) -> tuple[Array, list[tuple[str, Array, Array]]]:
    """The cotangent of the product of x, and by name d and y of each gain and bias: their gradients sum d y, and d.

    dzx (T, B, G*H) are cotangents of pre-activations, ds (T, B, H) those of what c' is normalised to.
    """
    size, gates = states.after[0].shape[2], about.gates * states.after[0].shape[2]
    y_x, dproduct = (scratch(name, dzx.shape, dzx.dtype) for name in ("yx", "dproduct"))
    gain, first = np.ascontiguousarray(w["gain_ih"]), 0
    for count in about.norms:
        low, wide = first * size, count * size
        first += count

        def work(start: int, stop: int, low: int = low, wide: int = wide) -> None:
            _rows_back(states.z, gain, dzx, dproduct, y_x, low, wide, start, stop)

        threads.share(work, dzx.shape[0] * dzx.shape[1], 20.0 * dzx.size)
    met = [("ih", dzx, y_x)]
    y = _unit(about.norms, states.z, gates, size, "yh")
    if "c" in about.parts:
        return dproduct, [*met, ("hh", dzx, y), ("c", ds, _unit((1,), states.after[1], 0, size, "yc"))]
    dzh, dn = dzx.copy(), dzx[..., 2 * size :]
    # Where a state was held, r may be made of padding, which may be NaN.
    np.multiply(dn, states.z[..., 2 * gates : 2 * gates + size], out=dzh[..., 2 * size :], where=dn != 0)
    return dproduct, [*met, ("hh", dzh, y)]


def _unit(norms: tuple[int, ...], z: Array, column: int, size: int, name: str) -> Array:
    """N of rows of z, from a column on, by groups of blocks."""
    y = scratch(name, (*z.shape[:2], sum(norms) * size), z.dtype)

    def work(start: int, stop: int) -> None:
        first = 0
        for count in norms:
            _unit_rows(z, column + first * size, y, first * size, count * size, start, stop)
            first += count

    threads.share(work, z.shape[0] * z.shape[1], 10.0 * y.size)
    return y


@kernel
def _unit_rows(z, z_column, y, y_column, size, start, stop):
    for row in range(start, stop):
        source = address(z, row * z.shape[2] + z_column)
        target = address(y, row * y.shape[2] + y_column)
        mean, scale = moments(source, size)
        for j in range(size):
            target[j] = (source[j] - mean) * scale


@kernel
def _rows_back(x, gain, dy, dx, y, column, size, start, stop):
    """Rows of dx, and of y = N(x)."""
    for row in range(start, stop):
        at, here = row * dy.shape[2] + column, address(x, row * x.shape[2] + column)
        mean, scale = normalise_back(here, address(gain, column), address(dy, at), address(dx, at), size)
        to = address(y, at)
        for j in range(size):
            to[j] = (here[j] - mean) * scale


@kernel
def add_products(a, b, total, first, last):
    """total[first:last] += the sum of the rows of a b, in those columns; by blocks, as in product.add_rows."""
    part, block = total[first:last], np.empty(last - first, total.dtype)
    for low in range(0, a.shape[0], DEPTH):
        block[:] = 0
        for k in range(low, min(low + DEPTH, a.shape[0])):
            left, right = a[k, first:last], b[k, first:last]
            for j in range(block.size):
                block[j] += left[j] * right[j]
        for j in range(part.size):
            part[j] += block[j]
