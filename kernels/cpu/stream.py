"""Steps, and blocks of them, with nothing allocated: the weights of all parts lie in one array, the rest in another.

The plan, one row of integers a part, says what lies where; what belongs to the whole stack stands in its first row. A
part is a recurrent layer, or one of the kinds of parts.py. A state is kept in two copies, the new one beside the old,
and a column of the plan tells which is the current. stack.py makes the arrays and the plan.

A block goes through the parts some steps at a time: for these a part's product with its input is one, whose rows have
the same bits as if they came one by one.
"""

from __future__ import annotations

from . import parts, units
from .arguments import NEVER
from .compiling import kernel, shared_kernel
from .intrinsics import address, call_at, copy_vector, lanes, offset, offsets, spread
from .lent import PLAIN, WRITEABLE
from .parts import LINEAR, NORM
from .product import VECTOR_BYTES, multiply
from .recurrence import first_product, may_be_infinite, second_product
from .rows import copy

# Columns of the plan: of the whole stack, then numbers of a part, then places in the arrays. What comes and goes in a
# step has so many AXES, and this id of its DTYPE; AHEAD is how many steps a part is run before the next one is. The
# parts of a state lie APART, each of them stored twice, in rows with room for STRIDE units. IN_UNITS says that steps go
# by units.py, OWN how many units a unit sees, STEP and RESET where a cell's equations lie (equations.py).
CURRENT, PARTS, AXES, DTYPE, OUTPUTS, AHEAD, PASSED, Z = range(8)
KIND, BATCH, INPUTS, SIZE, STRIDE, IN_UNITS, COLUMNS, COLUMNS_IH, COLUMNS_HH, COLUMNS_SECOND, APART = range(8, 19)
W_IH, W_HH, W_SECOND, BIAS, DIAGONALS, STATE, OWN, STEP, RESET, FIELDS = range(19, 29)


@kernel
def move(weights, memory, plan, many, x, out):
    """Steps from x to out, if compiled code can have both as they are; whether it could."""
    steps = steps_of(plan.at, many, x, out)
    if steps >= 0:
        _run(weights.at, memory.at, plan.at, x.at, out.at, steps)
    return steps >= 0


@kernel
def steps_of(plan, many, x, out):
    """How many steps there are from x to out: ``many``, in an axis of their own, or one. -1 where they do not suit.

    They are contiguous, aligned, of the stack's dtype and sizes, and the same memory or apart, and out is writeable.
    """
    batched, batch = plan[AXES] == 2, plan[BATCH]
    steps = 1
    if many:
        steps = x.third if batched else x.before
    for array, size, needed in ((x, plan[INPUTS], PLAIN), (out, plan[OUTPUTS], PLAIN | WRITEABLE)):
        if array.axes != plan[AXES] + many or array.dtype != plan[DTYPE] or array.flags & needed != needed:
            return -1
        if array.last != size or (batched and array.before != batch):
            return -1
        if many and steps != (array.third if batched else array.before):
            return -1
    item = VECTOR_BYTES // lanes(x.at)
    after_x = x.address + steps * batch * plan[INPUTS] * item
    after_out = out.address + steps * batch * plan[OUTPUTS] * item
    same = x.address == out.address and plan[INPUTS] == plan[OUTPUTS]
    return steps if same or after_x <= out.address or after_out <= x.address else -1


@shared_kernel
def _run(weights, memory, plan, x, out, steps):
    current, ahead, batch = plan[CURRENT], plan[AHEAD], plan[BATCH]
    z, passed = offset(memory, plan[Z]), offset(memory, plan[PASSED])
    last = offset(plan, (plan[PARTS] - 1) * FIELDS)
    for begin in range(0, steps, ahead):
        count = min(ahead, steps - begin)
        source = offset(x, begin * batch * plan[INPUTS])
        for part in range(plan[PARTS] - 1):
            run_part(weights, memory, z, offset(plan, part * FIELDS), source, passed, current ^ begin & 1, count)
            source = passed  # a part is done with a number of its input when it writes its output there
        target = offset(out, begin * batch * last[SIZE])
        run_part(weights, memory, z, last, source, target, current ^ begin & 1, count)
    plan[CURRENT] = current ^ steps & 1


@shared_kernel
def run_part(weights, memory, z, at, x, y, current, steps):
    """Some steps of the part whose row of the plan is ``at``, from x (S, B, I) to y (S, B, O)."""
    kind, batch, inputs, size, columns = at[KIND], at[BATCH], at[INPUTS], at[SIZE], at[COLUMNS]
    rows, bias, lane = steps * batch, offset(memory, at[BIAS]), lanes(z)
    if kind < LINEAR:
        if kind == NORM:
            parts.normalise(x, y, offset(memory, at[DIAGONALS]), bias, bias[size], size, rows)
        else:
            parts.elementwise(kind, x, y, rows * size)
        return
    states, stride, apart = spread(offset(memory, at[STATE]), at[APART]), at[STRIDE], offset(bias, columns)
    only = at[IN_UNITS] != 0 and inputs == 1  # a number, by which steps multiply themselves
    if only:
        copy(z, x, steps)  # since y, which may be the same memory, is written to meanwhile
    else:
        for row in range(rows):
            for j in range(0, columns, lane):
                copy_vector(offset(z, row * columns + j), offset(bias, j))
        multiply(x, 1, 0, rows, inputs, offset(weights, at[W_IH]), inputs, at[COLUMNS_IH], z, 0, columns)
    if at[IN_UNITS]:
        units.steps(
            kind, size, offset(weights, at[W_HH]), bias if only else z, 0 if only else columns, only, z, 1,
            offset(apart, stride), apart, offsets(states, current * stride), offsets(states, (1 - current) * stride),
            spread(y, 0), 1, size, steps, steps - (stride - 1) // size, current,
        )  # fmt: skip
        return
    whole = rows - ((size + lane - 1) // lane * lane - 1) // size  # rows of y with room behind them for a vector's end
    if kind == LINEAR:
        _copy_rows(y, size, z, columns, rows, whole)
        return
    diagonals, always = offset(memory, at[DIAGONALS]), address(NEVER, 0)
    w_hh, w_second = offset(weights, at[W_HH]), offset(weights, at[W_SECOND])
    wild = may_be_infinite(kind, offset(states[0], current * batch * size), size, batch)
    for k in range(steps):
        here = offset(z, k * batch * columns)
        old, new = offsets(states, current * batch * size), offsets(states, (1 - current) * batch * size)
        first_product(
            kind, old[0], old[0], size, w_hh, at[COLUMNS_HH], at[OWN], here, columns, size, batch, old[0], apart, wild
        )
        second_product(
            kind, at[RESET], old[0], old[0], size, w_second, at[COLUMNS_SECOND], here, columns, bias,
            at[COLUMNS_IH], diagonals, size, False, always, batch, old[0], apart, wild,
        )  # fmt: skip
        call_at(at[STEP], (kind, here, columns, old, new, diagonals, size, size, False, always, batch))
        _copy_rows(offset(y, k * batch * size), size, new[0], size, batch, whole - k * batch)
        current = 1 - current


@kernel
def _copy_rows(target, size, source, stride, rows, whole):
    """Rows of some numbers, ``stride`` apart, one after another: the first ones in whole vectors, which reach further.

    What they overwrite belongs to the rows to come.
    """
    lane = lanes(target)
    for row in range(min(rows, whole)):
        for j in range(0, size, lane):
            copy_vector(offset(target, row * size + j), offset(source, row * stride + j))
    for row in range(max(whole, 0), rows):
        for j in range(size):
            target[row * size + j] = source[row * stride + j]
