"""The memory of a stream: where weights, states and numbers on the way lie, by the plan that stream.py reads.

From Python a step and a block are the same call (lent.py), which matters where it takes a microsecond.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import from_dtype, types

from ..kinds import KINDS, Kind, Weights
from . import equations, sequence, units
from .lent import Lent, Place, call_of
from .parts import LINEAR, NORM
from .product import EXACT, Storage, padded
from .scratch import lined
from .stream import (
    AHEAD,
    APART,
    AXES,
    BATCH,
    BIAS,
    COLUMNS,
    COLUMNS_HH,
    COLUMNS_IH,
    COLUMNS_SECOND,
    CURRENT,
    DIAGONALS,
    DTYPE,
    FIELDS,
    IN_UNITS,
    INPUTS,
    KIND,
    OUTPUTS,
    OWN,
    PARTS,
    PASSED,
    RESET,
    SIZE,
    STATE,
    STEP,
    STRIDE,
    W_HH,
    W_IH,
    W_SECOND,
    Z,
    move,
)  # fmt: skip

Array = np.ndarray[Any, Any]
MOST_AHEAD = 64  # steps
AHEAD_BYTES = 1 << 18  # of their pre-activations, which must still be in the cache when their turn comes


class Part(NamedTuple):
    """One part of a stack: its kind, of cells or of parts.py, the numbers of its inputs and outputs, and its heads.

    Whether its weights are numbers of 8 bits matters to int8_stream.py alone.
    """

    kind: int
    inputs: int
    size: int
    heads: int = 1
    int8: bool = False


class Stack:
    """The memory of parts that feed each other, and its steps, of a batch, or of one sequence without an axis for it.

    ``step`` takes x (B, I) to an array (B, O) and ``block`` x (T, B, I) to (T, B, O), and moves every part on; they say
    whether they could have both as they are. Both must be arrays. ``views`` shows the states.
    """

    fields: int = FIELDS
    line: int = 16  # numbers after which a place may begin, so that vectors are aligned
    weights_type: type[np.generic] | None = None  # of the array of weights, where it is not that of the storage

    def __init__(self, stack: list[Part], batch: int | None, dtype: Any, storage: Storage = EXACT) -> None:
        dtype, axes, batch, self._storage = np.dtype(dtype), 1 if batch is None else 2, batch or 1, storage
        self._plan = np.zeros((len(stack), self.fields), np.int64)
        end, weights_end, item = 0, 0, dtype.itemsize
        for at, part in zip(self._plan, stack, strict=True):
            at[KIND], at[BATCH], at[INPUTS], at[SIZE] = part.kind, batch, part.inputs, part.size
            if part.kind == LINEAR:
                at[COLUMNS] = at[COLUMNS_IH] = padded(part.size, item)
            elif part.kind < LINEAR:
                at[DIAGONALS], end = self._place(end, part.size)
            else:
                at[OWN] = part.size // part.heads
                end = self._place_cell(at, part, batch, end, item)
        for at, part in zip(self._plan, stack, strict=True):
            behind = batch * padded(1, item)  # for what lies beyond products
            if at[IN_UNITS]:  # for what a product that stays apart starts from, and the weights of an only input
                behind = at[STRIDE] + at[COLUMNS]
            at[BIAS], end = self._place(end, max(at[COLUMNS], at[SIZE]) + behind + 1)
            end, weights_end = self._place_weights(at, part, end, weights_end)
        first, width = self._plan[0], int(self._plan[:, COLUMNS].max())
        first[PARTS], first[AXES], first[DTYPE], first[OUTPUTS] = len(stack), axes, id(dtype), stack[-1].size
        ahead = min(max(AHEAD_BYTES // max(batch * width * item, 1), 1), MOST_AHEAD)
        first[AHEAD] = ahead
        first[PASSED], end = self._place(end, ahead * batch * max(part.size for part in stack))
        first[Z], end = self._place(end, ahead * batch * width)
        end, weights_end = self._place_more(end, weights_end)
        self._memory = lined((end,), dtype, np.zeros)
        self._weights = lined((weights_end,), self.weights_type or storage.dtype(dtype), np.zeros)
        lent, places = Lent(from_dtype(dtype)), [self._weights, self._memory, self._plan]
        kinds = *(Place(from_dtype(array.dtype)) for array in places), types.boolean, lent, lent
        self.step, self.block = (call_of(self._kernel(), kinds, *places, many) for many in (False, True))

    def _kernel(self) -> Any:
        """What moves it."""
        return move

    def _place_cell(self, at: Array, part: Part, batch: int, end: int, item: int) -> int:
        """A recurrent layer's numbers and the places of its state; where these end."""
        about, size, own = KINDS[part.kind], part.size, int(at[OWN])
        at[IN_UNITS] = self._in_units(part, batch)
        stride = at[STRIDE] = units.room(size, item) if at[IN_UNITS] else size
        blocks = about.gates, *about.products
        at[COLUMNS_IH : COLUMNS_SECOND + 1] = [padded(count * size, item) for count in blocks]
        if own < size:
            at[COLUMNS_HH] = len(about.places) * size // own * padded(own, item)
        at[COLUMNS] = padded(sequence.scratch_columns(about, size, own, item), item)
        if at[IN_UNITS]:
            at[COLUMNS] = at[COLUMNS_IH] = padded(about.gates * stride, item)
            at[COLUMNS_HH], at[COLUMNS_SECOND] = len(about.places) * stride, 0
        else:
            at[STEP], at[RESET] = self._equations(part, item)
        at[APART], _ = self._place(2 * batch * stride, 0)
        at[DIAGONALS], end = self._place(end, about.read(size))
        at[STATE], end = self._place(end, len(about.parts) * at[APART])
        return end

    def _in_units(self, part: Part, batch: int) -> bool:
        """Whether its steps stay in registers."""
        return units.serves(part.kind, batch)

    def _equations(self, part: Part, item: int) -> tuple[int, int]:
        """Where the machine code of its equations is."""
        return equations.ahead(part.kind, item)

    def _place_weights(self, at: Array, part: Part, end: int, weights_end: int) -> tuple[int, int]:
        """Room for the weights of a part, in the array of weights; where that of numbers, and this one, end."""
        for columns, rows, place in (
            (COLUMNS_IH, INPUTS, W_IH),
            (COLUMNS_HH, OWN, W_HH),
            (COLUMNS_SECOND, SIZE, W_SECOND),
        ):
            at[place], weights_end = self._place(weights_end, at[columns] * self._storage.depth(at[rows]))
        return end, weights_end

    def _place_more(self, end: int, weights_end: int) -> tuple[int, int]:
        """Room for what a stack of another kind needs, in the array of numbers and in that of weights."""
        return end, weights_end

    def _place(self, end: int, length: int) -> tuple[int, int]:
        """Where a part begins and ends: each on a cache line of its own."""
        start = -(-end // self.line) * self.line
        return start, start + length

    def load(self, number: int, w: Weights) -> None:
        """Take the weights of a part: those of a cell, or "weight", maybe "bias", and "eps" of a normalisation."""
        at, memory, kind = self._plan[number], self._memory, self._plan[number, KIND]
        if kind >= 0:
            self._load_cell(at, KINDS[kind], w)
            return
        if kind == LINEAR:
            self._keep(W_IH, at, self._storage.pack(w["weight"].T))
        elif kind == NORM:
            memory[at[DIAGONALS] : at[DIAGONALS] + at[SIZE]], memory[at[BIAS] + at[SIZE]] = w["weight"], w["eps"]
        bias = w.get("bias")
        memory[at[BIAS] : at[BIAS] + at[SIZE]] = 0 if bias is None else bias

    def _load_cell(self, at: Array, about: Kind, w: Weights) -> None:
        memory, size, pack = self._memory, int(at[SIZE]), self._storage.pack
        bias = sequence.total_bias(about, w, size, memory.dtype)
        if at[IN_UNITS]:
            both = about.gates * size
            w_ih = pack(units.by_unit(w["weight_ih"], size).T)
            self._keep(W_IH, at, w_ih)
            self._keep(W_HH, at, pack(units.panels(about.number, w["weight_hh"], size)))
            apart, behind = units.by_unit(bias[both : about.kept * size], size), at[BIAS] + at[COLUMNS]
            memory[behind : behind + apart.size] = apart
            if at[INPUTS] == 1:
                behind += at[STRIDE]
                memory[behind : behind + w_ih.size] = self._storage.numbers(w_ih).reshape(-1)
            bias = units.by_unit(bias[:both], size)
        else:
            self._keep(W_IH, at, pack(w["weight_ih"].T))
            w_hh, w_second = sequence.forward_products(about, w, size, self._storage)
            self._keep(W_HH, at, w_hh)
            self._keep(W_SECOND, at, w_second)
        memory[at[BIAS] : at[BIAS] + bias.size] = bias
        diagonals = sequence.diagonals_of(about, w, memory)
        memory[at[DIAGONALS] : at[DIAGONALS] + diagonals.size] = diagonals.reshape(-1)

    def _keep(self, field: int, at: Array, packed: Array) -> None:
        """Put packed weights where the plan says."""
        self._weights[at[field] : at[field] + packed.size] = packed.reshape(-1)

    @property
    def how(self) -> str:
        """What there is to say of its steps."""
        return "steps in registers" if self._plan[:, IN_UNITS].any() else ""

    def views(self, number: int, current: int) -> tuple[Array, ...]:
        """Each part of the state (B, H) of a recurrent layer, in one of the two copies."""
        at = self._plan[number]
        shape, states = (int(at[BATCH]), int(at[STRIDE])), len(KINDS[at[KIND]].parts)
        length = shape[0] * shape[1]
        starts = [int(at[STATE] + state * at[APART]) + current * length for state in range(states)]
        return tuple(self._memory[start : start + length].reshape(shape)[:, : at[SIZE]] for start in starts)

    def turn(self) -> None:
        """Make the other copy of all states the current one, in one go."""
        self._plan[0, CURRENT] = 1 - self._plan[0, CURRENT]

    @property
    def current(self) -> int:
        """Which copy of the states is the current one."""
        return int(self._plan[0, CURRENT])
