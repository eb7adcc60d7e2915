"""One step at a time with nothing allocated: all weights, states and scratch of a stack of layers lie in one array.

A call then takes two arguments, which matters where a step takes a microsecond. The plan, one row of integers a layer,
says what lies where; the first column of its first row tells which of two copies of the states is the current one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import gates, sequence
from .compiling import kernel
from .gates import BLOCKS, GRU, LSTM, PEEPHOLE
from .intrinsics import address
from .product import multiply, pack, padded

Array = np.ndarray[Any, Any]

# Columns of the plan: numbers, then places in the array. States are stored twice, the new one beside the old.
CURRENT, KIND, BATCH, INPUTS, SIZE, COLUMNS, WIDTH, PANELS_IH, PANELS_HH, PANELS_HN = range(10)
X, W_IH, W_HH, W_HN, BIAS, PEEPHOLES, H, C, Z, FIELDS = range(10, 20)


@kernel
def _step(memory, plan):
    current = plan[0, CURRENT]
    nothing = np.empty(0, np.uint8)
    for layer in range(plan.shape[0]):
        at = plan[layer]
        kind, batch, size, columns, width = at[KIND], at[BATCH], at[SIZE], at[COLUMNS], at[WIDTH]
        inputs = at[INPUTS]
        x = at[X] if layer == 0 else plan[layer - 1, H] + (1 - current) * batch * inputs
        h_old, h_new = at[H] + current * batch * size, at[H] + (1 - current) * batch * size
        c_old, c_new = at[C] + current * batch * size, at[C] + (1 - current) * batch * size
        for b in range(batch):
            memory[at[Z] + b * columns : at[Z] + (b + 1) * columns] = memory[at[BIAS] : at[BIAS] + columns]
        multiply(
            address(memory, x), 1, 0, batch, inputs, at[PANELS_IH], inputs, width, address(memory, at[W_IH]),
            address(memory, at[Z]), 0, columns,
        )  # fmt: skip
        multiply(
            address(memory, h_old), 1, 0, batch, size, at[PANELS_HH], size, width, address(memory, at[W_HH]),
            address(memory, at[Z]), 0, columns,
        )  # fmt: skip
        if kind == GRU:
            multiply(
                address(memory, h_old), 1, 0, batch, size, at[PANELS_HN], size, width, address(memory, at[W_HN]),
                address(memory, at[Z] + 3 * size), 0, columns,
            )  # fmt: skip
        gates.forward(
            kind,
            False,
            memory[at[Z] : at[Z] + batch * columns].reshape(batch, columns),
            0,
            memory[h_old : h_old + batch * size].reshape(batch, size),
            memory[c_old : c_old + batch * size].reshape(batch, size),
            memory[h_new : h_new + batch * size].reshape(batch, size),
            memory[c_new : c_new + batch * size].reshape(batch, size),
            memory[at[PEEPHOLES] : at[PEEPHOLES] + 3 * size].reshape(3, size),
            False,
            nothing,
            0,
            batch,
        )
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
            width = padded(1, dtype.itemsize)
            product = 2 * size if kind == GRU else BLOCKS[kind] * size
            columns = sequence.scratch_columns(kind, size, dtype.itemsize)
            whole = (3 if kind == GRU else BLOCKS[kind]) * size
            panels = [-(-n // width) for n in (whole, product, size if kind == GRU else 0)]
            at[KIND], at[BATCH], at[INPUTS], at[SIZE], at[COLUMNS], at[WIDTH] = kind, batch, wide, size, columns, width
            at[PANELS_IH], at[PANELS_HH], at[PANELS_HN] = panels
            for field, length in (
                (W_IH, panels[0] * wide * width),
                (W_HH, panels[1] * size * width),
                (W_HN, panels[2] * size * width),
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
        if kind == GRU:
            parts |= {W_HH: pack(w["weight_hh"][: 2 * size].T), W_HN: pack(w["weight_hh"][2 * size :].T)}
        else:
            parts[W_HH] = pack(w["weight_hh"].T)
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
