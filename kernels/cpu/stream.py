"""One step at a time with nothing allocated: all weights of a stack of layers lie in one array, the rest in another.

A call then takes three arguments, which matters where a step takes a microsecond. The plan, one row of integers a
layer, says what lies where; the first column of its first row tells which of two copies of the states is the current.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..calls import GRU, LSTM, PEEPHOLE, RESET_BEFORE, Weights
from . import gates, sequence
from .compiling import kernel
from .gates import BLOCKS
from .intrinsics import address, offset
from .product import multiply, pack, padded

Array = np.ndarray[Any, Any]

# Columns of the plan: numbers, then places in the array. States are stored twice, the new one beside the old.
CURRENT, KIND, BATCH, INPUTS, SIZE, COLUMNS, COLUMNS_IH, COLUMNS_HH, COLUMNS_HN = range(9)
X, W_IH, W_HH, W_HN, BIAS, PEEPHOLES, H, C, Z, FIELDS = range(9, 19)


@kernel
def _step(weights, memory, plan):
    current = plan[0, CURRENT]
    always = address(np.empty(0, np.uint8), 0)
    for layer in range(plan.shape[0]):
        at = plan[layer]
        kind, batch, size, columns, inputs = at[KIND], at[BATCH], at[SIZE], at[COLUMNS], at[INPUTS]
        old, new = current * batch * size, (1 - current) * batch * size
        x = address(memory, at[X] if layer == 0 else plan[layer - 1, H] + (1 - current) * batch * inputs)
        h_old, h_new = address(memory, at[H] + old), address(memory, at[H] + new)
        c_old, c_new = address(memory, at[C] + old), address(memory, at[C] + new)
        z, w_hn = address(memory, at[Z]), address(weights, at[W_HN])
        for b in range(batch):
            gates.copy(offset(z, b * columns), address(memory, at[BIAS]), columns)
        multiply(x, 1, 0, batch, inputs, address(weights, at[W_IH]), inputs, at[COLUMNS_IH], z, 0, columns)
        multiply(h_old, 1, 0, batch, size, address(weights, at[W_HH]), size, at[COLUMNS_HH], z, 0, columns)
        if kind == GRU:
            n = offset(z, 3 * size)
            for b in range(batch):  # again, since the input product's padding is NaN where x is infinite
                gates.copy(offset(n, b * columns), address(memory, at[BIAS] + 3 * size), size)
            multiply(h_old, 1, 0, batch, size, w_hn, size, at[COLUMNS_HN], n, 0, columns)
        elif kind == RESET_BEFORE:
            gates.reset(z, columns, h_old, size, False, always, batch)
            n, product = offset(z, 2 * size), offset(z, 3 * size)
            multiply(product, 1, 0, batch, columns, w_hn, size, at[COLUMNS_HN], n, 0, columns)
        p = address(memory, at[PEEPHOLES])
        gates.forward(kind, z, columns, h_old, c_old, h_new, c_new, p, size, size, False, always, batch)
    plan[0, CURRENT] = 1 - current


class Stack:
    """The memory of a stack of layers, and its step.

    ``x`` (B, I) is where the input goes; ``h`` and ``c`` (B, H), one of each a layer, are views of the current states.
    """

    def __init__(self, kinds: list[int], inputs: int, size: int, batch: int, dtype: Any, bf16: bool = False) -> None:
        dtype, self._bf16 = np.dtype(dtype), bf16
        self._plan = np.zeros((len(kinds), FIELDS), np.int64)
        x, end, weights_end = slice(0, batch * inputs), batch * inputs, 0
        for layer, kind in enumerate(kinds):
            at, wide = self._plan[layer], inputs if layer == 0 else size
            columns = sequence.scratch_columns(kind, size, dtype.itemsize)
            with_n = kind in (GRU, RESET_BEFORE)
            gate_columns = (3 if with_n else BLOCKS[kind]) * size
            products = gate_columns, 2 * size if with_n else gate_columns, size if with_n else 0
            wide_ih, wide_hh, wide_hn = (padded(n, dtype.itemsize) for n in products)
            at[KIND], at[BATCH], at[INPUTS], at[SIZE], at[COLUMNS] = kind, batch, wide, size, columns
            at[COLUMNS_IH], at[COLUMNS_HH], at[COLUMNS_HN] = wide_ih, wide_hh, wide_hn
            for field, length in (W_IH, wide_ih * wide), (W_HH, wide_hh * size), (W_HN, wide_hn * size):
                at[field], weights_end = self._place(weights_end, length)
            for field, length in (
                (BIAS, columns),
                (PEEPHOLES, 3 * size),
                (H, 2 * batch * size),
                (C, 2 * batch * size),
                (Z, batch * columns),
            ):
                at[field], end = self._place(end, length)
        self._memory, self._weights = np.zeros(end, dtype), np.zeros(weights_end, np.uint16 if bf16 else dtype)
        self.x = self._memory[x].reshape(batch, inputs)

    @staticmethod
    def _place(end: int, length: int) -> tuple[int, int]:
        """Where a part begins and ends: each on a cache line of its own, so that vectors are aligned."""
        start = -(-end // 16) * 16
        return start, start + length

    def load(self, layer: int, w: Weights) -> None:
        """Take the weights of a layer."""
        at, memory = self._plan[layer], self._memory
        kind, size = int(at[KIND]), int(at[SIZE])
        w_hh, w_hn = sequence.forward_products(kind, w["weight_hh"], self._bf16)
        for field, packed in (W_IH, pack(w["weight_ih"].T, self._bf16)), (W_HH, w_hh), (W_HN, w_hn):
            self._weights[at[field] : at[field] + packed.size] = packed.reshape(-1)
        memory[at[BIAS] : at[BIAS] + at[COLUMNS]] = sequence.total_bias(kind, w, size, memory.dtype)
        if kind == PEEPHOLE:
            memory[at[PEEPHOLES] : at[PEEPHOLES] + 3 * size] = w["weight_ch"].reshape(-1)

    def step(self) -> None:
        """Take ``x``, and move every layer on."""
        _step(self._weights, self._memory, self._plan)

    def views(self, layer: int, current: int) -> tuple[Array, ...]:
        """h (B, H) of a layer, and c where its cell has one, in one of the two copies."""
        at = self._plan[layer]
        fields = (H, C) if at[KIND] in (LSTM, PEEPHOLE) else (H,)
        length = int(at[BATCH] * at[SIZE])
        starts = [int(at[field]) + current * length for field in fields]
        return tuple(self._memory[s : s + length].reshape(int(at[BATCH]), int(at[SIZE])) for s in starts)

    def turn(self) -> None:
        """Make the other copy of all states the current one, in one go."""
        self._plan[0, CURRENT] = 1 - self._plan[0, CURRENT]

    @property
    def current(self) -> int:
        """Which copy of the states is the current one."""
        return int(self._plan[0, CURRENT])
