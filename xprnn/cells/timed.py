"""What cells have in common that are told how much time a step takes."""

from __future__ import annotations

from xprnn.cells.cell import Cell, Weights


class TimedCell(Cell):
    """A cell whose x ends with a column of time spans, which no weight multiplies; ``step`` finds it as zx[..., -1:].

    ``weight_shapes`` are asked for with the column among the inputs, and leave it out of weight_ih.
    """

    def multiplied(self) -> slice:
        return slice(None, -1)

    def sees_x(self, w: Weights, hidden_size: int) -> bool:
        return True
