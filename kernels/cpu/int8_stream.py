"""Steps and blocks of parts whose weights are numbers of 8 bits: the stacks of stack.py with other products.

Parts may have float32 weights, or none: stream.py runs those, by machine code that is called at its address, so that
stacks without them need not compile it. Their weights lie among the numbers.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import types

from ..kinds import Weights
from .arguments import NEVER
from .compiling import address_of, plain_kernel
from .int8_codes import CODE, GROUP, UNIT, Packed, code_rows, pack
from .int8_loops import Layer, add_state_product, forward, linear, pack_layer, step
from .int8_product import multiply
from .intrinsics import address, call_at, offset, offsets, retyped, spread
from .parts import LINEAR
from .rows import copy
from .stack import Array, Part, Stack
from .stream import (
    AHEAD,
    APART,
    BATCH,
    BIAS,
    COLUMNS,
    COLUMNS_HH,
    COLUMNS_IH,
    COLUMNS_SECOND,
    CURRENT,
    FIELDS,
    INPUTS,
    KIND,
    OUTPUTS,
    PARTS,
    PASSED,
    SIZE,
    STATE,
    W_HH,
    W_IH,
    W_SECOND,
    Z,
    run_part,
    steps_of,
)  # fmt: skip

__all__ = ["UNIT", "Int8Stack", "Layer", "Packed", "forward", "linear", "pack", "pack_layer"]

# Further columns of the plan: where the scales of each weight's columns are, and behind them what their sums start
# from; of the whole stack, where codes of rows are, in the array of weights, and their scales; and of a part without
# weights of 8 bits, where the machine code is that runs it, else 0.
OF_IH, OF_HH, OF_SECOND, CODES, SCALES, EXACTLY, WIDE = range(FIELDS, FIELDS + 7)
WEIGHTS = ((COLUMNS_IH, W_IH, OF_IH), (COLUMNS_HH, W_HH, OF_HH), (COLUMNS_SECOND, W_SECOND, OF_SECOND))


@cache
def _exactly() -> int:
    """Where the machine code of stream.py for a part is whose weights are float32."""
    number, size = types.CPointer(types.float32), types.intp
    return address_of(run_part, (number, number, number, types.CPointer(types.int64), number, number, size, size))


# These three are those of stream.py, compiled without fused multiply-adds and with the _part below. A factory would
# make closures of them, and a closure that holds a dispatcher is never found again on disk: Numba's key has a number in
# it that each process draws anew.


@plain_kernel
def _move(weights, memory, plan, many, x, out):
    """As in stream.py."""
    steps = steps_of(plan.at, many, x, out)
    if steps >= 0:
        _run(weights.at, memory.at, plan.at, x.at, out.at, steps)
    return steps >= 0


@plain_kernel
def _run(weights, memory, plan, x, out, steps):
    current, ahead, batch, last = plan[CURRENT], plan[AHEAD], plan[BATCH], plan[PARTS] - 1
    for begin in range(0, steps, ahead):
        count = min(ahead, steps - begin)
        source = offset(x, begin * batch * plan[INPUTS])
        for part in range(last + 1):
            target = offset(memory, plan[PASSED])
            if part == last:
                target = offset(out, begin * batch * plan[OUTPUTS])
            _part(weights, memory, plan, offset(plan, part * WIDE), source, target, current ^ begin & 1, count)
            source = target  # a part is done with a number of its input when it writes its output there
    plan[CURRENT] = current ^ steps & 1


@plain_kernel
def _weight(weights, memory, at, columns, place, of):
    """Addresses of a weight's codes, of what its sums start from and of its scales; and how many columns it has."""
    scales, wide = offset(memory, at[of]), at[columns]
    return offset(weights, at[place]), retyped(offset(scales, wide), np.int32), scales, wide


@plain_kernel
def _part(weights, memory, plan, at, x, y, current, steps):
    """Some steps of the part whose row of the plan is ``at``, from x (S, B, I) to y (S, B, O)."""
    z = offset(memory, plan[Z])
    if at[EXACTLY] != 0:
        call_at(at[EXACTLY], (memory, memory, z, at, x, y, current, steps))
        return
    kind, batch, inputs, size, columns = at[KIND], at[BATCH], at[INPUTS], at[SIZE], at[COLUMNS]
    rows, bias = steps * batch, offset(memory, at[BIAS])
    codes, scales = retyped(offset(weights, plan[CODES]), CODE), offset(memory, plan[SCALES])
    groups = (inputs + GROUP - 1) // GROUP
    for row in range(rows):
        copy(offset(z, row * columns), bias, columns)
    code_rows(x, inputs, inputs, rows, codes, groups * GROUP, scales)
    w, starts, w_scales, wide = _weight(weights, memory, at, COLUMNS_IH, W_IH, OF_IH)
    multiply(codes, scales, rows, groups, w, starts, w_scales, wide, z, columns)
    if kind == LINEAR:
        for row in range(rows):
            copy(offset(y, row * size), offset(z, row * columns), size)
        return
    first = _weight(weights, memory, at, COLUMNS_HH, W_HH, OF_HH)
    second = _weight(weights, memory, at, COLUMNS_SECOND, W_SECOND, OF_SECOND)
    states, always = spread(offset(memory, at[STATE]), at[APART]), address(NEVER, 0)
    for k in range(steps):
        here = offset(z, k * batch * columns)
        old, new = offsets(states, current * batch * size), offsets(states, (1 - current) * batch * size)
        add_state_product(kind, old[0], size, size, batch, codes, scales, first, second, here, columns)
        step(kind, here, columns, old, new, size, size, False, always, batch)
        copy(offset(y, k * batch * size), new[0], batch * size)
        current = 1 - current


class Int8Stack(Stack):
    """Of parts of which some have weights of 8 bits."""

    fields, line, weights_type = WIDE, 64, np.int8

    def __init__(self, stack: list[Part], batch: int | None) -> None:
        super().__init__(stack, batch, np.float32)
        self._plan[:, EXACTLY] = [0 if part.int8 else _exactly() for part in stack]

    def _kernel(self) -> Any:
        return _move

    def _in_units(self, part: Part, batch: int) -> bool:
        return not part.int8 and super()._in_units(part, batch)

    def _equations(self, part: Part, item: int) -> tuple[int, int]:
        """Steps of 8 bits have their own, without fused multiply-adds."""
        return (0, 0) if part.int8 else super()._equations(part, item)

    def _place_weights(self, at: Array, part: Part, end: int, weights_end: int) -> tuple[int, int]:
        if not part.int8:
            weights_end, end = super()._place_weights(at, part, weights_end, end)  # which end up among the numbers
            return end, weights_end
        for (columns, place, of), size in zip(WEIGHTS, (part.inputs, part.size, part.size), strict=True):
            wide = int(at[columns])
            at[place], weights_end = self._place(weights_end, wide * UNIT.width(size))
            at[of], end = self._place(end, 2 * wide)
        return end, weights_end

    def _keep(self, field: int, at: Array, packed: Array) -> None:
        self._memory[at[field] : at[field] + packed.size] = packed.reshape(-1)

    def _place_more(self, end: int, weights_end: int) -> tuple[int, int]:
        plan, first = self._plan, self._plan[0]
        rows = int(first[AHEAD] * first[BATCH])
        widest = max(
            rows * UNIT.width(int(plan[:, INPUTS].max())), int(first[BATCH]) * UNIT.width(int(plan[:, SIZE].max()))
        )
        first[CODES], weights_end = self._place(weights_end, widest * np.dtype(CODE).itemsize)
        first[SCALES], end = self._place(end, rows)
        return end, weights_end

    def load(self, number: int, w: Weights) -> None:
        at = self._plan[number]
        if at[EXACTLY] != 0:
            super().load(number, w)
            return
        if at[KIND] == LINEAR:
            packed, bias = [pack(w["weight"], w["scale"])], w.get("bias")
            bias = np.zeros(at[SIZE], np.float32) if bias is None else bias
        else:
            *packed, bias = pack_layer(int(at[KIND]), w)
        self._memory[at[BIAS] : at[BIAS] + len(bias)] = bias
        for (columns, place, of), (codes, starts, scales) in zip(WEIGHTS, packed, strict=False):
            wide = int(at[columns])
            self._weights[at[place] : at[place] + codes.size] = codes
            self._memory[at[of] : at[of] + wide] = scales
            self._memory[at[of] + wide : at[of] + 2 * wide] = starts.view(np.float32)

    @property
    def how(self) -> str:
        exact = self._plan[self._plan[:, EXACTLY] != 0, KIND] >= LINEAR
        return "weights of 8 bits" + " and of float32" * bool(exact.any())
