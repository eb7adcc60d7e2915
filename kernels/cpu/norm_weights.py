"""What layer normalisation has outside the loop over time: the rows that its steps read, and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kinds import Kind, Weights
from . import threads
from .arguments import States
from .compiling import kernel
from .intrinsics import address, offset
from .norms import unit_back
from .product import DEPTH, Array, plain
from .rows import add, add_product


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


def way_back(about: Kind, w: Weights, states: States, dzx: Array, ds: Array) -> Weights:
    """The gradients of gains and biases. dzx becomes the cotangent of the product of x.

    dzx (T, B, G*H) are cotangents of pre-activations, ds (T, B, H) those of what c', or a GRU's product for n, is
    normalised to. All is summed in one pass, in blocks of rows, since long sums lose digits.
    """
    size, gates = states.after[0].shape[2], about.gates
    blocks = -(-dzx.shape[0] * dzx.shape[1] // DEPTH)
    sums = np.zeros((blocks, 3 * gates + 2, size), dzx.dtype)
    gain = plain(w["gain_ih"])

    def work(first: int, last: int) -> None:
        do = _lstm_rows if "c" in about.parts else _gru_rows
        do(states.z, states.after[1], gain, dzx, ds, sums, first, last)

    threads.share(work, blocks, 20.0 * dzx.size)
    total = sums.sum(axis=0)
    gain_x, gain_h, bias = total[: 3 * gates].reshape(3, gates * size)
    gradients = {"gain_ih": gain_x, "gain_hh": gain_h}
    if "c" in about.parts:
        gradients["gain_c"] = total[3 * gates]
    if "bias_ih" in w:
        gradients["bias_ih"], gradients["bias_hh"] = bias, bias.copy()
        if "c" in about.parts:
            gradients["bias_c"] = total[3 * gates + 1]
        else:  # that of n is added to its product alone
            gradients["bias_hh"][2 * size :] = total[3 * gates]
    return gradients


@kernel
def _lstm_rows(z, c, gain, dz, ds, sums, first, last):
    """Sums of blocks first to last, and what becomes of dz in them."""
    size, columns = ds.shape[2], z.shape[2]
    for block in range(first, last):
        total = address(sums, block * 14 * size)
        for row in range(block * DEPTH, min((block + 1) * DEPTH, ds.shape[0] * ds.shape[1])):
            x, d = address(z, row * columns), address(dz, row * 4 * size)
            moments = offset(x, 12 * size)
            add_product(total, d, x, 4 * size)
            add_product(offset(total, 4 * size), d, offset(x, 4 * size), 4 * size)
            add(offset(total, 8 * size), d, 4 * size)
            _add_centred(
                offset(total, 12 * size), address(ds, row * size), address(c, row * size), moments[2], moments[3], size
            )
            add(offset(total, 13 * size), address(ds, row * size), size)
            unit_back(x, moments[0], address(gain, 0), d, 4 * size)


@kernel
def _gru_rows(z, _, gain, dz, ds, sums, first, last):
    """The same; ds holds the cotangents of the normalised product for n."""
    size, columns = ds.shape[2], z.shape[2]
    for block in range(first, last):
        total = address(sums, block * 11 * size)
        for row in range(block * DEPTH, min((block + 1) * DEPTH, ds.shape[0] * ds.shape[1])):
            x, d, dm = address(z, row * columns), address(dz, row * 3 * size), address(ds, row * size)
            m, moments = offset(x, 3 * size), offset(x, 9 * size)
            add_product(total, d, x, 3 * size)
            add_product(offset(total, 3 * size), d, m, 2 * size)
            add_product(offset(total, 5 * size), dm, offset(m, 2 * size), size)
            add(offset(total, 6 * size), d, 3 * size)
            add(offset(total, 9 * size), dm, size)
            unit_back(x, moments[0], address(gain, 0), d, 2 * size)
            unit_back(offset(x, 2 * size), moments[1], address(gain, 2 * size), offset(d, 2 * size), size)


@kernel
def _add_centred(total, d, x, mean, scale, size):
    """total[:size] += d N(x)."""
    for j in range(size):
        total[j] += d[j] * ((x[j] - mean) * scale)
