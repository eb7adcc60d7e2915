"""Steps, and blocks of them, with nothing allocated: a stack's weights lie in one array, the rest in another.

A step then takes three arguments, which matters where it takes a microsecond. The plan, one row of integers a layer,
says what lies where; what belongs to the whole stack stands in its first row. A state is kept in two copies, the new
one beside the old, and a column of the plan tells which is the current. A linear head is the last row, of a kind of its
own.

A block goes through the layers some steps at a time: for these a layer's product with its input is one, whose rows have
the same bits as if they came one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kinds import KINDS, Weights
from . import gates, sequence
from .arguments import NEVER
from .compiling import kernel
from .intrinsics import address, offset, offsets, spread
from .product import EXACT, Storage, multiply, padded
from .recurrence import second_product

Array = np.ndarray[Any, Any]

# Columns of the plan: of the whole stack, then numbers of a layer, then places in the arrays. The parts of a state lie
# APART, each of them stored twice. SHOWN is which of two outputs of steps is the latest, AHEAD how many steps a layer
# is run before the next one is.
CURRENT, SHOWN, AHEAD, X, PASSED, OUT, Z = range(7)
KIND, BATCH, INPUTS, SIZE, COLUMNS, COLUMNS_IH, COLUMNS_HH, COLUMNS_SECOND, APART = range(7, 16)
W_IH, W_HH, W_SECOND, BIAS, DIAGONALS, STATE, FIELDS = range(16, 23)
LINEAR = -1  # the kind of a head

MOST_AHEAD = 64  # steps
AHEAD_BYTES = 1 << 18  # of their pre-activations, which must still be in the cache when their turn comes


@kernel
def _step(weights, memory, plan):
    """One step from ``x`` to the output that is not shown; which one that is."""
    shown, last = 1 - plan[0, SHOWN], plan.shape[0] - 1
    out = address(memory, plan[0, OUT] + shown * plan[last, BATCH] * plan[last, SIZE])
    _run(weights, memory, plan, address(memory, plan[0, X]), out, 1)
    plan[0, SHOWN] = shown
    return shown


@kernel
def _block(weights, memory, plan, x, out, steps):
    """So many steps from x (T, B, I) to out (T, B, O), both flat."""
    _run(weights, memory, plan, address(x, 0), address(out, 0), steps)


@kernel
def _run(weights, memory, plan, x, out, steps):
    current, ahead, batch, last = plan[0, CURRENT], plan[0, AHEAD], plan[0, BATCH], plan.shape[0] - 1
    for begin in range(0, steps, ahead):
        count = min(ahead, steps - begin)
        source = offset(x, begin * batch * plan[0, INPUTS])
        for layer in range(last):
            passed = address(memory, plan[0, PASSED])
            _layer(weights, memory, plan, layer, source, passed, current ^ begin & 1, count)
            source = passed  # a layer is done with its input when it writes its output
        target = offset(out, begin * batch * plan[last, SIZE])
        _layer(weights, memory, plan, last, source, target, current ^ begin & 1, count)
    plan[0, CURRENT] = current ^ steps & 1


@kernel
def _layer(weights, memory, plan, layer, x, y, current, steps):
    """Some steps of one layer, from x (S, B, I) to y (S, B, H)."""
    at, z = address(plan, layer * FIELDS), address(memory, plan[0, Z])
    kind, batch, inputs, size, columns = at[KIND], at[BATCH], at[INPUTS], at[SIZE], at[COLUMNS]
    rows, bias = steps * batch, address(memory, at[BIAS])
    for row in range(rows):
        gates.copy(offset(z, row * columns), bias, columns)
    multiply(x, 1, 0, rows, inputs, address(weights, at[W_IH]), inputs, at[COLUMNS_IH], z, 0, columns)
    if kind == LINEAR:
        for row in range(rows):
            gates.copy(offset(y, row * size), offset(z, row * columns), size)
        return
    states, diagonals = spread(address(memory, at[STATE]), at[APART]), address(memory, at[DIAGONALS])
    w_hh, w_second = address(weights, at[W_HH]), address(weights, at[W_SECOND])
    always = address(NEVER, 0)
    for k in range(steps):
        here = offset(z, k * batch * columns)
        old, new = offsets(states, current * batch * size), offsets(states, (1 - current) * batch * size)
        multiply(old[0], 1, 0, batch, size, w_hh, size, at[COLUMNS_HH], here, 0, columns)
        second_product(
            kind, old[0], w_second, at[COLUMNS_SECOND], here, columns, bias, at[COLUMNS_IH], size, False, always, batch
        )
        gates.step(kind, here, columns, old, new, diagonals, size, size, False, always, batch)
        gates.copy(offset(y, k * batch * size), new[0], batch * size)
        current = 1 - current


class Stack:
    """The memory of a stack of layers, and of a linear head of ``head`` outputs, None for no head; its steps.

    ``x`` (B, I) is where the input of a step goes, ``outputs`` are the two arrays (B, O) where its output comes, and
    ``views`` shows the states.
    """

    def __init__(
        self,
        kinds: list[int],
        inputs: int,
        size: int,
        batch: int,
        dtype: Any,
        storage: Storage = EXACT,
        head: int | None = None,
    ) -> None:
        dtype, self._storage = np.dtype(dtype), storage
        self._plan = np.zeros((len(kinds) + (head is not None), FIELDS), np.int64)
        end, weights_end = 0, 0
        for layer, kind in enumerate(kinds):
            at, about, wide = self._plan[layer], KINDS[kind], size if layer else inputs
            columns = sequence.scratch_columns(about, size, dtype.itemsize)
            at[KIND], at[BATCH], at[INPUTS], at[SIZE], at[COLUMNS] = kind, batch, wide, size, columns
            at[APART], _ = self._place(2 * batch * size, 0)
            blocks = about.gates, *about.products
            at[COLUMNS_IH : COLUMNS_SECOND + 1] = [padded(count * size, dtype.itemsize) for count in blocks]
            at[DIAGONALS], end = self._place(end, about.rows * size)
            at[STATE], end = self._place(end, len(about.parts) * at[APART])
        if head is not None:
            at, columns = self._plan[-1], padded(head, dtype.itemsize)
            at[KIND], at[BATCH], at[INPUTS], at[SIZE], at[COLUMNS], at[COLUMNS_IH] = (
                LINEAR, batch, size, head, columns, columns,
            )  # fmt: skip
        for at in self._plan:
            at[BIAS], end = self._place(end, at[COLUMNS])
            for columns, rows, place in (
                (COLUMNS_IH, INPUTS, W_IH),
                (COLUMNS_HH, SIZE, W_HH),
                (COLUMNS_SECOND, SIZE, W_SECOND),
            ):
                at[place], weights_end = self._place(weights_end, at[columns] * at[rows])
        first, width, out = self._plan[0], int(self._plan[:, COLUMNS].max()), int(self._plan[-1, SIZE])
        ahead = min(max(AHEAD_BYTES // max(batch * width * dtype.itemsize, 1), 1), MOST_AHEAD)
        first[AHEAD] = ahead
        first[X], end = self._place(end, batch * inputs)
        first[PASSED], end = self._place(end, ahead * batch * size)
        first[Z], end = self._place(end, ahead * batch * width)
        first[OUT], end = self._place(end, 2 * batch * out)
        self._memory, self._weights = np.zeros(end, dtype), np.zeros(weights_end, storage.dtype(dtype))
        self.x = self._memory[first[X] : first[X] + batch * inputs].reshape(batch, inputs)
        self.outputs = self._memory[first[OUT] : first[OUT] + 2 * batch * out].reshape(2, batch, out)

    @staticmethod
    def _place(end: int, length: int) -> tuple[int, int]:
        """Where a part begins and ends: each on a cache line of its own, so that vectors are aligned."""
        start = -(-end // 16) * 16
        return start, start + length

    def load(self, layer: int, w: Weights) -> None:
        """Take the weights of a layer."""
        at, memory, about = self._plan[layer], self._memory, KINDS[self._plan[layer, KIND]]
        size, pack = int(at[SIZE]), self._storage.pack
        w_hh, w_second = sequence.forward_products(about, w, size, self._storage)
        for field, packed in (W_IH, pack(w["weight_ih"].T)), (W_HH, w_hh), (W_SECOND, w_second):
            self._weights[at[field] : at[field] + packed.size] = packed.reshape(-1)
        memory[at[BIAS] : at[BIAS] + at[COLUMNS]] = sequence.total_bias(about, w, size, memory.dtype)
        diagonals = sequence.diagonals_of(about, w, memory)
        memory[at[DIAGONALS] : at[DIAGONALS] + diagonals.size] = diagonals.reshape(-1)

    def load_head(self, weight: Array, bias: Array | None) -> None:
        """Take those of the head: weight (O, H), bias (O,)."""
        at, packed = self._plan[-1], self._storage.pack(weight.T)
        self._weights[at[W_IH] : at[W_IH] + packed.size] = packed.reshape(-1)
        self._memory[at[BIAS] : at[BIAS] + at[SIZE]] = 0 if bias is None else bias

    def step(self) -> int:
        """Take ``x``, and move every layer on; which of the ``outputs`` is the new one, the other being the last."""
        number: int = _step(self._weights, self._memory, self._plan)
        return number

    def block(self, x: Array, out: Array) -> None:
        """Take x (T, B, I), and move every layer on by T steps; their outputs go to out (T, B, O).

        Both are contiguous, aligned, writeable, of the stack's type; they are the same memory or do not overlap.
        """
        _block(self._weights, self._memory, self._plan, x.ravel(), out.ravel(), len(x))

    def views(self, layer: int, current: int) -> tuple[Array, ...]:
        """Each part of the state (B, H) of a layer, in one of the two copies."""
        at = self._plan[layer]
        shape, parts = (int(at[BATCH]), int(at[SIZE])), len(KINDS[at[KIND]].parts)
        length = shape[0] * shape[1]
        starts = [int(at[STATE] + part * at[APART]) + current * length for part in range(parts)]
        return tuple(self._memory[start : start + length].reshape(shape) for start in starts)

    def turn(self) -> None:
        """Make the other copy of all states the current one, in one go."""
        self._plan[0, CURRENT] = 1 - self._plan[0, CURRENT]

    @property
    def current(self) -> int:
        """Which copy of the states is the current one."""
        return int(self._plan[0, CURRENT])
