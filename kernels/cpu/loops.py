"""A whole sequence in one compiled call, forward and back, for a share of its batch.

No thread waits for another between steps: each runs all steps of its own sequences b0 to b1. Shapes: x (T, B, I),
hs and cs (T, B, H), z (S, R, N) with N at least the columns of all gate blocks. Where z is kept for the way back, S = T
and R = B; otherwise z is scratch for one block of steps and one share. The input product is done for a block of steps
at a time, few enough that their pre-activations are still in the cache when their turn comes.
"""

from __future__ import annotations

import numpy as np

from ..kinds import KINDS, PARTS
from .bf16 import deep, lowered, operand, space_for
from .compiling import inlined_kernel, kernel, shared_kernel
from .intrinsics import address, addresses, all_parts, call_at, offset, offsets, spread
from .noise import add_masked, fade_back, masked, zone, zone_back
from .product import multiply, padded_columns
from .recurrence import (
    BETWEEN,
    first_product,
    heads_back,
    may_be_infinite,
    room_beyond,
    second_product,
    slots_of,
    state_after,
    state_before,
)
from .rows import add, clear, copy

FEW = 6  # with fewer rows than a tile has, the rows of the input product are steps instead of sequences
# Blocks of weight_hh in the product of the way back: all, where the second is not kept apart by a gate between them.
BACK = tuple(kind.products[0] if kind.between else len(kind.places) for kind in KINDS)


@inlined_kernel
def input_product(x, steps, rows, x_step, x_row, w, k, w_columns, z, z_rows, columns):
    """Add to z the product with x of some steps, each of so many rows; z has ``z_rows`` of a step."""
    dense = rows == z_rows and x_step == rows * x_row  # rows of one step begin where those of the step before end
    if rows < FEW and not dense:
        for b in range(rows):
            to = offset(z, b * columns)
            multiply(offset(x, b * x_row), 1, 0, steps, x_step, w, k, w_columns, to, 0, z_rows * columns)
    else:
        groups, together = (1, steps * rows) if dense else (steps, rows)
        multiply(x, groups, x_step, together, x_row, w, k, w_columns, z, z_rows * columns, columns)


@shared_kernel
def walk(kind, equations, x, w_ih, bias, weights, states, control, span, noise):
    """Run a cell over time, by its ``equations`` (equations.py).

    The groups are those of arguments.py, as plain tuples, and of noise.py, or None.
    With noise this is compiled a second time, when somebody asks for it.
    """
    b0, b1, reverse, block, keep = span
    held, advance, restarts, restart = control
    w_first, w_second, diagonals, own = weights
    first_states, states_after, z = states
    steps, batch, inputs = x.shape
    size, columns, z_rows = states_after[0].shape[2], z.shape[2], z.shape[1]
    rows, apart, first = b1 - b0, batch * size, b0 if keep else 0
    initial = all_parts(addresses(first_states, b0 * size), apart)
    slots = slots_of(kind, states_after[1])
    after = all_parts(addresses(states_after, b0 * size), slots * apart)
    spare = np.empty(PARTS[kind] * rows * size if restarts else 0, x.dtype)
    if noise is not None:
        is_masked, mask, zoned, zones, raws, is_dropped, drop, is_faded, fade, _ = noise
        seen = np.empty(rows * size if is_masked else 0, x.dtype)
        faded = np.empty(rows * size if is_faded else 0, x.dtype)
        raw, raw_apart = all_parts(addresses(raws, b0 * size), raws[0].shape[0] * apart), apart if keep else 0
        share = all_parts(addresses(zones, b0 * size), zones[0].shape[0] * apart)
        share_apart = apart if zones[0].shape[0] > 1 else 0
    w_x, w_h = address(w_ih, 0), address(w_first, 0)
    k_x, k_h = deep(w_x, inputs), deep(w_h, size)
    space = space_for(w_ih, max(block * rows * k_x, rows * k_h))
    beyond = np.empty(room_beyond(address(z, 0), rows), x.dtype)
    wild = noise is not None or may_be_infinite(kind, initial[0], size, rows)
    x_step, x_row, h_row = lowered(w_x, batch * inputs, rows * k_x), lowered(w_x, inputs, k_x), lowered(w_h, size, k_h)
    for begin in range(0, steps, block):
        end = min(steps, begin + block)
        low = steps - end if reverse else begin
        z_low = low if keep else 0
        for k in range(end - begin):
            for b in range(rows):
                copy(address(z, ((z_low + k) * z_rows + first + b) * columns), address(bias, 0), columns)
        x_here = operand(
            address(x, (low * batch + b0) * inputs), end - begin, batch * inputs, rows, inputs, inputs,
            address(space, 0), w_x,
        )  # fmt: skip
        input_product(
            x_here, end - begin, rows, x_step, x_row, w_x, k_x, w_ih.shape[0],
            address(z, (z_low * z_rows + first) * columns), z_rows, columns,
        )  # fmt: skip
        for k in range(begin, end):
            t = steps - 1 - k if reverse else k
            here = address(advance, t * batch + b0)
            old = state_before(
                kind, k, t, reverse, initial, after, slots, apart, restarts, address(restart, t * batch + b0),
                spread(address(spare, 0), rows * size), rows, size,
            )  # fmt: skip
            if noise is not None and is_faded:
                masked(old[0], address(fade, t * apart + b0 * size), address(faded, 0), rows, size)
                old = spread(address(faded, 0), 0)
            z_here = address(z, ((z_low + t - low) * z_rows + first) * columns)
            new, h = state_after(after, t, slots, apart), old[0]
            final = new
            if noise is not None:
                if is_masked:
                    masked(h, address(mask, b0 * size), address(seen, 0), rows, size)
                    h = address(seen, 0)
                if zoned:
                    new = offsets(raw, t * raw_apart)
            h_here = operand(h, 1, 0, rows, size, size, address(space, 0), w_h)
            first_product(
                kind, h, h_here, h_row, w_h, w_first.shape[0], own, z_here, columns, size, rows, address(space, 0),
                address(beyond, 0), wild,
            )  # fmt: skip
            second_product(
                kind, equations[1], h, h_here, h_row, address(w_second, 0), w_second.shape[0], z_here, columns,
                address(bias, 0), w_ih.shape[0], address(diagonals, 0), size, held, here, rows, address(space, 0),
                address(beyond, 0), wild,
            )  # fmt: skip
            given = kind, z_here, columns, old, new, address(diagonals, 0), size, size, held, here, rows
            if noise is not None and is_dropped:
                call_at(equations[0], (*given, address(drop, t * apart + b0 * size)))
            else:
                call_at(equations[0], given)
            if noise is not None:
                for part in range(PARTS[kind] if zoned else 0):
                    before, computed, to = old[part], new[part], final[part]
                    zone(offset(share[part], t * share_apart), before, computed, to, held, here, rows, size)


@shared_kernel
def walk_back(kind, equations, weights, states, cotangents, control, span, noise):
    """The way back. The cotangents of the state at the end become those of the initial one, in place.

    The second product of the ``weights`` is that for n where it goes back before the others, as far as the reset gate.
    The span's ``keep`` says whether the initial state's cotangents are asked for.
    """
    b0, b1, reverse, _, first_too = span
    held, advance, restarts, restart = control
    w_first, w_second, diagonals, own = weights
    first_states, states_after, z = states
    given, dstates, last_dstate, dzx, dzh, sums, group, summed = cotangents
    steps, batch, size = states_after[0].shape
    rows, wide, columns, inner = b1 - b0, w_first.shape[0], z.shape[2], dzh.shape[2]
    if own < size:  # there are heads, of which each has its own matrices
        wide = size + padded_columns(own, address(z, 0))
    apart, parts, between = batch * size, PARTS[kind], BETWEEN[kind]
    initial = all_parts(addresses(first_states, b0 * size), apart)
    after = all_parts(addresses(states_after, b0 * size), steps * apart)
    dstate = all_parts(addresses(last_dstate, b0 * size), apart)
    back = np.zeros((rows, wide), z.dtype)  # dh, with the columns that the product needs
    drh = np.zeros((rows if between else 0, wide), z.dtype)
    for b in range(rows):
        copy(address(back, b * wide), offset(dstate[0], b * size), size)
    spare = np.empty(parts * rows * size if restarts else 0, z.dtype)
    if noise is not None:
        is_masked, mask, zoned, zones, raws, is_dropped, drop, is_faded, fade, dfade = noise
        seen = np.empty((rows if is_masked else 0, wide), z.dtype)
        faded = np.empty(rows * size if is_faded else 0, z.dtype)
        kept = np.empty(parts * rows * size if zoned else 0, z.dtype)
        seen_h = np.empty(rows * size if is_masked else 0, z.dtype)
        raw = all_parts(addresses(raws, b0 * size), steps * apart)
        share = all_parts(addresses(zones, b0 * size), zones[0].shape[0] * apart)
        share_apart = apart if zones[0].shape[0] > 1 else 0
    w_d, w_n = address(w_first, 0), address(w_second, 0)
    k_d, k_n = deep(w_d, BACK[kind] * size), deep(w_n, size)
    beyond = np.empty(room_beyond(address(z, 0), rows if own < size else 0), z.dtype)
    space, d_row, n_row = space_for(w_first, rows * max(k_d, k_n)), lowered(w_d, inner, k_d), lowered(w_n, inner, k_n)
    for k in range(steps - 1, -1, -1):
        t = steps - 1 - k if reverse else k
        here, where = address(advance, t * batch + b0), address(restart, t * batch + b0)
        old = state_before(
            kind, k, t, reverse, initial, after, steps, apart, restarts, where,
            spread(address(spare, 0), rows * size), rows, size,
        )  # fmt: skip
        if noise is not None:
            before = old[0]
            if is_faded:
                masked(before, address(fade, t * apart + b0 * size), address(faded, 0), rows, size)
                old = spread(address(faded, 0), 0)
        results = all_parts(addresses(dstates, t * apart + b0 * size), steps * apart)
        for part in range(parts):
            if given[min(part, 1)]:
                stride = wide if part == 0 else size
                total = address(back, 0) if part == 0 else dstate[part]
                for b in range(rows):
                    add(offset(total, b * stride), offset(results[part], b * size), size)
        z_here, dx = address(z, (t * batch + b0) * columns), address(dzx, (t * batch + b0) * inner)
        d, new = address(dzh, (t * batch + b0) * inner), offsets(after, t * apart)
        h, flow = old[0], address(back, 0)  # what goes into products, and what comes back from them
        if noise is not None:
            if zoned:
                new = offsets(raw, t * apart)
                for part in range(parts):
                    total, stride = (address(back, 0), wide) if part == 0 else (dstate[part], size)
                    rest = address(kept, part * rows * size)
                    zone_back(offset(share[part], t * share_apart), total, stride, rest, held, here, rows, size)
            if is_masked:
                masked(h, address(mask, b0 * size), address(seen_h, 0), rows, size)
                h, flow = address(seen_h, 0), address(seen, 0)
                clear(flow, rows * wide)
        arguments = (
            kind, z_here, columns, old, new, address(diagonals, 0), address(back, 0), wide, dstate, dx, d, inner,
            address(sums, (t // summed * sums.shape[1] + b0 // group) * sums.shape[2]), group, size, held, here, rows,
        )  # fmt: skip
        if noise is not None and is_dropped:
            call_at(equations[0], (*arguments, address(drop, t * apart + b0 * size)))
        else:
            call_at(equations[0], arguments)
        if between:
            clear(address(drh, 0), rows * wide)
            dn = operand(offset(dx, BACK[kind] * size), 1, 0, rows, inner, size, address(space, 0), w_n)
            multiply(dn, 1, 0, rows, n_row, w_n, k_n, wide, address(drh, 0), 0, wide)
            call_at(
                equations[1],
                (z_here, columns, h, address(drh, 0), flow, wide, dx, inner, size, held, here, rows),
            )
        if k == 0 and not first_too:  # what is left would go to the initial state alone
            continue
        if own < size:
            heads_back(d, inner, w_d, BACK[kind], own, flow, wide, size, rows, address(space, 0), address(beyond, 0))
        else:
            d_here = operand(d, 1, 0, rows, inner, BACK[kind] * size, address(space, 0), w_d)
            multiply(d_here, 1, 0, rows, d_row, w_d, k_d, wide, flow, 0, wide)
        if noise is not None:
            if is_masked:
                add_masked(address(back, 0), wide, flow, wide, address(mask, b0 * size), rows, size)
            if zoned:
                for part in range(parts):
                    total, stride = (address(back, 0), wide) if part == 0 else (dstate[part], size)
                    for b in range(rows):
                        add(offset(total, b * stride), address(kept, (part * rows + b) * size), size)
            if is_faded:
                at = t * apart + b0 * size
                fade_back(before, address(fade, at), address(back, 0), wide, address(dfade, at), rows, size)
        if restarts:
            for b in range(rows):
                if where[b] != 0:
                    clear(address(back, b * wide), wide)
                    for part in range(1, parts):
                        clear(offset(dstate[part], b * size), size)
    for b in range(rows):
        copy(offset(dstate[0], b * size), address(back, b * wide), size)


AT_ONCE = 64  # rows that are rounded before they are multiplied
CACHED = 1 << 18  # bytes of rows that are multiplied before others, by all panels of W: they must stay in the cache


@kernel
def rows_times(a, w, c, first, last):
    """Rows first to last of C += A W, for A (..., K) as rows of K, and W packed."""
    k, columns, wide, w0 = a.shape[-1], c.shape[1], w.shape[0], address(w, 0)
    k_w, row = deep(w0, k), lowered(w0, k, deep(w0, k))
    space, at_once = space_for(w, AT_ONCE * k_w), lowered(w0, max(CACHED // (k * a.itemsize), 2 * AT_ONCE), AT_ONCE)
    for low in range(first, last, at_once):
        rows = min(at_once, last - low)
        here = operand(address(a, low * k), 1, 0, rows, k, k, address(space, 0), w0)
        multiply(here, 1, 0, rows, row, w0, k_w, wide, address(c, low * columns), 0, columns)
