"""What cells have in common that are told how much time a step takes."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.cell import Cell, Weights


class TimedCell(Cell):
    """A cell whose x ends with a column of time spans, which no weight multiplies; ``step`` finds it as zx[..., -1:].

    ``weight_shapes`` are asked for with the column among the inputs, and leave it out of weight_ih.
    """

    def sees_x(self, w: Weights, hidden_size: int) -> bool:
        return True

    def input_weight(self, w: Weights) -> Array:
        weight = w["weight_ih"]
        xp = namespace(weight)
        return xp.concat([weight, xp.zeros_like(weight[:, :1])], axis=1)

    def input_weight_vjp(self, w: Weights, d: Array) -> Weights:
        return {"weight_ih": d[:, :-1]}
