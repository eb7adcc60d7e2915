"""Gradients of a layer's weights, and of its input, from what the loop back left of every step."""

from __future__ import annotations

import numpy as np

from .. import kinds
from ..kinds import Kind, State
from . import around, norm_weights, threads
from .arguments import EMPTY, States
from .noise import Noise
from .product import Array, Storage, plain
from .sums import SHARES, outer_sum, row_sum


def at_once(
    about: Kind,
    w: kinds.Weights,
    x: Array,
    states: States,
    dzx: Array,
    dzh: Array,
    sums: Array,
    reverse: bool,
    need_dx: bool,
) -> tuple[Array | None, kinds.Weights]:
    """dx, and the gradients of the weights, in one compiled call a thread: of a layer that :mod:`.around` serves."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    made = {name: np.empty(w[name].shape, x.dtype) for name in names[: 2 if about.norms else 4] if name in w}
    none = EMPTY[x.dtype]
    dw, dw_hh, db, db_hh = [made.get(name, none[1]) for name in names]
    rows_x, hs, dz, dz_hh = [array.reshape(-1, array.shape[2]) for array in (x, states.after[0], dzx, dzh)]
    w_ih, h0, dx = plain(w["weight_ih"]), states.initial[0], np.empty(x.shape, x.dtype) if need_dx else None
    rows_dx = none[2] if dx is None else dx.reshape(rows_x.shape)
    given = dz, rows_x, w_ih, rows_dx, dw, db, about.apart, dz_hh, h0, hs, reverse, dw_hh, db_hh
    operations = 2.0 * (dzx.size * x.shape[2] * (2 if need_dx else 1) + dzh.size * hs.shape[1])
    threads.share(lambda first, last: around.gradients(*given, (first, last)), SHARES, operations)
    if about.norms:
        made |= norm_weights.gradients(about, w, sums)
    return dx, made


def of(
    about: Kind,
    w: kinds.Weights,
    x: Array,
    states: States,
    dzx: Array,
    dzh: Array,
    sums: Array,
    own: int,
    noise: Noise | None,
    restart: Array | None,
    reverse: bool,
    storage: Storage,
) -> kinds.Weights:
    """The gradients of the weights of any cell and call; ``storage`` says what their products round."""
    computed = states if noise is None or not noise.zoned else states._replace(after=noise.raw)  # by cells themselves
    gradients: kinds.Weights = {}
    if about.places:
        dzh = np.ascontiguousarray(dzh[..., : len(w["weight_hh"])])
        gradients["weight_hh"] = _recurrent_gradient(about, own, states, dzx, dzh, restart, reverse, noise, storage)
    if noise is not None and noise.faded:
        gradients["fade"] = noise.dfade
    if about.norms:
        gradients |= norm_weights.gradients(about, w, sums)
    elif "bias_ih" in w:
        gradients["bias_ih"] = row_sum(dzx)
        gradients["bias_hh"] = row_sum(dzh) if about.apart else gradients["bias_ih"].copy()
    if about.diagonals:
        gradients[about.diagonals_in] = _diagonal_gradients(
            about, states, computed.after, dzx, restart, reverse
        ).reshape(w[about.diagonals_in].shape)
    gradients["weight_ih"] = outer_sum([(dzx, x)], storage)
    return gradients


def _recurrent_gradient(
    about: Kind,
    own: int,
    states: States,
    dzx: Array,
    dzh: Array,
    restart: Array | None,
    reverse: bool,
    noise: Noise | None,
    storage: Storage,
) -> Array:
    """The gradient of weight_hh, whose units are in heads of ``own``."""
    h0, hs = states.initial[0], states.after[0]
    if noise is not None and noise.masked:
        h0, hs = h0 * noise.mask, hs * noise.mask
    if own < hs.shape[2]:
        return _heads_gradient(len(about.places), own, dzh, states_before(h0, hs, restart, reverse), storage)
    if about.between:
        size, (first, second) = hs.shape[2], about.products
        between = states.z[..., (about.kept - second) * size : about.kept * size]
        h_before = states_before(h0, hs, restart, reverse)
        if noise is not None and noise.faded:
            h_before *= noise.fade
        parts = (dzx[..., : first * size], h_before), (dzx[..., first * size :], between)
        return np.concatenate([outer_sum([part], storage) for part in parts])
    if restart is None:
        # Each step started from the state after the step before, and the first from the initial one.
        ahead, behind, start = (dzh[:-1], hs[1:], dzh[-1:]) if reverse else (dzh[1:], hs[:-1], dzh[:1])
        return outer_sum([(ahead, behind), (start, h0[None])], storage)
    return outer_sum([(dzh, states_before(h0, hs, restart, reverse))], storage)


def _heads_gradient(blocks: int, own: int, dz: Array, h: Array, storage: Storage) -> Array:
    """The same of heads: (blocks*H, own)."""
    steps, batch, size = h.shape
    heads, gradient = size // own, np.empty((blocks, size // own, own, own), dz.dtype)
    parts = dz.reshape(steps, batch, blocks, heads, own)
    for head in range(heads):
        d = parts[:, :, :, head].reshape(steps, batch, blocks * own)
        found = outer_sum([(d, h[..., head * own : (head + 1) * own])], storage)
        gradient[:, head] = found.reshape(blocks, own, own)
    return gradient.reshape(blocks * size, own)


def _diagonal_gradients(
    about: Kind, states: States, computed: State, dzx: Array, restart: Array | None, reverse: bool
) -> Array:
    """The gradients of elementwise weights (diagonals, H)."""
    size = dzx.shape[2] // about.gates
    before = {
        part: states_before(states.initial[part], states.after[part], restart, reverse)
        for part in {row.part for row in about.diagonals if not row.new}
    }
    seen = [computed[row.part] if row.new else before[row.part] for row in about.diagonals]
    dzs = [dzx[..., row.gate * size : (row.gate + 1) * size] for row in about.diagonals]
    return np.stack([np.einsum("tbh,tbh->h", dz, part) for dz, part in zip(dzs, seen, strict=True)])


def states_before(first: Array, states: Array, restart: Array | None, reverse: bool) -> Array:
    """The state each step started from."""
    before = np.empty_like(states)
    if reverse:
        before[:-1], before[-1] = states[1:], first
    else:
        before[1:], before[0] = states[:-1], first
    if restart is not None:
        before[restart] = 0
    return before
