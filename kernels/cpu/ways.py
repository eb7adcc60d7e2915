"""A plain layer's whole way forward and its whole way back, in compiled code that is lent the arrays.

It looks at what it is lent (lent.py), lays out the parts of a layer that threads share (desk.py), and walks and sums in
one go. Numbers are those of the loops that it calls, one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from ..kinds import KINDS, PARTS
from . import alone, around, at_once, loops
from .compiling import kernel, shared_kernel
from .desk import NUMBERS, share_out
from .intrinsics import job_of, lying, offset
from .lent import PLAIN, WRITEABLE
from .product import DEPTH
from .rows import clear, copy
from .sums import SHARES

GATES = tuple(kind.gates for kind in KINDS)
# Numbers of a plan: of the call, what it has of biases and of steps whose c and z are kept, how z is laid out, and
# where the equations lie, ahead and back.
KIND, STEPS, BATCH, INPUTS, SIZE, DTYPE, BIASED, SLOTS, KEPT, COLUMNS, BLOCK, STEP, RESET, STEP_BACK, RESET_BACK = (
    range(15)
)
ALONE, AT_ONCE, AROUND, SHARED = range(4)  # ways forward: by the walk of a module; that of around.py, or parts of it
NEEDED = PLAIN | WRITEABLE  # of any other array there is a copy, which is made elsewhere


@shared_kernel
def _fits(array, axes, third, before, last, dtype):
    """Whether an array is contiguous and aligned, of so many axes, of these extents and of this dtype."""
    extents = array.axes == axes and array.third == third and array.before == before and array.last == last
    return extents and array.dtype == dtype and array.flags & NEEDED == NEEDED


@kernel
def _fit(plan, biased, x, w_ih, w_hh, b_ih, b_hh, h0, c0):
    """Whether the arrays that both ways read are those of a call of this plan, and its biases where they are read."""
    kind, steps, batch, inputs, size, dtype = (
        plan[KIND],
        plan[STEPS],
        plan[BATCH],
        plan[INPUTS],
        plan[SIZE],
        plan[DTYPE],
    )
    rows = GATES[kind] * size
    fits = _fits(x, 3, steps, batch, inputs, dtype)
    fits = fits and _fits(w_ih, 2, 0, rows, inputs, dtype) and _fits(w_hh, 2, 0, rows, size, dtype)
    fits = fits and (biased == 0 or (_fits(b_ih, 1, 0, 0, rows, dtype) and _fits(b_hh, 1, 0, 0, rows, dtype)))
    fits = fits and _fits(h0, 2, 0, batch, size, dtype)
    return fits and (PARTS[kind] == 1 or _fits(c0, 2, 0, batch, size, dtype))


@kernel
def _given(plan, x, w_ih, w_hh, b_ih, b_hh, h0, c0, hs, cs):
    """Of arrays that fit, from where they lie: x, the weights, the initial state and the room for all others."""
    kind, steps, batch, inputs, size = plan[KIND], plan[STEPS], plan[BATCH], plan[INPUTS], plan[SIZE]
    rows, second = GATES[kind] * size, PARTS[kind] - 1
    biases = rows * plan[BIASED]
    return (
        carray(x, (steps, batch, inputs)),
        (
            carray(w_ih, (rows, inputs)), carray(w_hh, (rows, size)), carray(b_ih, (biases,)),
            carray(b_hh, (biases,)),
        ),
        (carray(h0, (batch, size)), carray(c0, (batch * second, size))),
        (carray(hs, (steps, batch, size)), carray(cs, (plan[SLOTS] * second, batch, size))),
    )  # fmt: skip


@kernel
def _end(plan, reverse, hs, cs, h, c):
    """Copy the state at the end."""
    apart, last = plan[BATCH] * plan[SIZE], 0 if reverse else plan[STEPS] - 1
    copy(h.at, offset(hs.at, last * apart), apart)
    if PARTS[plan[KIND]] > 1:
        copy(c.at, offset(cs.at, last % plan[SLOTS] * apart), apart)


def _ahead(way: int) -> Any:
    """The kernel of a way forward, and of no other: the states after every step of x, and at the end.

    It is told of a desk, and of how many ``parts`` are shared there. False for arrays of another call.
    """

    @kernel
    def ahead(plan, desk, parts, reverse, x, w_ih, w_hh, b_ih, b_hh, h0, c0, hs, cs, z, h, c):
        at = plan.at
        if not _fit(at, at[BIASED], x, w_ih, w_hh, b_ih, b_hh, h0, c0):
            return False
        given, weights, initial, after = _given(
            at, x.at, w_ih.at, w_hh.at, b_ih.at, b_hh.at, h0.at, c0.at, hs.at, cs.at
        )
        kind, code, keep, columns = at[KIND], (at[STEP], at[RESET]), at[KEPT] != 0, at[COLUMNS]
        shape, nothing = (at[STEPS], at[BATCH], columns), carray(x.at, (0, 0))
        w_x, w_h, b_x, b_h = weights
        if way == ALONE:
            alone.walk(kind, w_x, w_h, b_x, b_h, given, initial, after, reverse, at[BLOCK])
        elif way == AT_ONCE:
            gates = carray(z.at, shape) if keep else np.empty(shape, given.dtype)
            at_once.walk(kind, code[0], w_x, w_h, b_x, b_h, nothing, given, initial, after, gates, reverse)
        else:
            never, gates = np.empty((1, 0), np.uint8), carray(z.at, (at[STEPS] * at[KEPT], at[BATCH], columns))
            states, control = (initial, after, gates), (False, never, False, never)
            if way == AROUND:
                span = 0, at[BATCH], reverse, at[BLOCK], keep
                around.walk(kind, code, w_x, w_h, b_x, b_h, nothing, columns, given, states, control, span)
            else:
                here = carray(desk.at, (NUMBERS,))
                around.shared_walk(
                    here, kind, code, weights, nothing, columns, given, states, control, reverse, keep, parts
                )
        _end(at, reverse, hs, cs, h, c)
        return True

    return ahead


AHEAD = tuple(map(_ahead, range(4)))


@kernel
def _cotangent(d, axes, third, before, last, dtype):
    """Whether a cotangent fits, or is empty, which says that it is zero."""
    return d.axes == axes and (d.last == 0 or _fits(d, axes, third, before, last, dtype))


@kernel
def _began(given, own, rows, size):
    """The cotangent of a part of the state at the end, in memory of its ``own``."""
    if given.last == 0:
        clear(own, rows * size)
    else:
        copy(own, given.at, rows * size)
    return carray(own, (rows, size))


@kernel
def _walk_share(kind, equations, w_hh, states, cotangents, control, reverse, first_too, parts, part):
    """:func:`loops.walk_back` of one of so many parts of the batch, with weights that are packed here."""
    (steps, batch, _), size = cotangents[3].shape, w_hh.shape[1]
    b0, b1 = batch * part // parts, batch * (part + 1) // parts
    first = around.packed(w_hh if steps > 1 or first_too else w_hh[:0])
    weights, span = (first, first[:0], w_hh[:0], size), (b0, b1, reverse, steps, first_too)
    loops.walk_back(kind, equations, weights, states, cotangents, control, span, None)


@kernel
def _sums_share(given, parts, part):
    """:func:`around.gradients`, one of so many parts of each."""
    around.gradients(*given, (SHARES * part // parts, SHARES * (part + 1) // parts))


@kernel
def _share_back(desk, walk, sums):
    """Both of all parts, shared out at a desk; its caller holds on to the arrays, as tuples that lie here do not."""
    done = share_out(desk, job_of(_walk_share, walk), lying(walk), walk[-1])
    if not done or not share_out(desk, job_of(_sums_share, sums), lying(sums), sums[-1]):
        raise MemoryError("no memory for packed weights and sums")


def _back(shared: bool) -> Any:
    """The kernel of a way back: the gradients of x, where it is needed, and of the weights, and the initial state's
    cotangents.

    Of the cotangents of all states, and of those at the end, any may be empty. It is told of a desk, and of how many
    ``parts`` are ``shared`` there, of sequences and then of sums. False for arrays of another call.
    """

    @kernel
    def back(
        plan, desk, parts, reverse, first_too, need_dx, x, w_ih, w_hh, h0, c0, hs, cs, z, dhs, dcs, dh, dc, dzx, dzh,
        dx, dw_ih, dw_hh, db_ih, db_hh, dh0, dc0,
    ):  # fmt: skip
        at = plan.at
        kind, steps, batch, inputs, size, dtype = at[KIND], at[STEPS], at[BATCH], at[INPUTS], at[SIZE], at[DTYPE]
        rows, gates, second, columns = steps * batch, GATES[kind] * size, PARTS[kind] - 1, at[COLUMNS]
        if not (
            _fit(at, 0, x, w_ih, w_hh, x, x, h0, c0)
            and _fits(hs, 3, steps, batch, size, dtype)
            and (second == 0 or _fits(cs, 3, steps, batch, size, dtype))
            and (at[KEPT] == 0 or _fits(z, 3, steps, batch, columns, dtype))
            and _cotangent(dhs, 3, steps, batch, size, dtype)
            and _cotangent(dcs, 3, steps, batch * second, size * second, dtype)
            and _cotangent(dh, 2, 0, batch, size, dtype)
            and _cotangent(dc, 2, 0, batch * second, size * second, dtype)
        ):
            return False
        _, (weights_ih, weights_hh, _, _), initial, after = _given(
            at, x.at, w_ih.at, w_hh.at, x.at, x.at, h0.at, c0.at, hs.at, cs.at
        )
        state = (_began(dh, dh0.at, batch, size), _began(dc, dc0.at, batch * second, size))
        flows = (carray(dhs.at, (steps, batch, size)), carray(dcs.at, (steps, batch, size)))
        zx, zh = carray(dzx.at, (steps, batch, gates)), carray(dzh.at, (steps, batch, gates))
        never = np.empty((1, 0), np.uint8)
        states = initial, after, carray(z.at, (steps * at[KEPT], batch, columns))
        cotangents = (dhs.last > 0, dcs.last > 0), flows, state, zx, zh, carray(x.at, (0, 0, 0)), 1, DEPTH
        code, control = (at[STEP_BACK], at[RESET_BACK]), (False, never, False, never)
        walk = kind, code, weights_hh, states, cotangents, control, reverse, first_too, min(parts, batch)
        asked, biases = rows * int(need_dx), gates * at[BIASED]
        given = (
            carray(dzx.at, (rows, gates)), carray(x.at, (rows, inputs)), weights_ih, carray(dx.at, (asked, inputs)),
            carray(dw_ih.at, (gates, inputs)), carray(db_ih.at, (biases,)), around.APART[kind],
            carray(dzh.at, (rows, gates)), initial[0], carray(hs.at, (rows, size)), reverse,
            carray(dw_hh.at, (gates, size)), carray(db_hh.at, (biases,)),
        )  # fmt: skip
        if shared:
            _share_back(carray(desk.at, (NUMBERS,)), walk, (given, parts))
        else:
            _walk_share(*walk, 0)
            _sums_share(given, 1, 0)
        return True

    return back


BACK = tuple(map(_back, (False, True)))
