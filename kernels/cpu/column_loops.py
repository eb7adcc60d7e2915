"""The compiled loops over steps whose columns are shared among threads, forward and back: columns.py says how.

A part of a step are some neighbouring units, in all parts but the last one as many as fill whole vectors. What belongs
to a part lies by itself: packed weights, the rows of z that its steps work on, and states. Of R numbers for each unit,
those of the part from unit ``low`` on begin at low * R. Where all threads read and write is h after every step, and on
the way back the cotangents of pre-activations.
"""

from __future__ import annotations

import numpy as np

from ..kinds import KINDS, PARTS
from .bf16 import deep, lowered, operand, space_for
from .compiling import inlined_kernel, kernel
from .intrinsics import address, addresses, all_parts, call_at, lanes, offset, offsets, read_count, spread
from .loops import BACK
from .product import VECTORS, multiply, pack_columns, padded_columns
from .recurrence import slots_of, state_after
from .rows import add, clear, copy, copy_rows
from .waiting import LOOKS, MEANWHILE, MOST, first_turn, look, next_turn

GATES, KEPT = tuple(kind.gates for kind in KINDS), tuple(kind.kept for kind in KINDS)
PRODUCTS = tuple(len(kind.places) for kind in KINDS)
APART = tuple(kind.apart for kind in KINDS)


@inlined_kernel
def _next_part(part, own, turn, parts):
    """The part that a thread does after another: the leader's are its own, and those that no helper does."""
    return max(part, turn % MOST) + 1 if own == 0 else parts


@inlined_kernel
def _clear_where(flags, state, step, size, rows, parts):
    """Clear the rows of a state where a new sequence begins; those of h are ``step`` apart."""
    for row in range(rows):
        if flags[row] != 0:
            clear(offset(state[0], row * step), size)
            for part in range(1, parts):
                clear(offset(state[part], row * size), size)


@kernel
def walk(kind, step, x, shares, states, control, private, numbers, calls, patience, own, reverse, keep):
    """A thread's part in running a cell forward; ``own`` is its number, and 0 that of the leader.

    ``shares`` are weights, biases, elementwise weights, and where the parts end; ``private`` rows of z for a block of
    steps, and two states.
    """
    w_ih, w_hh, bias, diagonals, ends, runs = shares
    held, advance, restarts, restart = control
    first_states, states_after, kept_z = states
    z_rows, two_states, block = private
    (steps, batch, inputs), size, parts = x.shape, states_after[0].shape[2], ends.size - 1
    gates, kept = GATES[kind], KEPT[kind]
    slots, apart = slots_of(kind, states_after[1]), batch * size
    initial, after = all_parts(addresses(first_states, 0), apart), all_parts(addresses(states_after, 0), slots * apart)
    k_x, k_h = deep(address(w_ih, 0), inputs), deep(address(w_hh, 0), size)
    space = space_for(w_ih, max(block * batch * k_x, batch * k_h))
    x_row, h_row = lowered(address(w_ih, 0), inputs, k_x), lowered(address(w_hh, 0), size, k_h)
    rest = np.empty(batch * lanes(address(x, 0)), x.dtype)  # what products add zeros to beside their own columns
    seen = address(two_states, ends[parts] * 2 * PARTS[kind] * batch + own * apart)
    seen_calls = read_count(address(calls, 0))
    turn = first_turn(numbers, own, calls)
    while turn >= 0:
        k, part = turn // MOST, own
        t, begin = steps - 1 - k if reverse else k, k // block * block
        count = min(block, steps - begin)
        row = (t - (steps - begin - count if reverse else begin)) * batch
        while part < parts:
            low = ends[part]
            wide = ends[part + 1] - low
            used, columns = min(wide, size - low), kept * wide
            z = address(z_rows, low * block * batch * kept)
            if k == begin:  # the input's product, for a block of steps
                for r in range(count * batch):
                    copy(offset(z, r * columns), address(bias, low * kept), columns)
                w = address(w_ih, low * gates * k_x)
                x_here = address(x, (t * batch - row) * inputs)
                x_here = operand(x_here, 1, 0, count * batch, inputs, inputs, address(space, 0), w)
                across = padded_columns(gates * used, z)
                multiply(x_here, 1, 0, count * batch, x_row, w, k_x, across, z, 0, columns)
                over, start = across - gates * used, low * kept + gates * used
                for r in range(count * batch if over > 0 else 0):  # what it added beside may be NaN
                    copy(offset(z, r * columns + gates * used), address(bias, start), min(over, (kept - gates) * used))
            z = offset(z, row * columns)
            own_states = address(two_states, low * 2 * PARTS[kind] * batch)
            old = spread(offset(own_states, k % 2 * PARTS[kind] * batch * wide), batch * wide)
            new = spread(offset(own_states, (1 - k % 2) * PARTS[kind] * batch * wide), batch * wide)
            before = initial if k == 0 else state_after(after, t + 1 if reverse else t - 1, slots, apart)
            for p in range(PARTS[kind] if k == 0 else 0):
                copy_rows(old[p], used, offset(before[p], low), size, batch, used)
            h = before[0]
            if restarts:
                _clear_where(address(restart, t * batch), old, used, used, batch, PARTS[kind])
                copy_rows(seen, size, h, size, batch, size)
                _clear_where(address(restart, t * batch), spread(seen, 0), size, size, batch, 1)
                h = seen
            w = address(w_hh, low * PRODUCTS[kind] * k_h)
            h = operand(h, 1, 0, batch, size, size, address(space, 0), w)
            for run in range(runs.shape[0]):
                first, length = runs[run]
                target, across = offset(z, first * used), padded_columns(length * used, z)
                end, over = offset(target, length * used), across - length * used
                copy_rows(address(rest, 0), over, end, columns, batch, over)
                multiply(h, 1, 0, batch, h_row, w, k_h, across, target, 0, columns)
                copy_rows(end, columns, address(rest, 0), over, batch, over)
                w = offset(w, across * k_h)
            rows = address(diagonals, low * diagonals.size // ends[parts])
            call_at(step, (kind, z, columns, old, new, rows, used, used, held, address(advance, t * batch), batch))
            results = offsets(state_after(after, t, slots, apart), low)
            for p in range(PARTS[kind]):
                copy_rows(results[p], size, new[p], used, batch, used)
            for b in range(batch if keep else 0):
                target = address(kept_z, (t * batch + b) * kept_z.shape[2] + low)
                for gate in range(kept):
                    copy(offset(target, gate * size), offset(z, b * columns + gate * used), used)
            part = _next_part(part, own, turn, parts)
        turn = next_turn(numbers, own, turn, steps, patience)
    if own > 0:
        look(calls, seen_calls, LOOKS, MEANWHILE)


@kernel
def walk_back(
    kind, step_back, shares, states, cotangents, control, private, numbers, calls, patience, own, reverse, first_too
):  # fmt: skip
    """A thread's part in the way back. The cotangents of the state at the end become those of the initial one.

    A turn begins with the product that leads back from the step before. After the last one comes another turn with
    nothing else, where the initial state's cotangents are asked for, as ``first_too`` says.
    """
    weights, diagonals, ends = shares
    held, advance, restarts, restart = control
    first_states, states_after, kept_z = states
    given, dstates, last_dstate, dzx, dzh, sums, _, _ = cotangents
    (steps, batch, size), parts, kept, gates = states_after[0].shape, ends.size - 1, KEPT[kind], GATES[kind]
    apart, inner, count = batch * size, dzh.shape[2], PARTS[kind]
    initial, after = all_parts(addresses(first_states, 0), apart), all_parts(addresses(states_after, 0), steps * apart)
    results, last = all_parts(addresses(dstates, 0), steps * apart), all_parts(addresses(last_dstate, 0), apart)
    k_d = deep(address(weights, 0), BACK[kind] * size)
    space, d_row = space_for(weights, batch * k_d), lowered(address(weights, 0), inner, k_d)
    turns = steps + 1 if first_too else steps
    seen_calls = read_count(address(calls, 0))
    turn = first_turn(numbers, own, calls)
    while turn >= 0:
        k, part = steps - 1 - turn // MOST, own
        t, t_before, t_after = (steps - 1 - k, steps - k, steps - 2 - k) if reverse else (k, k - 1, k + 1)
        while part < parts:
            low = ends[part]
            wide = ends[part + 1] - low
            used = min(wide, size - low)
            # dh, what else of the state has cotangents, two states, pre-activations, and the cotangents of these
            here = address(private, low * (3 * count + kept + 2 * gates) * batch)
            block = batch * wide
            back = spread(here, block)
            old, new = offsets(back, count * block), offsets(back, 2 * count * block)
            z, dx = offset(here, 3 * count * block), offset(here, (3 * count + kept) * block)
            d = offset(dx, gates * block) if APART[kind] else dx
            if k == steps - 1:
                for p in range(count):
                    copy_rows(back[p], wide if p == 0 else used, offset(last[p], low), size, batch, used)
            else:
                w = address(weights, low * k_d)
                flow = address(dzh, t_after * batch * inner)
                flow = operand(flow, 1, 0, batch, inner, BACK[kind] * size, address(space, 0), w)
                multiply(flow, 1, 0, batch, d_row, w, k_d, wide, back[0], 0, wide)
                if restarts:
                    _clear_where(address(restart, t_after * batch), back, wide, used, batch, count)
            if k < 0:
                for p in range(count):
                    copy_rows(offset(last[p], low), size, back[p], wide if p == 0 else used, batch, used)
            else:
                before = initial if k == 0 else offsets(after, t_before * apart)
                for p in range(count):
                    copy_rows(old[p], used, offset(before[p], low), size, batch, used)
                    copy_rows(new[p], used, offset(after[p], t * apart + low), size, batch, used)
                    for b in range(batch if given[min(p, 1)] else 0):
                        add(
                            offset(back[p], b * (wide if p == 0 else used)),
                            offset(results[p], t * apart + b * size + low),
                            used,
                        )
                if restarts:
                    _clear_where(address(restart, t * batch), old, used, used, batch, count)
                for b in range(batch):
                    source = address(kept_z, (t * batch + b) * kept_z.shape[2] + low)
                    for gate in range(kept):
                        copy(offset(z, b * kept * wide + gate * used), offset(source, gate * size), used)
                rows = address(diagonals, low * diagonals.size // ends[parts])
                call_at(
                    step_back,
                    (
                        kind, z, kept * wide, old, new, rows, back[0], wide, back, dx, d, gates * wide,
                        address(sums, 0), 1, used, held, address(advance, t * batch), batch,
                    ),
                )  # fmt: skip
                for b in range(batch):
                    target, target_h = (t * batch + b) * dzx.shape[2] + low, (t * batch + b) * inner + low
                    for gate in range(gates):
                        copy(address(dzx, target + gate * size), offset(dx, b * gates * wide + gate * used), used)
                        if APART[kind]:
                            copy(address(dzh, target_h + gate * size), offset(d, b * gates * wide + gate * used), used)
            part = _next_part(part, own, turn, parts)
        turn = next_turn(numbers, own, turn, turns, patience)
    if own > 0:
        look(calls, seen_calls, LOOKS, MEANWHILE)


@kernel
def prepare(w_ih, w_hh, bias, diagonals, lengths, ends, to_w_ih, to_w_hh, to_bias, to_diagonals, first, last):
    """What parts first to last have of weights, packed where there is room for them, and of numbers of each unit."""
    size = w_hh.shape[1]
    gates = np.full(1, w_ih.shape[0] // size)
    for part in range(first, last):
        if to_w_ih.size > 0:
            _pack(w_ih, gates, size, ends, part, to_w_ih)
            _pack(w_hh, lengths, size, ends, part, to_w_hh)
        _by_part(bias, size, ends, part, to_bias)
        _by_part(diagonals, size, ends, part, to_diagonals)


@kernel
def prepare_back(w_hh, diagonals, ends, to_w_hh, to_diagonals, first, last):
    """The same for the way back: weight_hh as it is, and its columns of each part's units."""
    (k, size), lane = w_hh.shape, lanes(address(w_hh, 0))
    for part in range(first, last):
        _by_part(diagonals, size, ends, part, to_diagonals)
        for start in range(ends[part], ends[part + 1] if to_w_hh.size > 0 else 0, VECTORS * lane):
            wide = min(VECTORS * lane, ends[part + 1] - start)
            used = min(wide, size - start)
            for row in range(k):
                copy(address(to_w_hh, start * k + row * wide), address(w_hh, row * size + start), used)


@kernel
def _pack(w, lengths, size, ends, part, packed):
    """A part of W (G*H, K) as its transpose: so many blocks of its units at a time, side by side."""
    k, count, low, gate = w.shape[1], w.shape[0] // size, ends[part], 0
    used, to = min(ends[part + 1], size) - low, low * count * k
    for length in lengths:
        rows = np.empty((length * used, k), w.dtype)
        for block in range(length):
            copy(address(rows, block * used * k), address(w, ((gate + block) * size + low) * k), used * k)
        columns = padded_columns(len(rows), address(w, 0))
        panels = packed[to : to + columns * k].reshape(columns, k)
        pack_columns(rows, len(rows), panels, 0, -(-columns // (VECTORS * lanes(address(w, 0)))))
        to, gate = to + columns * k, gate + length


@kernel
def _by_part(numbers, size, ends, part, target):
    """A part of rows of numbers, as many as there is room for."""
    low, rows = ends[part], target.size // ends[-1]
    used = min(ends[part + 1], size) - low
    for row in range(rows):
        copy(address(target, low * rows + row * used), address(numbers, row * size + low), used)
