"""One step at a time with nothing allocated: all weights of a stack of layers lie in one array, the rest in another.

A call then takes three arguments, which matters where a step takes a microsecond. The plan, one row of integers a
layer, says what lies where; the first column of its first row tells which of two copies of the states is the current.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kinds import KINDS, Weights
from . import gates, sequence
from .compiling import kernel
from .intrinsics import address, offset, offsets, spread
from .product import EXACT, Storage, multiply, padded
from .recurrence import second_product

Array = np.ndarray[Any, Any]

# Columns of the plan: numbers, then places in the array. The parts of a state lie APART, each of them stored twice, the
# new one beside the old.
CURRENT, KIND, BATCH, INPUTS, SIZE, COLUMNS, COLUMNS_IH, COLUMNS_HH, COLUMNS_SECOND, APART = range(10)
X, W_IH, W_HH, W_SECOND, BIAS, DIAGONALS, STATE, Z, FIELDS = range(10, 19)


@kernel
def _step(weights, memory, plan):
    current = plan[0, CURRENT]
    always = address(np.empty(0, np.uint8), 0)
    for layer in range(plan.shape[0]):
        at = plan[layer]
        kind, batch, size, columns, inputs = at[KIND], at[BATCH], at[SIZE], at[COLUMNS], at[INPUTS]
        x = address(memory, at[X] if layer == 0 else plan[layer - 1, STATE] + (1 - current) * batch * inputs)
        states = spread(address(memory, at[STATE]), at[APART])
        old, new = offsets(states, current * batch * size), offsets(states, (1 - current) * batch * size)
        z, bias = address(memory, at[Z]), address(memory, at[BIAS])
        for b in range(batch):
            gates.copy(offset(z, b * columns), bias, columns)
        multiply(x, 1, 0, batch, inputs, address(weights, at[W_IH]), inputs, at[COLUMNS_IH], z, 0, columns)
        multiply(old[0], 1, 0, batch, size, address(weights, at[W_HH]), size, at[COLUMNS_HH], z, 0, columns)
        second_product(
            kind, old[0], address(weights, at[W_SECOND]), at[COLUMNS_SECOND], z, columns, bias, at[COLUMNS_IH], size,
            False, always, batch,
        )  # fmt: skip
        diagonals = address(memory, at[DIAGONALS])
        gates.step(kind, z, columns, old, new, diagonals, size, size, False, always, batch)
    plan[0, CURRENT] = 1 - current


class Stack:
    """The memory of a stack of layers, and its step.

    ``x`` (B, I) is where the input goes; ``views`` shows the states.
    """

    def __init__(
        self, kinds: list[int], inputs: int, size: int, batch: int, dtype: Any, storage: Storage = EXACT
    ) -> None:
        dtype, self._storage = np.dtype(dtype), storage
        self._plan = np.zeros((len(kinds), FIELDS), np.int64)
        x, end, weights_end = slice(0, batch * inputs), batch * inputs, 0
        for layer, kind in enumerate(kinds):
            at, about, wide = self._plan[layer], KINDS[kind], inputs if layer == 0 else size
            columns = sequence.scratch_columns(about, size, dtype.itemsize)
            at[KIND], at[BATCH], at[INPUTS], at[SIZE], at[COLUMNS] = kind, batch, wide, size, columns
            at[APART], _ = self._place(2 * batch * size, 0)
            blocks = about.gates, *about.products
            at[COLUMNS_IH : COLUMNS_SECOND + 1] = [padded(count * size, dtype.itemsize) for count in blocks]
            for field, length in (
                (W_IH, at[COLUMNS_IH] * wide),
                (W_HH, at[COLUMNS_HH] * size),
                (W_SECOND, at[COLUMNS_SECOND] * size),
            ):
                at[field], weights_end = self._place(weights_end, length)
            for field, length in (
                (BIAS, columns),
                (DIAGONALS, len(about.diagonals) * size),
                (STATE, len(about.parts) * at[APART]),
                (Z, batch * columns),
            ):
                at[field], end = self._place(end, length)
        self._memory, self._weights = np.zeros(end, dtype), np.zeros(weights_end, storage.dtype(dtype))
        self.x = self._memory[x].reshape(batch, inputs)

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

    def step(self) -> None:
        """Take ``x``, and move every layer on."""
        _step(self._weights, self._memory, self._plan)

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
