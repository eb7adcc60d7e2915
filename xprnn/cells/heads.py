"""Products with h by heads: equal groups of neighbouring units, each of which sees itself alone.

weight_hh (G*H, H / heads) has the rows of any cell, and columns for the units of the row's own head. In between arrays
have the head first: (heads, rows, ...).
"""

from __future__ import annotations

import math

from xprnn.backend import Array, namespace
from xprnn.cells.cell import Weights, masked, total


def _by_heads(z: Array, heads: int, blocks: int) -> Array:
    """(..., blocks*H) to (heads, rows, blocks*H/heads), rows being all that comes before."""
    xp, rows, own = namespace(z), math.prod(z.shape[:-1]), z.shape[-1] // blocks // heads
    parts = xp.permute_dims(xp.reshape(z, (rows, blocks, heads, own)), (2, 0, 1, 3))
    return xp.reshape(parts, (heads, rows, blocks * own))


def _matrices(w: Array, blocks: int) -> Array:
    """weight_hh as one matrix a head: (heads, blocks*H/heads, H/heads)."""
    xp, own = namespace(w), w.shape[1]
    heads = w.shape[0] // blocks // own
    parts = xp.permute_dims(xp.reshape(w, (blocks, heads, own, own)), (1, 0, 2, 3))
    return xp.reshape(parts, (heads, blocks * own, own))


def headed_product(w: Weights, h: Array, blocks: int) -> Array:
    """h weight_hh^T + bias_hh, (B, blocks*H)."""
    xp, matrices = namespace(h), _matrices(w["weight_hh"], blocks)
    heads, _, own = matrices.shape
    products = _by_heads(masked(w, h), heads, 1) @ xp.permute_dims(matrices, (0, 2, 1))
    products = xp.permute_dims(xp.reshape(products, (heads, h.shape[0], blocks, own)), (1, 2, 0, 3))
    zh = xp.reshape(products, (h.shape[0], blocks * h.shape[1]))
    return zh + w["bias_hh"] if "bias_hh" in w else zh


def headed_product_vjp(w: Weights, dzh: Array, blocks: int) -> Array:
    """The cotangent of h."""
    xp, matrices = namespace(dzh), _matrices(w["weight_hh"], blocks)
    dh = xp.permute_dims(_by_heads(dzh, matrices.shape[0], blocks) @ matrices, (1, 0, 2))
    return masked(w, xp.reshape(dh, (dzh.shape[0], dzh.shape[1] // blocks)))


def headed_weight_vjp(w: Weights, dzh: Array, h: Array, blocks: int) -> Weights:
    """The gradients of weight_hh and bias_hh from all steps at once."""
    xp, (rows, own) = namespace(dzh), w["weight_hh"].shape
    heads = h.shape[-1] // own
    d = xp.permute_dims(_by_heads(dzh, heads, blocks), (0, 2, 1)) @ _by_heads(masked(w, h), heads, 1)
    d = xp.permute_dims(xp.reshape(d, (heads, blocks, own, own)), (1, 0, 2, 3))
    gradients = {"weight_hh": xp.reshape(d, (rows, own))}
    return gradients | {"bias_hh": total(dzh)} if "bias_hh" in w else gradients
