"""Elman's network with any activation, as the ONNX operator RNN (version 22) and Keras have it."""

from __future__ import annotations

from xprnn.backend import Array
from xprnn.cells.activations import Activation, activation
from xprnn.cells.cell import PointwiseCell, Saved, State, Weights


class GeneralElman(PointwiseCell):
    """h' = f(zx + zh), f an :class:`Activation` or its name, of what is cut to -clip ... clip where there is a clip."""

    gate_names = ("h",)

    def __init__(self, f: str | Activation, *, clip: float | None = None) -> None:
        self.activations = {"h": activation(f, clip)}

    @property
    def name(self) -> str:
        return f"Elman ({self.activations['h']!r})"

    def forward(self, w: Weights, zx: Array, zh: Array, state: State) -> tuple[State, Saved]:
        z = zx + zh
        h = self.activations["h"](z)
        return (h,), (h, z)

    def backward(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, Array, State]:
        h, z = saved
        dz = dstate[0] * self.activations["h"].slope(z, h)
        return dz, dz, (0.0,)
