"""LSTMs whose steps have more products than that with h: of what leaves as h, or with the cells, which all gates see.

    h' = W_hr m, for the m that a cell computes from z and c alone    z_i, z_f += P_if c, and z_o += P_o c'

As in loops.py, each thread runs all steps of its own sequences in one compiled call, and gradients of weights are
products over all steps. Shapes: x (T, B, I), h (T, B, P), m and c (T, B, H), z (S, R, N). Where they are not kept there
is room for a block of steps of z, one of m and two of c. Where h is not projected it is m itself, and P is H. Matrices
that a cell has not are empty.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kinds
from ..kinds import KINDS, Flags, Kind, State
from . import equations, threads, weight_gradients
from .arguments import EMPTY, States, control_of, filled
from .around import multiply_once
from .at_once import multiplies_once
from .compiling import inlined_kernel, kernel, shared_kernel
from .intrinsics import address, all_parts, call_at, offset, spread
from .loops import input_product
from .lstm_gates import cell_back, next_cell, output, output_back
from .matmul import matmul
from .product import EXACT, Array, multiply, pack, padded_columns, plain
from .recurrence import BLOCK_BYTES, TURNS, restarted
from .rows import add, clear, copy
from .scratch import lined, scratch
from .sequence import diagonals_of, total_bias
from .sums import outer_sum
from .unpacked import FEW


def forward(
    kind: int, w: kinds.Weights, x: Array, state: State, flags: Flags, reverse: bool, keep: bool, every: bool
) -> tuple[State, Any]:
    """As :func:`sequence.forward`, of a kind that takes ``more``, with what it takes among its weights: weight_hr
    (P, H), or weight_ch (3H, H) for all of i, f and o.
    """
    about, x, (steps, batch, _) = KINDS[kind], plain(x), x.shape
    h, c = map(plain, state)
    wide, size, dtype, slots = h.shape[1], c.shape[1], x.dtype, steps if every or keep else min(TURNS, steps)
    bias = total_bias(about, w, size, dtype)
    single = all(multiplies_once(units, steps, batch, dtype.itemsize) for units in (wide, size))
    once = steps * batch <= FEW or single
    ready = [plain(matrix) if once else pack(matrix.T) for matrix in (w["weight_ih"], *_matrices(about, w))]
    weights = *ready, bias, diagonals_of(about, w, x)
    (step, _), control, columns = equations.ahead(kind, dtype.itemsize), tuple(control_of(flags)), bias.size
    hs, cs = lined((steps, batch, wide), dtype), lined((slots, batch, size), dtype)
    ms = lined((steps if keep and "weight_hr" in w else 0, batch, size), dtype)
    kept: tuple[Array, ...] = (lined((steps, batch, columns), dtype), ms) if keep else ()

    def work(b0: int, b1: int) -> None:
        block = min(max(BLOCK_BYTES // ((b1 - b0) * bias.nbytes), 1), steps)
        z, m = kept or (lined((block, b1 - b0, columns), dtype), lined((1, b1 - b0, size), dtype))
        _walk(kind, step, x, weights, (h, c, hs, cs, m, z), control, (b0, b1, reverse, block, keep, once))

    threads.share(work, batch, _operations(about, w, x))
    return (hs, cs), (States((h, c), (hs, cs), kept[0]), ms) if keep else None


def way(kind: int, w: kinds.Weights, x: Array) -> str:
    """What is shared among threads on the way forward, in words; nothing where one does it all."""
    parts = threads.shares(x.shape[1], _operations(KINDS[kind], w, x))
    return f"sequences on {parts} threads" if parts > 1 else ""


def _operations(about: Kind, w: kinds.Weights, x: Array) -> float:
    """How many a call takes."""
    return 2.0 * x.shape[0] * x.shape[1] * sum(matrix.size for matrix in (w["weight_ih"], *_matrices(about, w)))


def _matrices(about: Kind, w: kinds.Weights) -> list[Array]:
    """W_hh, W_hr, P_if and P_o."""
    none = EMPTY[w["weight_hh"].dtype][2]
    both = 2 * w["weight_ch"].shape[1] if _sees_all(about, w) else 0
    cells = [w["weight_ch"][:both], w["weight_ch"][both:]] if both else [none, none]
    return [w["weight_hh"], w.get("weight_hr", none), *cells]


def _sees_all(about: Kind, w: kinds.Weights) -> bool:
    """Whether each gate sees every cell; a kind that has weight_ch as diagonals reads them in its equations."""
    return "weight_ch" in w and not about.diagonals


@inlined_kernel
def _before(first, states, k, t, reverse, batch, b0, restarts, restart, spare, rows, size):
    """Where a part of the state lies that step t starts from, the k-th; as recurrence.state_before."""
    before = (t + 1 if reverse else t - 1) % states.shape[0]
    old = address(first, b0 * size) if k == 0 else address(states, (before * batch + b0) * size)
    if not restarts:
        return old
    restarted(old, spare, restart, rows, size)
    return spare


@inlined_kernel
def _multiply(a, a_row, w, k, used, c, c_row, rows, once):
    """Add a product with W^T to the ``used`` columns of rows of C: with W as it is, where it is read ``once`` or rows
    are few, else packed.
    """
    if once:
        multiply_once(a, rows, a_row, w, k, c, c_row)
    else:
        multiply(a, 1, 0, rows, a_row, address(w, 0), k, padded_columns(used, c), c, 0, c_row)


@kernel
def _add_product(a, a_row, w, k, target, target_row, used, product, rows, once):
    """The same of W whose padding would add to what lies behind these columns, by way of ``product``."""
    across = padded_columns(used, target)
    clear(product, rows * across)
    _multiply(a, a_row, w, k, used, product, across, rows, once)
    for b in range(rows):
        add(offset(target, b * target_row), offset(product, b * across), used)


@shared_kernel
def _walk(kind, step, x, weights, states, control, span):
    b0, b1, reverse, block, keep, once = span
    held, advance, restarts, restart = control
    w_ih, w_hh, w_hr, p_if, p_o, bias, diagonals = weights
    first_h, first_c, hs, cs, ms, z = states
    (steps, batch, inputs), wide, size, rows = x.shape, hs.shape[2], cs.shape[2], b1 - b0
    columns, z_rows, first = z.shape[2], z.shape[1], b0 if keep else 0
    projects, sees_all = w_hr.size > 0, p_o.size > 0
    spare_h = np.empty(rows * wide if restarts else 0, x.dtype)
    spare_c = np.empty(rows * size if restarts else 0, x.dtype)
    across = padded_columns(wide, address(z, 0))
    product = np.empty(rows * max(across, padded_columns(2 * size, address(z, 0))), x.dtype)
    for begin in range(0, steps, block):
        end = min(steps, begin + block)
        low = steps - end if reverse else begin
        z_low = low if keep else 0
        for k in range(end - begin):
            for b in range(rows):
                copy(address(z, ((z_low + k) * z_rows + first + b) * columns), address(bias, 0), columns)
        x_low = address(x, (low * batch + b0) * inputs)
        z_first = address(z, (z_low * z_rows + first) * columns)
        if once:
            for k in range(end - begin):
                to = offset(z_first, k * z_rows * columns)
                x_k = offset(x_low, k * batch * inputs)
                multiply_once(x_k, rows, inputs, w_ih, inputs, to, columns)
        else:
            input_product(
                x_low, end - begin, rows, batch * inputs, inputs, address(w_ih, 0), inputs, w_ih.shape[0], z_first,
                z_rows, columns,
            )  # fmt: skip
        for k in range(begin, end):
            t = steps - 1 - k if reverse else k
            at = t * batch + b0
            here, again = address(advance, at), address(restart, at)
            h = _before(first_h, hs, k, t, reverse, batch, b0, restarts, again, address(spare_h, 0), rows, wide)
            c = _before(first_c, cs, k, t, reverse, batch, b0, restarts, again, address(spare_c, 0), rows, size)
            z_here = address(z, ((z_low + t - low) * z_rows + first) * columns)
            new = address(cs, (t % cs.shape[0] * batch + b0) * size)
            m = address(ms, at * size if keep else 0) if projects else address(hs, at * size)
            _multiply(h, wide, w_hh, wide, w_hh.shape[0], z_here, columns, rows, once)
            for b in range(rows):
                if held and here[b] == 0:
                    if projects:  # the product for the gradient of weight_hr sees these rows
                        clear(offset(m, b * size), size)
                    else:
                        copy(offset(m, b * size), offset(h, b * size), size)
            if sees_all:
                _add_product(c, size, p_if, size, z_here, columns, 2 * size, address(product, 0), rows, once)
                _next_cells(z_here, columns, c, new, size, held, here, rows)
                z_o = offset(z_here, 3 * size)
                _add_product(new, size, p_o, size, z_o, columns, size, address(product, 0), rows, once)
                for b in range(rows):
                    if not held or here[b] != 0:
                        output(offset(z_o, b * columns), offset(new, b * size), offset(m, b * size), size)
            else:
                given = kind, z_here, columns, all_parts((m, c), 0), all_parts((m, new), 0), address(diagonals, 0)
                call_at(step, (*given, size, size, held, here, rows))
            if projects:
                clear(address(product, 0), rows * across)
                _multiply(m, size, w_hr, size, wide, address(product, 0), across, rows, once)
                for b in range(rows):
                    stays = held and here[b] == 0
                    source = offset(h, b * wide) if stays else address(product, b * across)
                    copy(address(hs, (at + b) * wide), source, wide)


@kernel
def _next_cells(z, columns, c_old, c, size, held, advance, rows):
    for b in range(rows):
        i, old, to = offset(z, b * columns), offset(c_old, b * size), offset(c, b * size)
        if held and advance[b] == 0:
            copy(to, old, size)
        else:
            next_cell(i, offset(i, size), offset(i, 2 * size), old, to, size)


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
    (_, c), (_, cs), (dh, dc), dtype = states.initial, states.after, map(plain, dstate), x.dtype
    size, projects = c.shape[1], "weight_hr" in w
    dz = scratch("dzx", (steps, batch, about.gates * size), dtype)
    dhs = scratch("dhs", (steps if projects else 0, batch, dh.shape[1]), dtype)
    weights = *map(pack, _matrices(about, w)), diagonals_of(about, w, x)
    (step, _), control = equations.back(kind, dtype.itemsize), tuple(control_of(flags))
    read, written = (c, cs, states.z), (*filled(dsequences, 3, dtype), dh, dc, dhs, dz)

    def work(b0: int, b1: int) -> None:
        _walk_back(kind, step, weights, read, written, control, (b0, b1, reverse, from_start))

    threads.share(work, batch, _operations(about, w, x))
    if flags.advance is not None:  # what was not looked at may be NaN, and zero times NaN is NaN
        x = np.where(flags.advance[..., None], x, dtype.type(0))
    none, own = EMPTY[dtype][3], dh.shape[1]
    gradients = weight_gradients.of(about, w, x, states, dz, dz, none, own, None, flags.restart, reverse, EXACT)
    if projects:
        gradients["weight_hr"] = outer_sum([(dhs, ms)])
    if _sees_all(about, w):
        before = weight_gradients.states_before(c, cs, flags.restart, reverse)
        seen = (dz[..., : 2 * size], before), (dz[..., 3 * size :], cs)
        gradients["weight_ch"] = np.concatenate([outer_sum([pair]) for pair in seen])
    dx = matmul(dz.reshape(-1, dz.shape[2]), w["weight_ih"]).reshape(x.shape) if need_dx else None
    return dx, (dh, dc) if from_start else (None, None), gradients


@shared_kernel
def _walk_back(kind, step, weights, states, cotangents, control, span):
    """Fill the cotangents of every product, and turn those of the last state into those of the initial one."""
    b0, b1, reverse, first_too = span
    held, advance, restarts, restart = control
    w_hh, w_hr, p_if, p_o, diagonals = weights
    first_c, cs, z = states
    given_h, given_c, dh, dc, dhs, dz = cotangents
    (steps, batch, size), wide, rows = cs.shape, dh.shape[1], b1 - b0
    columns, inner, across, deep = z.shape[2], dz.shape[2], w_hh.shape[0], padded_columns(size, address(z, 0))
    projects, sees_all = w_hr.size > 0, p_o.size > 0
    back, dm = np.zeros((rows, across), z.dtype), np.zeros((rows, deep), z.dtype)
    product, spare = np.empty((rows, deep), z.dtype), np.empty(rows * size if restarts else 0, z.dtype)
    dcell = address(dc, b0 * size)
    for b in range(rows):
        copy(address(back, b * across), address(dh, (b0 + b) * wide), wide)
    for k in range(steps - 1, -1, -1):
        t = steps - 1 - k if reverse else k
        at = t * batch + b0
        here, again, d = address(advance, at), address(restart, at), address(dz, at * inner)
        c = _before(first_c, cs, k, t, reverse, batch, b0, restarts, again, address(spare, 0), rows, size)
        new, z_here = address(cs, at * size), address(z, at * columns)
        if given_c.size > 0:
            add(dcell, address(given_c, at * size), rows * size)
        if given_h.size > 0:
            for b in range(rows):
                add(address(back, b * across), address(given_h, (at + b) * wide), wide)
        flow, flow_row = address(back, 0), across
        if projects:
            flow, flow_row = address(dm, 0), deep
            for b in range(rows):
                row, to = address(back, b * across), address(dhs, (at + b) * wide)
                if held and here[b] == 0:  # h was passed on, and so is its cotangent
                    clear(to, wide)
                else:
                    copy(to, row, wide)
                    clear(row, across)
            clear(flow, rows * deep)
            multiply(address(dhs, at * wide), 1, 0, rows, wide, address(w_hr, 0), wide, deep, flow, 0, deep)
        if sees_all:
            _outputs_back(z_here, columns, new, flow, flow_row, dcell, d, inner, size, held, here, rows)
            d_o = offset(d, 3 * size)
            _add_product(d_o, inner, p_o, size, dcell, size, size, address(product, 0), rows, False)
            _cells_back(z_here, columns, c, dcell, d, inner, size, held, here, rows)
        else:
            given = kind, z_here, columns, spread(c, 0), spread(new, 0), address(diagonals, 0), flow, flow_row
            beside = address(diagonals, 0), 1, size, held, here, rows
            call_at(step, (*given, spread(dcell, 0), d, d, inner, *beside))
        if k == 0 and not first_too:  # what is left would go to the initial state alone
            continue
        if sees_all:
            _add_product(d, inner, p_if, 2 * size, dcell, size, size, address(product, 0), rows, False)
        multiply(d, 1, 0, rows, inner, address(w_hh, 0), inner, across, address(back, 0), 0, across)
        for b in range(rows):
            if restarts and again[b] != 0:
                clear(address(back, b * across), across)
                clear(offset(dcell, b * size), size)
    for b in range(rows):
        copy(address(dh, (b0 + b) * wide), address(back, b * across), wide)


@kernel
def _outputs_back(z, columns, c, dm, dm_row, dc, dz, inner, size, held, advance, rows):
    for b in range(rows):
        d, at = offset(dz, b * inner), b * size
        if held and advance[b] == 0:
            clear(d, inner)
        else:
            o, d_o = offset(z, b * columns + 3 * size), offset(d, 3 * size)
            output_back(o, offset(c, at), offset(dm, b * dm_row), offset(dc, at), d_o, size)


@kernel
def _cells_back(z, columns, c_old, dc, dz, inner, size, held, advance, rows):
    for b in range(rows):
        i, d, at = offset(z, b * columns), offset(dz, b * inner), b * size
        if not held or advance[b] != 0:
            f, g, d_f, d_g = offset(i, size), offset(i, 2 * size), offset(d, size), offset(d, 2 * size)
            cell_back(i, f, g, None, offset(c_old, at), offset(dc, at), d, d_f, d_g, size)
