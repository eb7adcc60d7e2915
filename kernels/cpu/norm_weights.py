"""What layer normalisation has outside the loop over time: the rows that its steps read, and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kinds import Kind, Weights
from .product import DEPTH, Array

GROUPS = 16  # of sequences, each with sums of its own, so that these are the same on however many threads


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


def together(about: Kind, batch: int) -> int:
    """How many sequences add to the same sums on the way back; of cells that normalise nothing, each is alone."""
    return -(-batch // GROUPS) if about.norms else 1


def steps_together(group: int) -> int:
    """How many steps of such sequences add to the same sums: no more, since long sums lose digits."""
    return max(DEPTH // group, 1)


def sums_for(about: Kind, steps: int, batch: int, size: int, dtype: Any) -> Array:
    """Zeros (steps, sequences, rows * H), as many of either as have sums of their own."""
    group = together(about, batch)
    return np.zeros((-(-steps // steps_together(group)), -(-batch // group), about.rows * size), dtype)


def gradients(about: Kind, w: Weights, sums: Array) -> Weights:
    """The gradients of gains and biases, from ``sums`` of rows like those of :func:`step_rows`."""
    gates, size = about.gates, sums.shape[2] // about.rows
    total = sums.sum(axis=(0, 1)).reshape(about.rows, size)
    gain_x, gain_h, bias = total[: 3 * gates].reshape(3, gates * size)
    found = {"gain_ih": gain_x, "gain_hh": gain_h}
    if "c" in about.parts:
        found["gain_c"] = total[3 * gates]
    if "bias_ih" in w:
        found["bias_ih"], found["bias_hh"] = bias, bias.copy()
        if "c" in about.parts:
            found["bias_c"] = total[3 * gates + 1]
        else:  # that of n is added to its product alone
            found["bias_hh"][2 * size :] = total[3 * gates]
    return found
