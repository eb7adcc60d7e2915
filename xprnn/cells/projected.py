"""A cell whose hidden state is projected to fewer units before it leaves (Sak et al. 2014, arXiv 1402.1128)."""

from __future__ import annotations

from xprnn.backend import Array
from xprnn.cells.cell import Cell, Saved, State, Weights, outer_sum
from xprnn.counts import size


class Projected(Cell):
    """h' = W_hr m, where m (B, H) is the hidden state that the inner cell computes from h (B, P).

    weight_hr (P, H). The other parts of the state keep H units. It needs an inner cell that uses h in the product
    only, since P and H differ; an LSTM does, with or without peepholes.
    """

    def __init__(self, cell: Cell, proj_size: int) -> None:
        if not isinstance(cell, Cell):
            raise TypeError(f"Projected: cell is a {type(cell).__name__}; expected a Cell, such as LSTM()")
        if len(cell.state_names) < 2 or "weight_hh" not in cell.weight_shapes(1, 2):
            raise ValueError(
                f"proj_size needs a cell with a state beside h that multiplies h, as LSTM does; {cell.name} does not"
            )
        self.cell, self.proj_size = cell, size("Projected", "proj_size", proj_size)
        self.gates, self.gate_names, self.state_names = cell.gates, cell.gate_names, cell.state_names
        self.initial, self.masks = cell.initial, cell.masks

    @property
    def name(self) -> str:
        return f"{self.cell.name} projected to {self.proj_size}"

    def state_sizes(self, hidden_size: int) -> tuple[int, ...]:
        return (self.proj_size, *self.cell.state_sizes(hidden_size)[1:])

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        shapes = self.cell.weight_shapes(input_size, hidden_size)
        shapes["weight_hh"] = (shapes["weight_hh"][0], self.proj_size)
        return shapes | {"weight_hr": (self.proj_size, hidden_size)}

    def zx_of(self, w: Weights, product: Array) -> Array:
        return self.cell.zx_of(w, product)

    def zx_vjp(self, w: Weights, x: Array, dzx: Array) -> tuple[Array, Weights]:
        return self.cell.zx_vjp(w, x, dzx)

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        (m, *rest), saved = self.cell.step(w, zx, state)
        return (m @ w["weight_hr"].T, *rest), (m, *saved)

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        (dh, *drest), (m, *inner) = dstate, saved
        dm = dh @ w["weight_hr"]
        dzx, dprevious, terms = self.cell.step_vjp(w, (dm, *drest), tuple(inner), state, (m, *new_state[1:]))
        return dzx, dprevious, (dh, m, *terms)

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        dh, m, *inner = terms
        gradients = self.cell.weight_vjp(w, dzx, tuple(inner), states, (m, *new_states[1:]))
        return gradients | {"weight_hr": outer_sum(dh, m)}
