"""Sequences whose hidden state leaves projected, h' = W_hr m, where a cell computes m and c' from z and c alone.

As in loops.py, each thread runs all steps of its own sequences in one compiled call, by the same equations. Shapes: x
(T, B, I), h (T, B, P), m and c (T, B, H), z (S, R, N); of what is not kept there is room for a block of steps of z, for
one of m and for two of c. A step has two products, and its h takes the place that m has elsewhere. Gradients of weights
are products over all steps, as everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kinds
from ..kinds import KINDS, Flags, State
from . import equations, threads, weight_gradients
from .arguments import EMPTY, States, control_of, filled
from .compiling import inlined_kernel, shared_kernel
from .intrinsics import address, all_parts, call_at, offset, spread
from .loops import input_product
from .matmul import matmul
from .product import EXACT, Array, multiply, pack, padded_columns, plain
from .recurrence import BLOCK_BYTES, TURNS
from .rows import add, clear, copy
from .scratch import lined, scratch
from .sequence import diagonals_of, total_bias
from .sums import outer_sum


def forward(
    kind: int, w: kinds.Weights, x: Array, state: State, flags: Flags, reverse: bool, keep: bool, every: bool
) -> tuple[State, Any]:
    """As :func:`sequence.forward`, of a kind that ``leaves_h``, with weight_hr (P, H) among its weights."""
    about, x, (steps, batch, _) = KINDS[kind], plain(x), x.shape
    (wide, size), dtype, slots = w["weight_hr"].shape, x.dtype, steps if every or keep else min(TURNS, steps)
    diagonals, bias = diagonals_of(about, w, x), total_bias(about, w, size, dtype)
    weights = pack(w["weight_ih"].T), pack(w["weight_hh"].T), pack(w["weight_hr"].T), bias, diagonals
    (step, _), control, columns = equations.ahead(kind, dtype.itemsize), tuple(control_of(flags)), bias.size
    initial = tuple(map(plain, state))
    after = lined((steps, batch, wide), dtype), lined((slots, batch, size), dtype)
    kept = [lined((steps, batch, width), dtype) for width in (columns, size)] if keep else []

    def work(b0: int, b1: int) -> None:
        block = min(max(BLOCK_BYTES // ((b1 - b0) * bias.nbytes), 1), steps)
        z, ms = kept or [lined((count, b1 - b0, width), dtype) for count, width in ((block, columns), (1, size))]
        _walk(kind, step, x, weights, (*initial, *after, ms, z), control, (b0, b1, reverse, block, keep))

    threads.share(work, batch, _operations(w, x))
    return after, (States(initial, after, kept[0]), kept[1]) if keep else None


def way(w: kinds.Weights, x: Array) -> str:
    """What is shared among threads, in words; nothing where one does it all."""
    parts = threads.shares(x.shape[1], _operations(w, x))
    return f"sequences on {parts} threads" if parts > 1 else ""


def _operations(w: kinds.Weights, x: Array) -> float:
    """How many a call takes."""
    return 2.0 * x.shape[0] * x.shape[1] * sum(w[name].size for name in ("weight_ih", "weight_hh", "weight_hr"))


@inlined_kernel
def _before(first, states, k, t, reverse, batch, b0, restarts, restart, spare, rows, size):
    """Where a part of the state lies that step t starts from, the k-th; as recurrence.state_before."""
    slots = states.shape[0]
    before = (t + 1 if reverse else t - 1) % slots
    old = address(first, b0 * size) if k == 0 else address(states, (before * batch + b0) * size)
    if not restarts:
        return old
    for b in range(rows):
        if restart[b] == 0:
            copy(offset(spare, b * size), offset(old, b * size), size)
        else:
            clear(offset(spare, b * size), size)
    return spare


@shared_kernel
def _walk(kind, step, x, weights, states, control, span):
    b0, b1, reverse, block, keep = span
    held, advance, restarts, restart = control
    w_ih, w_hh, w_hr, bias, diagonals = weights
    first_h, first_c, hs, cs, ms, z = states
    (steps, batch, inputs), wide, size, rows = x.shape, hs.shape[2], cs.shape[2], b1 - b0
    columns, z_rows, first = z.shape[2], z.shape[1], b0 if keep else 0
    spare_h = np.empty(rows * wide if restarts else 0, x.dtype)
    spare_c = np.empty(rows * size if restarts else 0, x.dtype)
    across = padded_columns(wide, address(z, 0))
    product = np.empty((rows, across), x.dtype)
    for begin in range(0, steps, block):
        end = min(steps, begin + block)
        low = steps - end if reverse else begin
        z_low = low if keep else 0
        for k in range(end - begin):
            for b in range(rows):
                copy(address(z, ((z_low + k) * z_rows + first + b) * columns), address(bias, 0), columns)
        input_product(
            address(x, (low * batch + b0) * inputs), end - begin, rows, batch * inputs, inputs, address(w_ih, 0),
            inputs, w_ih.shape[0], address(z, (z_low * z_rows + first) * columns), z_rows, columns,
        )  # fmt: skip
        for k in range(begin, end):
            t = steps - 1 - k if reverse else k
            at = t * batch + b0
            here, again = address(advance, at), address(restart, at)
            h = _before(first_h, hs, k, t, reverse, batch, b0, restarts, again, address(spare_h, 0), rows, wide)
            c = _before(first_c, cs, k, t, reverse, batch, b0, restarts, again, address(spare_c, 0), rows, size)
            z_here = address(z, ((z_low + t - low) * z_rows + first) * columns)
            m = address(ms, at * size if keep else 0)
            new = address(cs, (t % cs.shape[0] * batch + b0) * size)
            multiply(h, 1, 0, rows, wide, address(w_hh, 0), wide, w_hh.shape[0], z_here, 0, columns)
            for b in range(rows):
                if held and here[b] == 0:  # the product for the gradient of weight_hr sees these rows
                    clear(offset(m, b * size), size)
            given = kind, z_here, columns, all_parts((m, c), 0), all_parts((m, new), 0), address(diagonals, 0)
            call_at(step, (*given, size, size, held, here, rows))
            clear(address(product, 0), rows * across)
            multiply(m, 1, 0, rows, size, address(w_hr, 0), size, across, address(product, 0), 0, across)
            for b in range(rows):
                stays = held and here[b] == 0
                source = offset(h, b * wide) if stays else address(product, b * across)
                copy(address(hs, (at + b) * wide), source, wide)


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
    from_start: bool,
) -> tuple[Array | None, State, kinds.Weights]:
    """As :func:`sequence.backward`."""
    about, x, (states, ms), (steps, batch, _) = KINDS[kind], plain(x), saved, x.shape
    (wide, size), dtype = w["weight_hr"].shape, x.dtype
    dz = scratch("dzx", (steps, batch, about.gates * size), dtype)
    dhs = scratch("dhs", (steps, batch, wide), dtype)
    weights = pack(w["weight_hh"]), pack(w["weight_hr"]), diagonals_of(about, w, x)
    (step, _), control = equations.back(kind, dtype.itemsize), tuple(control_of(flags))
    given, dstate = filled(dsequences, 3, dtype), tuple(map(plain, dstate))
    read, written = (states.initial[1], states.after[1], states.z), (*given, *dstate, dhs, dz)

    def work(b0: int, b1: int) -> None:
        _walk_back(kind, step, weights, read, written, control, (b0, b1, reverse, from_start))

    threads.share(work, batch, _operations(w, x))
    if flags.advance is not None:  # what was not looked at may be NaN, and zero times NaN is NaN
        x = np.where(flags.advance[..., None], x, dtype.type(0))
    gradients = weight_gradients.of(
        about, w, x, states, dz, dz, EMPTY[dtype][3], wide, None, flags.restart, reverse, EXACT
    )
    gradients["weight_hr"] = outer_sum([(dhs, ms)])
    dx = matmul(dz.reshape(-1, dz.shape[2]), w["weight_ih"]).reshape(x.shape) if need_dx else None
    return dx, dstate if from_start else (None, None), gradients


@shared_kernel
def _walk_back(kind, step, weights, states, cotangents, control, span):
    """Fill the cotangents of every product, and turn those of the last state into those of the initial one."""
    b0, b1, reverse, first_too = span
    held, advance, restarts, restart = control
    w_hh, w_hr, diagonals = weights
    first_c, cs, z = states
    given_h, given_c, dh, dc, dhs, dz = cotangents
    (steps, batch, size), wide, rows = cs.shape, dhs.shape[2], b1 - b0
    columns, inner, across, deep = z.shape[2], dz.shape[2], w_hh.shape[0], w_hr.shape[0]
    back, dm = np.zeros((rows, across), z.dtype), np.zeros((rows, deep), z.dtype)
    spare = np.empty(rows * size if restarts else 0, z.dtype)
    dcell = address(dc, b0 * size)
    for b in range(rows):
        copy(address(back, b * across), address(dh, (b0 + b) * wide), wide)
    for k in range(steps - 1, -1, -1):
        t = steps - 1 - k if reverse else k
        at = t * batch + b0
        here, again, d = address(advance, at), address(restart, at), address(dz, at * inner)
        c = _before(first_c, cs, k, t, reverse, batch, b0, restarts, again, address(spare, 0), rows, size)
        new = address(cs, at * size)
        if given_c.size > 0:
            add(dcell, address(given_c, at * size), rows * size)
        for b in range(rows):
            row, to = address(back, b * across), address(dhs, (at + b) * wide)
            if given_h.size > 0:
                add(row, address(given_h, (at + b) * wide), wide)
            if held and here[b] == 0:  # the state was passed on, and so is this
                clear(to, wide)
            else:
                copy(to, row, wide)
                clear(row, across)
        clear(address(dm, 0), rows * deep)
        multiply(address(dhs, at * wide), 1, 0, rows, wide, address(w_hr, 0), wide, deep, address(dm, 0), 0, deep)
        given = kind, address(z, at * columns), columns, spread(c, 0), spread(new, 0), address(diagonals, 0)
        flow = address(dm, 0), deep, spread(dcell, 0), d, d, inner, address(diagonals, 0), 1
        call_at(step, (*given, *flow, size, held, here, rows))
        if k == 0 and not first_too:  # what is left would go to the initial state alone
            continue
        multiply(d, 1, 0, rows, inner, address(w_hh, 0), inner, across, address(back, 0), 0, across)
        for b in range(rows):
            if restarts and again[b] != 0:
                clear(address(back, b * across), across)
                clear(offset(dcell, b * size), size)
    for b in range(rows):
        copy(address(dh, (b0 + b) * wide), address(back, b * across), wide)
