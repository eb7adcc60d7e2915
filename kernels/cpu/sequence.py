"""Recurrent sequences on the host: packs weights, allocates, and runs the compiled loops.

Arrays are NumPy's, float32 or float64, all of one type, of any layout; a kind of cell is a number, of kinds.py.
Weights are those of one layer in one direction, by PyTorch's names: weight_ih (G*H, I), weight_hh (G*H, H), bias_ih and
bias_hh (G*H), and what the kind has of elementwise weights, such as weight_ch (3, H) for peepholes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from .. import kinds
from ..kinds import KINDS, Flags, Kind, State
from . import alone, around, at_once, columns, equations, loops, norm_weights, threads, units, weight_gradients
from .arguments import (
    EMPTY,
    FREE,
    Control,
    Cotangents,
    Span,
    States,
    Weights,
    control_of,
    filled,
    parted,
    plain_tuples,
    room,
)
from .matmul import matmul
from .noise import Noise, noise_of
from .product import EXACT, Array, Storage, padded, plain
from .recurrence import BLOCK_BYTES, TURNS
from .scratch import lined, scratch
from .unpacked import FEW


def forward(
    kind: int,
    w: kinds.Weights,
    x: Array,
    state: State,
    flags: Flags,
    reverse: bool,
    keep: bool,
    storage: Storage = EXACT,
    mask: Array | None = None,
    zoneout: tuple[Any, ...] = (),
    drop: Array | None = None,
    fade: Array | None = None,
    every: bool = True,
) -> tuple[State, Any]:
    """Each part of the state after every step (T, B, H), and what the way back needs if it is to be kept.

    Unless ``every`` part is asked for, or kept, there is of all but h what was after two steps: after step t in t % 2.
    ``storage`` says how packed weights are stored: with PAIRED, x and h are rounded to bfloat16 like these. ``mask``
    (B, H) is what h is multiplied by in its product, ``zoneout`` for each part how much of the old state stays,
    ``drop`` (T, B, H) what candidates are multiplied by, and ``fade`` (T, B, H) what all of h is before each step of
    RESET_BEFORE.
    """
    about, x = KINDS[kind], plain(x)
    steps, batch, _ = x.shape
    size, dtype = state[0].shape[1], x.dtype
    memory = len(state), (steps, batch, size), dtype, steps if every or keep else min(TURNS, steps)
    control, noise = control_of(flags), noise_of(mask, zoneout, drop, fade, memory[1], keep, dtype)
    if noise is None and control is FREE and storage is EXACT:
        found = _at_one_go(about, w, x, state, reverse, keep, memory)
        if found is not None:
            return found
    own, diagonals = own_units(about, w, size), diagonals_of(about, w, x)
    after = room(*memory, lined if batch > 1 else np.empty)
    parts = 1 if noise is not None else column_parts(about, x.shape, size, own, dtype.itemsize)
    packed_at_once = parts == 1 and storage is EXACT and around.serves(about, own, size, 16.0 * w["weight_hh"].size)
    width = scratch_columns(about, size, own, dtype.itemsize)
    initial, results = filled(state, 2, dtype), parted(after, len(state))
    whole = keep and not (about.by_state and parts == 1 and noise is None)
    z = lined((steps, batch, width), dtype) if whole else EMPTY[dtype][3]
    states, code = States(initial, after, z), equations.ahead(kind, dtype.itemsize, drop is not None)
    if parts > 1:
        matrices, bias = (w["weight_ih"], w["weight_hh"]), total_bias(about, w, size, dtype)
        columns.run(parts, kind, x, *matrices, bias, diagonals, states, control, reverse, keep, storage)
        return results, (states, None) if keep else None
    if packed_at_once and noise is None and w["weight_ih"].nbytes + w["weight_hh"].nbytes <= around.OWN_BYTES:
        shares = threads.shares(batch, operations_of(about, x.shape, size, own))
        given = _plain_weights(about, w), diagonals, width, x, *plain_tuples(states, control), reverse, whole
        around.shared_walk(threads.desk_for(shares), kind, code, *given, shares)
    else:
        w_ih, bias = storage.pack(w["weight_ih"].T), total_bias(about, w, size, dtype)
        first, second = forward_products(about, w, size, storage)
        weights, masks = Weights(first, second, diagonals, own), noise and tuple(noise)

        def work(b0: int, b1: int) -> None:
            here, span = states, Span(b0, b1, reverse, _block(bias.nbytes, b0, b1, steps), whole)
            if not whole:
                here = States(initial, after, lined((span.block, b1 - b0, width), dtype))
            loops.walk(kind, code, x, w_ih, bias, *plain_tuples(weights, here, control, span), masks)

        threads.share(work, batch, operations_of(about, x.shape, size, own))
    return results, (states, noise) if keep else None


def _block(row_bytes: int, b0: int, b1: int, steps: int) -> int:
    """How many steps' input products are one, for rows of z of so many bytes."""
    return min(max(BLOCK_BYTES // ((b1 - b0) * row_bytes), 1), steps)


def _at_one_go(
    about: Kind, w: kinds.Weights, x: Array, state: State, reverse: bool, keep: bool, memory: tuple[Any, ...]
) -> tuple[State, Any] | None:
    """:func:`forward` of a call without flags, noise and rounding, if one compiled function is to run it; else None."""
    walk = _whole_walk(about, w, x.shape, state[0].shape[1], x.itemsize, keep)
    if walk is None:
        return None
    after, initial = room(*memory), filled(state, 2, x.dtype)
    z = walk(about, w, diagonals_of(about, w, x), x, initial, after, reverse)
    return parted(after, len(state)), (States(initial, after, z), None) if keep else None


def _whole_walk(
    about: Kind, w: kinds.Weights, shape: tuple[int, ...], size: int, itemsize: int, keep: bool
) -> Callable[..., Array] | None:
    """That function, where there is one; it gives z, which is empty unless something is to be kept."""
    (steps, batch, _), own = shape, own_units(about, w, size)
    once = about.even and own == size and at_once.multiplies_once(size, steps, batch, itemsize)
    if once and column_parts(about, shape, size, own, itemsize) == 1:
        return _walk_at_once
    if keep or not units.serves(about.number, batch) or steps * batch <= FEW:
        return _walk_at_once if one_call(about, shape, size, own, itemsize, keep) else None
    whole = around.serves(about, own, size, 16.0 * w["weight_hh"].size)
    return _walk_alone if whole and column_parts(about, shape, size, own, itemsize) == 1 else None


def one_call(about: Kind, shape: tuple[int, ...], size: int, own: int, itemsize: int, keep: bool) -> bool:
    """Whether :func:`at_once.walk` runs a call of x of a shape, without flags, noise and rounding."""
    steps, batch, inputs = shape
    row_bytes = scratch_columns(about, size, own, itemsize) * itemsize
    if not at_once.serves(about, own, size, inputs, steps, batch, row_bytes):
        return False
    alone = not keep and units.serves(about.number, batch)
    return steps * batch <= FEW or not (alone or column_parts(about, shape, size, own, itemsize) > 1)


def column_parts(about: Kind, shape: tuple[int, ...], size: int, own: int, itemsize: int) -> int:
    """Into how many parts the columns of each step are cut, for x of a shape; 1 where they are not."""
    steps, batch, _ = shape
    step = 2.0 * batch * size * own * len(about.places)
    return columns.parts(about.number, steps, batch, size, step, itemsize) if own == size else 1


def operations_of(about: Kind, shape: tuple[int, ...], size: int, own: int) -> float:
    """How many operations a call takes, for x of a shape."""
    steps, batch, inputs = shape
    return 2.0 * steps * batch * size * (inputs * about.gates + own * len(about.places))


def way(kind: int, w: kinds.Weights, x: Array, state: State, noisy: bool) -> str:
    """What is shared among threads on the way forward, in words; nothing where one thread does it all."""
    about, size = KINDS[kind], state[0].shape[1]
    own = own_units(about, w, size)
    if not noisy and one_call(about, x.shape, size, own, x.itemsize, False):
        return ""
    if not noisy and (parts := column_parts(about, x.shape, size, own, x.itemsize)) > 1:
        return f"units of each step on {parts} threads"
    parts = threads.shares(x.shape[1], operations_of(about, x.shape, size, own))
    return f"sequences on {parts} threads" if parts > 1 else ""


def _walk_at_once(
    about: Kind, w: kinds.Weights, diagonals: Array, x: Array, initial: tuple[Array, ...], after: tuple[Array, ...],
    reverse: bool,
) -> Array:  # fmt: skip
    """:func:`at_once.walk` over x (T, B, I); the z of its steps."""
    size, itemsize = initial[0].shape[1], x.itemsize
    z = np.empty((*x.shape[:2], scratch_columns(about, size, size, itemsize)), x.dtype)
    (step, _), weights = equations.ahead(about.number, itemsize), _plain_weights(about, w)

    def work(b0: int, b1: int) -> None:
        given, old = x[:, b0:b1], tuple([part[b0:b1] for part in initial])
        new, here = tuple([part[:, b0:b1] for part in after]), z[:, b0:b1]
        if not at_once.walk(about.number, step, *weights, diagonals, given, old, new, here, reverse):
            raise ValueError(f"weights, or states, do not fit x of shape {x.shape} and {size} units")

    batch = x.shape[1]
    if at_once.multiplies_once(size, len(x), batch, itemsize):
        threads.share(work, batch, operations_of(about, x.shape, size, size))
    else:  # parts of several steps do not lie together
        work(0, batch)
    return z


def _walk_alone(
    about: Kind, w: kinds.Weights, diagonals: Array, x: Array, initial: tuple[Array, ...], after: tuple[Array, ...],
    reverse: bool,
) -> Array:  # fmt: skip
    """:func:`alone.walk` over x (T, 1, I), of whose z nothing is kept."""
    weights, row = _plain_weights(about, w), about.gates * padded(initial[0].shape[1], x.itemsize) * x.itemsize
    block = min(max(BLOCK_BYTES // row, 1), len(x))
    alone.walk(about.number, *weights, x, initial, after, reverse, block)
    return diagonals[:0]


def _plain_weights(about: Kind, w: kinds.Weights) -> tuple[Array, ...]:
    """Weights and biases as compiled code takes them; biases may be empty, and are where they meet no product."""
    w_ih, w_hh = plain(w["weight_ih"]), plain(w["weight_hh"])
    if not about.norms and "bias_ih" in w:
        return w_ih, w_hh, plain(w["bias_ih"]), plain(w["bias_hh"])
    none = EMPTY[w_hh.dtype][1]
    return w_ih, w_hh, none, none


def backward(
    kind: int,
    w: kinds.Weights,
    x: Array,
    saved: Any,
    flags: Flags,
    reverse: bool,
    dsequences: State,
    dstate: State,
    need_dx: bool,
    storage: Storage = EXACT,
    from_start: bool = True,
) -> tuple[Array | None, State, kinds.Weights]:
    """dx, the cotangents of the initial state, which are None unless ``from_start``, and the gradients of the weights.

    ``dsequences`` are those of every state, None where zero; ``dstate`` those of the final one, which is overwritten.
    Where h faded, the cotangent of ``fade`` is among the gradients.
    ``storage`` says which products round what they multiply, as in :func:`forward`: all or none.
    """
    about, x, (states, noise) = KINDS[kind], plain(x), saved
    steps, batch, _ = x.shape
    size, dtype = dstate[0].shape[1], x.dtype
    dzx = scratch("dzx", (steps, batch, about.gates * size), dtype)
    dzh = scratch("dzh", dzx.shape, dtype) if about.apart else dzx
    control, own = control_of(flags), own_units(about, w, size)
    first_too = from_start or (noise is not None and noise.faded)
    after, state = filled(dsequences, 3, dtype), filled(dstate, 2, dtype)
    sums = norm_weights.sums_for(about, steps, batch, size, dtype) if about.norms else EMPTY[dtype][3]
    group = norm_weights.together(about, batch)
    given, alike = tuple([len(part) > 0 for part in after]), norm_weights.steps_together(group)
    cotangents = Cotangents(given, after, state, dzx, dzh, sums, group, alike)
    _walk_back(about, w, x, states, noise, cotangents, control, own, reverse, first_too, storage)
    if flags.advance is not None:  # what was not looked at may be NaN, and zero times NaN is NaN
        x = np.where(flags.advance[..., None], x, dtype.type(0))
    free = control is FREE and noise is None and storage is EXACT
    if free and about.even and own == size and w["weight_ih"].nbytes <= around.OWN_BYTES:
        dx, gradients = weight_gradients.at_once(about, w, x, states, dzx, dzh, sums, reverse, need_dx)
    else:
        gradients = weight_gradients.of(
            about, w, x, states, dzx, dzh, sums, own, noise, flags.restart, reverse, storage
        )
        dx = matmul(dzx.reshape(-1, dzx.shape[2]), w["weight_ih"], storage).reshape(x.shape) if need_dx else None
    return dx, parted(state, len(about.parts)) if from_start else (None,) * len(about.parts), gradients


def _walk_back(
    about: Kind,
    w: kinds.Weights,
    x: Array,
    states: States,
    noise: Noise | None,
    cotangents: Cotangents,
    control: Control,
    own: int,
    reverse: bool,
    first_too: bool,
    storage: Storage,
) -> None:
    """Fill the cotangents of pre-activations, and those of the initial state, which those of the final one become."""
    (steps, batch, size), kind = states.after[0].shape, about.number
    diagonals, group = diagonals_of(about, w, x), cotangents.group
    there = len(states.z) == steps  # which columns are told of, whoever ran the way forward
    if noise is None and there and (parts := column_parts(about, x.shape, size, own, x.itemsize)) > 1:
        given = states, cotangents, control, reverse, first_too, storage
        columns.run_back(parts, kind, w["weight_hh"], diagonals, *given)
        return
    if steps > 1 or first_too or about.between:
        first, second = _backward_products(about, w, size, storage)
    else:  # no product goes back
        first = second = np.empty((padded(size, x.itemsize), 0), storage.dtype(x.dtype))
    weights, masks = Weights(first, second, diagonals, own), noise and tuple(noise)
    code = equations.back(kind, x.itemsize, noise is not None and noise.dropped)

    groups = plain_tuples(weights, states, cotangents, control)  # who hands out parts shall soon let go of the GIL

    def work(g0: int, g1: int) -> None:
        span = g0 * group, min(g1 * group, batch), reverse, steps, first_too
        loops.walk_back(kind, code, *groups, span, masks)

    threads.share(work, -(-batch // group), 2.0 * steps * batch * size * cotangents.zx.shape[2])


def forward_products(about: Kind, w: kinds.Weights, size: int, storage: Storage = EXACT) -> tuple[Array, Array]:
    """weight_hh packed for the way forward: the first product of a step, and the second."""
    w_hh = _recurrent_matrix(about, w, size)
    if (own := w_hh.shape[1]) < size:
        packed = np.concatenate([storage.pack(w_hh[low : low + own].T) for low in range(0, len(w_hh), own)])
        return packed, packed[:0]
    if not about.second:
        packed = storage.pack(w_hh.T)
        return packed, packed[:0]
    both = about.products[0] * size
    return storage.pack(w_hh[:both].T), storage.pack(w_hh[both:].T)


def _backward_products(about: Kind, w: kinds.Weights, size: int, storage: Storage) -> tuple[Array, Array]:
    """The same for the way back, where only the reset before the product keeps them apart."""
    w_hh = _recurrent_matrix(about, w, size)
    if (own := w_hh.shape[1]) < size:
        packed = np.concatenate([storage.pack(w_hh[low : low + own]) for low in range(0, len(w_hh), own)])
        return packed, packed[:0]
    if storage is EXACT and around.serves(about, own, size, 16.0 * w_hh.size):
        packed = around.packed(plain(w_hh))
        return packed, packed[:0]
    both = about.products[0] * size if about.between else len(w_hh)
    return storage.pack(w_hh[:both]), storage.pack(w_hh[both:])


def _recurrent_matrix(about: Kind, w: kinds.Weights, size: int) -> Array:
    """weight_hh (G*H, H), without rows where h is multiplied by no matrix; with fewer columns where there are heads."""
    return w["weight_hh"] if about.places else np.empty((0, size), w["weight_ih"].dtype)


def own_units(about: Kind, w: kinds.Weights, size: int) -> int:
    """How many units a unit sees in the product with h: all, or those of its head."""
    return int(w["weight_hh"].shape[1]) if about.places else size


@lru_cache
def scratch_columns(about: Kind, size: int, own: int, itemsize: int) -> int:
    """Columns of z: all kept blocks, moments behind them, and what the last panel of a product adds zeros to."""
    # A second product begins at its own block, and may reach further than all others.
    last = about.places[-about.second] * size + padded(about.second * size, itemsize) if about.second else 0
    if own < size:
        last = len(about.places) * size - own + padded(own, itemsize)
    return max(padded(about.kept * size + about.moments, itemsize), last)


def total_bias(about: Kind, w: kinds.Weights, size: int, dtype: Any) -> Array:
    """What rows of z start from. A GRU's r and z take the sum of both biases, n and its product one each."""
    bias = np.zeros(scratch_columns(about, size, own_units(about, w, size), dtype.itemsize), dtype)
    if "bias_ih" in w and not about.norms:  # which have them after products are normalised
        b_ih, b_hh = w["bias_ih"], w["bias_hh"]
        if about.apart:
            both, own = about.products[0] * size, about.places[-1] * size
            bias[:both] = b_ih[:both] + b_hh[:both]
            bias[both : len(b_ih)], bias[own : own + size] = b_ih[both:], b_hh[both:]
        else:
            np.add(b_ih, b_hh, out=bias[: len(b_ih)])
    return bias


def diagonals_of(about: Kind, w: kinds.Weights, x: Array) -> Array:
    """Elementwise weights (rows, H), or what functions are chosen, of the type of x."""
    if not about.rows and not about.functions:
        return EMPTY[x.dtype][2]
    if about.norms:
        return norm_weights.step_rows(about, w, len(w["gain_ih"]) // about.gates, x.dtype)
    if about.functions:
        return np.array(w["functions"], x.dtype)
    if about.constants:
        return np.repeat(np.array(w["constants"], x.dtype)[:, None], w["weight_hh"].shape[1], axis=1)
    return plain(w[about.diagonals_in]).reshape(len(about.diagonals), -1)
