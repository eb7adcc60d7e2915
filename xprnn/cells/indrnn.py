"""Independently recurrent network (Li, Li, Cook, Zhu, Gao 2018, arXiv 1803.09831): a unit sees no state but its own."""

from __future__ import annotations

from xprnn.backend import Array
from xprnn.cells.cell import Saved, State, Weights, masked, total
from xprnn.cells.elman import Elman


class IndRNN(Elman):
    """h' = f(zx + u h + b_hh), with f = tanh or relu; weight_hh (H,) is u, multiplied element by element."""

    masks = ("mask_h",)

    @property
    def name(self) -> str:
        return f"IndRNN ({self.nonlinearity})"

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        return super().weight_shapes(input_size, hidden_size) | {"weight_hh": (hidden_size,)}

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        zh = w["weight_hh"] * masked(w, state[0])
        return self.forward(w, zx, zh + w["bias_hh"] if "bias_hh" in w else zh, state)

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        dz, _, _ = self.backward(w, dstate, saved, state, new_state)
        return dz, (masked(w, dz * w["weight_hh"]),), ()

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        gradients = {"weight_hh": total(dzx * masked(w, states[0]))}
        return gradients | {"bias_hh": total(dzx)} if "bias_hh" in w else gradients
