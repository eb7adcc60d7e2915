"""One step at a time with nothing allocated: all weights, states and scratch of a stack of layers lie in one array.

A call then takes two arguments, which matters where a step takes a microsecond. The plan, one row of integers a layer,
says what lies where; the first column of its first row tells which of two copies of the states is the current one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import gates, sequence
from .compiling import kernel
from .gates import BLOCKS, GRU, LSTM, PEEPHOLE, RESET_BEFORE
from .intrinsics import address, offset
from .product import multiply, pack, padded

Array = np.ndarray[Any, Any]

# Columns of the plan: numbers, then places in the array. States are stored twice, the new one beside the old.
CURRENT, KIND, BATCH, INPUTS, SIZE, COLUMNS, COLUMNS_IH, COLUMNS_HH, COLUMNS_HN = range(9)
X, W_IH, W_HH, W_HN, BIAS, PEEPHOLES, H, C, Z, FIELDS = range(9, 19)


@kernel
def _step(memory, plan):
    current = plan[0, CURRENT]
    always = address(np.empty(0, np.uint8), 0)
    for layer in range(plan.shape[0]):
        at = plan[layer]
        kind, batch, size, columns, inputs = at[KIND], at[BATCH], at[SIZE], at[COLUMNS], at[INPUTS]
        old, new = current * batch * size, (1 - current) * batch * size
        x = address(memory, at[X] if layer == 0 else plan[layer - 1, H] + (1 - current) * batch * inputs)
        h_old, h_new = address(memory, at[H] + old), address(memory, at[H] + new)
        c_old, c_new = address(memory, at[C] + old), address(memory, at[C] + new)
        z, w_hn = address(memory, at[Z]), address(memory, at[W_HN])
        for b in range(batch):
            gates.copy(offset(z, b * columns), address(memory, at[BIAS]), columns)
        multiply(x, 1, 0, batch, inputs, address(memory, at[W_IH]), inputs, at[COLUMNS_IH], z, 0, columns)
        multiply(h_old, 1, 0, batch, size, address(memory, at[W_HH]), size, at[COLUMNS_HH], z, 0, columns)
        if kind == GRU:
            multiply(h_old, 1, 0, batch, size, w_hn, size, at[COLUMNS_HN], offset(z, 3 * size), 0, columns)
        elif kind == RESET_BEFORE:
            gates.reset(z, columns, h_old, size, False, always, batch)
            n, product = offset(z, 2 * size), offset(z, 3 * size)
            multiply(product, 1, 0, batch, columns, w_hn, size, at[COLUMNS_HN], n, 0, columns)
        p = address(memory, at[PEEPHOLES])
        gates.forward(kind, False, z, columns, h_old, c_old, h_new, c_new, p, size, size, False, always, batch)
    plan[0, CURRENT] = 1 - current


class Stack:
    """The memory of a stack of layers, and its step.

    ``x`` (B, I) is where the input goes; ``h`` and ``c`` (B, H), one of each a layer, are views of the current states.
    """

    def __init__(self, kinds: list[int], inputs: int, size: int, batch: int, dtype: Any) -> None:
        dtype = np.dtype(dtype)
        self._plan = np.zeros((len(kinds), FIELDS), np.int64)
        end = self._place(0, batch * inputs)[1]
        x = slice(0, batch * inputs)
        for layer, kind in enumerate(kinds):
            at, wide = self._plan[layer], inputs if layer == 0 else size
            columns = sequence.scratch_columns(kind, size, dtype.itemsize)
            with_n = kind in (GRU, RESET_BEFORE)
            gate_columns = (3 if with_n else BLOCKS[kind]) * size
            products = gate_columns, 2 * size if with_n else gate_columns, size if with_n else 0
            wide_ih, wide_hh, wide_hn = (padded(n, dtype.itemsize) for n in products)
            at[KIND], at[BATCH], at[INPUTS], at[SIZE], at[COLUMNS] = kind, batch, wide, size, columns
            at[COLUMNS_IH], at[COLUMNS_HH], at[COLUMNS_HN] = wide_ih, wide_hh, wide_hn
            for field, length in (
                (W_IH, wide_ih * wide),
                (W_HH, wide_hh * size),
                (W_HN, wide_hn * size),
                (BIAS, columns),
                (PEEPHOLES, 3 * size),
                (H, 2 * batch * size),
                (C, 2 * batch * size),
                (Z, batch * columns),
            ):
                at[field], end = self._place(end, length)
        self._memory = np.zeros(end, dtype)
        self.x = self._memory[x].reshape(batch, inputs)

    @staticmethod
    def _place(end: int, length: int) -> tuple[int, int]:
        """Where a part begins and ends: each on a cache line of its own, so that vectors are aligned."""
        start = -(-end // 16) * 16
        return start, start + length

    def load(self, layer: int, w: sequence.Weights) -> None:
        """Take the weights of a layer."""
        at, memory = self._plan[layer], self._memory
        kind, size = int(at[KIND]), int(at[SIZE])
        parts = {W_IH: pack(w["weight_ih"].T)}
        parts[W_HH], parts[W_HN] = sequence.forward_products(kind, w["weight_hh"])
        if kind == PEEPHOLE:
            parts[PEEPHOLES] = w["weight_ch"]
        parts[BIAS] = sequence.total_bias(kind, w, size, int(at[COLUMNS]), memory.dtype)
        for field, values in parts.items():
            memory[at[field] : at[field] + values.size] = values.reshape(-1)

    def step(self) -> None:
        """Take ``x``, and move every layer on."""
        _step(self._memory, self._plan)

    def views(self, layer: int, current: int) -> tuple[Array, ...]:
        """h (B, H) of a layer, and c where its cell has one, in one of the two copies."""
        at = self._plan[layer]
        fields = (H, C) if at[KIND] in (LSTM, PEEPHOLE) else (H,)
        length = int(at[BATCH] * at[SIZE])
        starts = [int(at[field]) + current * length for field in fields]
        return tuple(self._memory[s : s + length].reshape(int(at[BATCH]), int(at[SIZE])) for s in starts)

    @property
    def current(self) -> int:
        """Which copy of the states is the current one."""
        return int(self._plan[0, CURRENT])
