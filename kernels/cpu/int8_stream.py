"""Steps and blocks of parts whose weights are numbers of 8 bits: the stacks of stream.py with other products."""

from __future__ import annotations

import numpy as np

from ..kinds import Weights
from . import parts
from .arguments import NEVER
from .compiling import plain_kernel
from .int8_loops import Layer, add_state_product, forward, linear, pack_layer, step
from .int8_product import CODE, GROUP, UNIT, Packed, code_rows, multiply, pack
from .intrinsics import address, offset, offsets, retyped, spread
from .parts import LINEAR, NORM
from .product import Storage
from .rows import copy
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
    DIAGONALS,
    FIELDS,
    INPUTS,
    KIND,
    OUT,
    PASSED,
    SHOWN,
    SIZE,
    STATE,
    W_HH,
    W_IH,
    W_SECOND,
    Array,
    Part,
    Stack,
    X,
    Z,
)  # fmt: skip

__all__ = ["UNIT", "Int8Stack", "Layer", "Packed", "forward", "linear", "pack", "pack_layer"]

# Further columns of the plan: where the scales of each weight's columns are, and behind them what their sums start
# from; and of the whole stack, where codes of rows are, in the array of weights, and their scales.
OF_IH, OF_HH, OF_SECOND, CODES, SCALES = range(FIELDS, FIELDS + 5)
WEIGHTS = ((COLUMNS_IH, W_IH, OF_IH), (COLUMNS_HH, W_HH, OF_HH), (COLUMNS_SECOND, W_SECOND, OF_SECOND))


class Int8(Storage):
    """Codes, of as many rows as fill whole groups."""

    def depth(self, k: int) -> int:
        return UNIT.width(int(k))


# These three are those of stream.py, compiled without fused multiply-adds and with the _part below. A factory would
# make closures of them, and a closure that holds a dispatcher is never found again on disk: Numba's key has a number in
# it that each process draws anew.


@plain_kernel
def _step(weights, memory, plan):
    """As in stream.py."""
    shown, last = 1 - plan[0, SHOWN], plan.shape[0] - 1
    out = address(memory, plan[0, OUT] + shown * plan[last, BATCH] * plan[last, SIZE])
    _run(weights, memory, plan, address(memory, plan[0, X]), out, 1)
    plan[0, SHOWN] = shown
    return shown


@plain_kernel
def _block(weights, memory, plan, x, out, steps):
    _run(weights, memory, plan, address(x, 0), address(out, 0), steps)


@plain_kernel
def _run(weights, memory, plan, x, out, steps):
    current, ahead, batch, last = plan[0, CURRENT], plan[0, AHEAD], plan[0, BATCH], plan.shape[0] - 1
    for begin in range(0, steps, ahead):
        count = min(ahead, steps - begin)
        source = offset(x, begin * batch * plan[0, INPUTS])
        for part in range(last + 1):
            target = address(memory, plan[0, PASSED])
            if part == last:
                target = offset(out, begin * batch * plan[last, SIZE])
            _part(weights, memory, plan, part, source, target, current ^ begin & 1, count)
            source = target  # a part is done with a number of its input when it writes its output there
    plan[0, CURRENT] = current ^ steps & 1


@plain_kernel
def _weight(weights, memory, at, columns, place, of):
    """Addresses of a weight's codes, of what its sums start from and of its scales; and how many columns it has."""
    scales, wide = address(memory, at[of]), at[columns]
    return address(weights, at[place]), retyped(offset(scales, wide), np.int32), scales, wide


@plain_kernel
def _part(weights, memory, plan, part, x, y, current, steps):
    """Some steps of one part, from x (S, B, I) to y (S, B, O)."""
    at, z = address(plan, part * plan.shape[1]), address(memory, plan[0, Z])
    kind, batch, inputs, size, columns = at[KIND], at[BATCH], at[INPUTS], at[SIZE], at[COLUMNS]
    rows, bias = steps * batch, address(memory, at[BIAS])
    if kind < LINEAR:
        if kind == NORM:
            parts.normalise(x, y, address(memory, at[DIAGONALS]), bias, bias[size], size, rows)
        else:
            parts.elementwise(kind, x, y, rows * size)
        return
    codes, scales = retyped(address(weights, plan[0, CODES]), CODE), address(memory, plan[0, SCALES])
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
    states, always = spread(address(memory, at[STATE]), at[APART]), address(NEVER, 0)
    for k in range(steps):
        here = offset(z, k * batch * columns)
        old, new = offsets(states, current * batch * size), offsets(states, (1 - current) * batch * size)
        add_state_product(kind, old[0], size, size, batch, codes, scales, first, second, here, columns)
        step(kind, here, columns, old, new, size, size, False, always, batch)
        copy(offset(y, k * batch * size), new[0], batch * size)
        current = 1 - current


class Int8Stack(Stack):
    """Of recurrent layers and linear maps with weights of 8 bits, and of functions of elements and normalisations."""

    fields, in_units, line = FIELDS + 5, staticmethod(lambda kind, batch: False), 64
    equations = staticmethod(lambda kind, itemsize: (0, 0))  # its steps have their own, without fused multiply-adds

    def __init__(self, stack: list[Part], batch: int) -> None:
        super().__init__(stack, batch, np.float32, Int8(np.int8, None))

    def _place_more(self, end: int, weights_end: int) -> tuple[int, int]:
        plan, first = self._plan, self._plan[0]
        rows = int(first[AHEAD] * first[BATCH])
        for at in plan:
            for columns, _, of in WEIGHTS:
                at[of], end = self._place(end, 2 * int(at[columns]))
        widest = max(
            rows * UNIT.width(int(plan[:, INPUTS].max())), int(first[BATCH]) * UNIT.width(int(plan[:, SIZE].max()))
        )
        first[CODES], weights_end = self._place(weights_end, widest * np.dtype(CODE).itemsize)
        first[SCALES], end = self._place(end, rows)
        return end, weights_end

    def load(self, number: int, w: Weights) -> None:
        at = self._plan[number]
        if at[KIND] < LINEAR:
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
        return "weights of 8 bits"

    def step(self) -> int:
        number: int = _step(self._weights, self._memory, self._plan)
        return number

    def block(self, x: Array, out: Array) -> None:
        _block(self._weights, self._memory, self._plan, x.ravel(), out.ravel(), len(x))
