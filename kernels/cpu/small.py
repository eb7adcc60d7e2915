"""Plans of plain layers, of which each way is one call: forward and back (ways.py).

In a layer whose arithmetic takes some tens of microseconds, what stands around it takes as long: to look at arrays, to
find out which way to go, and to hand them over several times. Here what all calls of one size have in common is found
once, and kept as a plan. Python only makes memory for what comes out, and asks how many threads there may be.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import from_dtype, types

from ..kinds import KINDS, Kind, State, Weights
from . import around, at_once, columns, equations, sequence, threads, units
from .arguments import EMPTY, States
from .lent import Lent, Place, call_of
from .product import Array, padded, plain
from .recurrence import BLOCK_BYTES, TURNS
from .scratch import lined, scratch
from .sums import SHARES
from .unpacked import FEW
from .ways import AHEAD, ALONE, AROUND, AT_ONCE, BACK, RESET_BACK, SHARED, STEP_BACK

MOST_PLANS = 1 << 10


class Plan(NamedTuple):
    """What calls of one size have in common.

    ``forward`` is a compiled function, and ``back`` gives one, compiled when it is first asked for, for one thread or
    for several; of so many ``operations``, without the gradient of x and with it. Which of both may be ``shared``. The
    shapes of what they fill are kept too, of the states after every step, h and its other part, of z, of x and of the
    weights, so that nobody asks the arrays, which other threads may give others; z and the states are made by ``make``.
    """

    forward: Callable[..., bool]
    back: Callable[[bool], Callable[..., bool]]
    operations: tuple[float, float]
    shared: tuple[bool, bool]
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
    filled = (plan, threads.UNUSED, 1), (plan,)  # what one thread is given beforehand, and what several are
    forward = call_of(AHEAD[way], (first, first, types.intp, flag, *[lent] * 7, *[place] * 5), *filled[way == SHARED])

    def back(shared: bool) -> Callable[..., bool]:
        plan[STEP_BACK], plan[RESET_BACK] = equations.back(kind, item)
        lying = (first, first, types.intp, *[flag] * 3, *[lent] * 12, *[place] * 9)
        return call_of(BACK[shared], lying, *filled[shared])

    z = (steps, batch, wide) if whole else (0, 0, 0)
    make = lined if way in (AROUND, SHARED) else np.empty  # those products read and write whole vectors
    shapes: list[tuple[int, ...]] = [(rows, inputs), (rows, size), (rows,), (rows,)]
    hs, cs = (steps, batch, size), (slots, batch, size)
    # While one thread walks alone through a sequence, helpers would fall asleep before there are sums.
    shared = way == SHARED, batch > 1 and _own(about, inputs, size, item)
    return Plan(forward, cache(back), (ahead, with_dx), shared, make, hs, cs, z, shape, shapes[:weights])


def _way_of(about: Kind, shape: tuple[int, ...], size: int, item: int, keep: bool, operations: float) -> int | None:
    """The way of a call; None where weights are too many for it, or threads may share it otherwise."""
    (steps, batch, inputs), rows = shape, about.gates * size
    if columns.pays(about.number, steps, batch, 2.0 * batch * rows * size) and steps * batch > FEW:
        return None
    if not keep and units.serves(about.number, batch) and steps * batch > FEW:
        return ALONE if 16.0 * rows * size < threads.SERIAL_BELOW else None
    if sequence.one_call(about, shape, size, size, item, keep):
        return AT_ONCE
    if not _own(about, inputs, size, item):
        return None
    if operations < threads.SERIAL_BELOW:
        return AROUND
    return None if at_once.multiplies_once(size, steps, batch, item) else SHARED


def _own(about: Kind, inputs: int, size: int, item: int) -> bool:
    """Whether each thread may pack the weights for itself."""
    return about.gates * size * (inputs + size) * item <= around.OWN_BYTES


def forward(
    kind: int, weights: tuple[Array, ...], x: Array, state: State, reverse: bool, keep: bool, every: bool
) -> tuple[State, State, Any] | None:
    """Each part of the state after every step, as :func:`sequence.forward` gives it, and at the end; and what the way
    back needs. None where calls of this size have no plan, or an array does not fit the others.

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
    parts = threads.shares(one[0], plan.operations[0]) if plan.shared[0] else 1
    desk = (threads.desk_for(parts), parts) if plan.shared[0] else ()
    if not plan.forward(*desk, reverse, x, *weights, *(none, none)[len(weights) - 2 :], *initial, hs, cs, z, h, c):
        return None
    saved = (States(initial, (hs, cs), z), None) if keep else None
    return (hs, cs)[: len(state)], (h, c)[: len(state)], saved


def backward(
    kind: int, w: Weights, x: Array, saved: Any, reverse: bool, dsequences: State, dfinal: State, need_dx: bool,
    from_start: bool,
) -> tuple[Array | None, State, Weights] | None:  # fmt: skip
    """What :func:`sequence.backward` gives; None where no plan serves, or an array does not fit the others.

    ``dfinal`` is left as it is. All arrays are NumPy's.
    """
    (initial, after, z), dtype = saved[0], x.dtype
    plan = plan_of(kind, x.shape, initial[0].shape, len(w), dtype, True, True)
    if plan is None or (plan.operations[need_dx] >= threads.SERIAL_BELOW and not plan.shared[1]):
        return None
    (_, none, pair, deep), count, (steps, batch, size) = EMPTY[dtype], len(dfinal), plan.hs
    flows = [deep if d is None else plain(d) for d in dsequences] + [deep] * (2 - count)
    ends = [pair if d is None else plain(d) for d in dfinal] + [pair] * (2 - count)
    dx, made = np.empty(plan.x, dtype) if need_dx else deep, [np.empty(shape, dtype) for shape in plan.weights]
    start = [np.empty((batch, size), dtype) for _ in range(count)] + [pair] * (2 - count)
    numbers = steps * batch * KINDS[kind].gates * size
    dzx = scratch("dzx", (numbers,), dtype)
    dzh = scratch("dzh", (numbers,), dtype) if KINDS[kind].apart else dzx
    parts = threads.shares(SHARES, plan.operations[need_dx])
    desk = (threads.desk_for(parts), parts) if parts > 1 else ()
    done = plan.back(parts > 1)(
        *desk, reverse, from_start, need_dx, x, w["weight_ih"], w["weight_hh"], *initial,
        *after, z, *flows, *ends, dzx, dzh, dx, *made, *(none, none)[len(made) - 2 :], *start,
    )  # fmt: skip
    if not done:
        return None
    gradients = dict(zip(w, made, strict=True))
    return dx if need_dx else None, tuple(start[:count]) if from_start else (None,) * count, gradients
