"""A plain layer's whole way forward, and a small one's whole way back, each in one call that is lent the arrays.

In a layer whose arithmetic takes some tens of microseconds, what stands around it takes as long: to look at arrays, to
find out which way to go, and to hand them over several times. Here what all calls of one size have in common is found
once, and kept as a plan. Python only makes memory for what comes out; compiled code looks at what it is lent (lent.py),
and then walks and sums in one go; a larger layer's parts are laid out there, too, for other threads (desk.py). Numbers
are those of the loops that it calls, one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import carray, from_dtype, types

from ..kinds import KINDS, PARTS, Kind, State, Weights
from . import alone, around, at_once, columns, equations, loops, sequence, threads, units
from .arguments import EMPTY, States
from .compiling import kernel, shared_kernel
from .desk import NUMBERS
from .intrinsics import offset
from .lent import PLAIN, WRITEABLE, Lent, Place, call_of
from .product import DEPTH, Array, padded, plain
from .recurrence import BLOCK_BYTES, TURNS
from .rows import clear, copy
from .scratch import lined, scratch
from .sums import SHARES
from .unpacked import FEW

GATES = tuple(kind.gates for kind in KINDS)
# Numbers of a plan: of the call, what it has of biases and of steps whose c and z are kept, how z is laid out, and
# where the equations lie, ahead and back.
KIND, STEPS, BATCH, INPUTS, SIZE, DTYPE, BIASED, SLOTS, KEPT, COLUMNS, BLOCK, STEP, RESET, STEP_BACK, RESET_BACK = (
    range(15)
)
ALONE, AT_ONCE, AROUND, SHARED = range(4)  # ways forward: by the walk of a module; that of around.py, or parts of it
NEEDED = PLAIN | WRITEABLE  # of any other array there is a copy, which is made elsewhere
MOST_PLANS = 1 << 10


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


WAYS = tuple(map(_ahead, range(4)))


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
def _back(
    plan, reverse, first_too, need_dx, x, w_ih, w_hh, h0, c0, hs, cs, z, dhs, dcs, dh, dc, dzx, dzh, dx, dw_ih, dw_hh,
    db_ih, db_hh, dh0, dc0,
):  # fmt: skip
    """The way back: the gradients of x, where it is needed, and of the weights, and the initial state's cotangents.

    Of the cotangents of all states, and of those at the end, any may be empty. False for arrays of another call.
    """
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
    never, nothing = np.empty((1, 0), np.uint8), carray(x.at, (0, 0))
    first = around.packed(weights_hh if steps > 1 or first_too else weights_hh[:0])
    loops.walk_back(
        kind, (at[STEP_BACK], at[RESET_BACK]), (first, first[:0], nothing, size),
        (initial, after, carray(z.at, (steps * at[KEPT], batch, columns))),
        ((dhs.last > 0, dcs.last > 0), flows, state, zx, zh, carray(x.at, (0, 0, 0)), 1, DEPTH),
        (False, never, False, never), (0, batch, reverse, steps, first_too), None,
    )  # fmt: skip
    biases = gates * at[BIASED]
    around.gradients(
        carray(dzx.at, (rows, gates)), carray(x.at, (rows, inputs)), weights_ih,
        carray(dx.at, (rows * int(need_dx), inputs)), carray(dw_ih.at, (gates, inputs)), carray(db_ih.at, (biases,)),
        around.APART[kind], carray(dzh.at, (rows, gates)), initial[0], carray(hs.at, (rows, size)), reverse,
        carray(dw_hh.at, (gates, size)), carray(db_hh.at, (biases,)), (0, SHARES),
    )  # fmt: skip
    return True


class Plan(NamedTuple):
    """What calls of one size have in common.

    ``forward`` is a compiled function, whose parts may be ``shared`` by threads, and ``back`` gives one, compiled when
    it is first asked for; of so many ``operations``, without the gradient of x and with it. The shapes of what they
    fill are kept too, of the states after every step, h and its other part, of z, of x and of the weights, so that
    nobody asks the arrays, which other threads may give others; z and the states are made by ``make``.
    """

    forward: Callable[..., bool]
    shared: bool
    back: Callable[[], Callable[..., bool]]
    operations: tuple[float, float]
    make: Callable[..., Array]
    hs: tuple[int, int, int]
    cs: tuple[int, int, int]
    z: tuple[int, int, int]
    x: tuple[int, ...]
    weights: list[tuple[int, ...]]


@lru_cache(MOST_PLANS)
def plan_of(
    kind: int, shape: tuple[int, ...], state: tuple[int, ...], weights: int, dtype: Any, keep: bool, every: bool
) -> Plan | None:
    """The plan of a call of so many weights with x and h of these shapes; None where they go another way."""
    if len(shape) != 3 or len(state) != 2 or 0 in shape or dtype not in EMPTY:
        return None
    (steps, batch, inputs), size, about, item = shape, state[1], KINDS[kind], dtype.itemsize
    rows = about.gates * size
    ahead, with_dx = (2.0 * steps * batch * rows * (inputs * products + size) for products in (1, 2))
    way = _way_of(about, shape, size, item, keep, ahead) if size > 0 else None
    if way is None:
        return None
    wide, slots = sequence.scratch_columns(about, size, size, item), steps if every or keep else min(TURNS, steps)
    whole = keep and not (about.by_state and way in (AROUND, SHARED))
    row = about.gates * padded(size, item) if way == ALONE else batch * wide
    block = min(max(BLOCK_BYTES // (row * item), 1), steps)
    numbers = (kind, steps, batch, inputs, size, id(np.dtype(dtype.type)), weights > 2, slots, whole, wide, block)
    plan, number = np.array((*numbers, *equations.ahead(kind, item), 0, 0), np.int64), from_dtype(dtype)
    flag, lent, place, first = types.boolean, Lent(number), Place(number), Place(types.int64)
    given = (plan,) if way == SHARED else (plan, threads.UNUSED, 1)
    forward = call_of(WAYS[way], (first, first, types.intp, flag, *[lent] * 7, *[place] * 5), *given)

    def back() -> Callable[..., bool]:
        plan[STEP_BACK], plan[RESET_BACK] = equations.back(kind, item)
        return call_of(_back, (first, *[flag] * 3, *[lent] * 12, *[place] * 9), plan)

    z = (steps, batch, wide) if whole else (0, 0, 0)
    make = lined if way in (AROUND, SHARED) else np.empty  # those products read and write whole vectors
    shapes: list[tuple[int, ...]] = [(rows, inputs), (rows, size), (rows,), (rows,)]
    hs, cs = (steps, batch, size), (slots, batch, size)
    operations = ahead, with_dx
    return Plan(forward, way == SHARED, cache(back), operations, make, hs, cs, z, shape, shapes[:weights])


def _way_of(about: Kind, shape: tuple[int, ...], size: int, item: int, keep: bool, operations: float) -> int | None:
    """The way of a call; None where weights are too many for it, or threads may share it otherwise."""
    (steps, batch, inputs), rows = shape, about.gates * size
    if columns.pays(about.number, steps, batch, 2.0 * batch * rows * size) and steps * batch > FEW:
        return None
    if not keep and units.serves(about.number, batch) and steps * batch > FEW:
        return ALONE if 16.0 * rows * size < threads.SERIAL_BELOW else None
    if sequence.one_call(about, shape, size, size, item, keep):
        return AT_ONCE
    if rows * (inputs + size) * item > around.OWN_BYTES:
        return None
    if operations < threads.SERIAL_BELOW:
        return AROUND
    return None if at_once.multiplies_once(size, steps, batch, item) else SHARED


def forward(
    kind: int, weights: tuple[Array, ...], x: Array, state: State, reverse: bool, keep: bool, every: bool
) -> tuple[State, State, Any] | None:
    """Each part of the state after every step, as :func:`sequence.forward` gives it, and at the end; and what the way
    back needs. None where the call is not small, or an array does not fit the others.

    ``weights`` are weight_ih, weight_hh and maybe bias_ih and bias_hh.
    """
    plan = plan_of(kind, x.shape, state[0].shape, len(weights), x.dtype, keep, every)
    if plan is None:
        return None
    dtype, make, one = x.dtype, plan.make, plan.hs[1:]
    _, none, pair, deep = EMPTY[dtype]
    hs, h, z = make(plan.hs, dtype), np.empty(one, dtype), make(plan.z, dtype)
    cs, c, initial = deep, pair, (*state, pair)[:2]
    if len(state) == 2:
        cs, c = make(plan.cs, dtype), np.empty(one, dtype)
    parts = threads.shares(one[0], plan.operations[0]) if plan.shared else 1
    desk = (threads.desk_for(parts), parts) if plan.shared else ()
    if not plan.forward(*desk, reverse, x, *weights, *(none, none)[len(weights) - 2 :], *initial, hs, cs, z, h, c):
        return None
    saved = (States(initial, (hs, cs), z), None) if keep else None
    return (hs, cs)[: len(state)], (h, c)[: len(state)], saved


def backward(
    kind: int, w: Weights, x: Array, saved: Any, reverse: bool, dsequences: State, dfinal: State, need_dx: bool,
    from_start: bool,
) -> tuple[Array | None, State, Weights] | None:  # fmt: skip
    """What :func:`sequence.backward` gives; None where the call is not small, or an array does not fit the others.

    ``dfinal`` is left as it is. All arrays are NumPy's.
    """
    (initial, after, z), dtype = saved[0], x.dtype
    plan = plan_of(kind, x.shape, initial[0].shape, len(w), dtype, True, True)
    if plan is None or plan.operations[need_dx] >= threads.SERIAL_BELOW:
        return None
    (_, none, pair, deep), count, (steps, batch, size) = EMPTY[dtype], len(dfinal), plan.hs
    flows = [deep if d is None else plain(d) for d in dsequences] + [deep] * (2 - count)
    ends = [pair if d is None else plain(d) for d in dfinal] + [pair] * (2 - count)
    dx, made = np.empty(plan.x, dtype) if need_dx else deep, [np.empty(shape, dtype) for shape in plan.weights]
    start = [np.empty((batch, size), dtype) for _ in range(count)] + [pair] * (2 - count)
    numbers = steps * batch * KINDS[kind].gates * size
    dzx = scratch("dzx", (numbers,), dtype)
    dzh = scratch("dzh", (numbers,), dtype) if KINDS[kind].apart else dzx
    done = plan.back()(
        reverse, from_start, need_dx, x, w["weight_ih"], w["weight_hh"], *initial, *after, z, *flows, *ends, dzx, dzh,
        dx, *made, *(none, none)[len(made) - 2 :], *start,
    )  # fmt: skip
    if not done:
        return None
    gradients = dict(zip(w, made, strict=True))
    return dx if need_dx else None, tuple(start[:count]) if from_start else (None,) * count, gradients
