"""Echo state network (Jaeger 2001, GMD report 148; leaky units: Jaeger et al. 2007, Neural Networks 20, 335)."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.cell import PointwiseCell, Saved, State, Weights


class EchoState(PointwiseCell):
    """h' = (1 - a) h + a tanh(zx + W_hh h), with a leak a; zx = W_ih x + bias_ih. There is one bias."""

    gate_names = ("n",)

    def __init__(self, leak: float = 1.0) -> None:
        self.leak = leak

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        shapes = super().weight_shapes(input_size, hidden_size)
        del shapes["bias_hh"]
        return shapes

    def forward(self, w: Weights, zx: Array, zh: Array, state: State) -> tuple[State, Saved]:
        n = namespace(zx).tanh(zx + zh)
        return ((1.0 - self.leak) * state[0] + self.leak * n,), (n,)

    def backward(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, Array, State]:
        (dh,), (n,) = dstate, saved
        dz = self.leak * dh * (1.0 - n * n)
        return dz, dz, ((1.0 - self.leak) * dh,)
