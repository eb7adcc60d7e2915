"""Elman's simple recurrent network (Elman 1990, "Finding structure in time")."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.cell import PointwiseCell, Saved, State, Weights


class Elman(PointwiseCell):
    """h' = f(zx + zh), with f = tanh or relu."""

    gate_names = ("h",)

    def __init__(self, nonlinearity: str = "tanh") -> None:
        if not isinstance(nonlinearity, str) or nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"{type(self).__name__}: nonlinearity is {nonlinearity!r}; expected 'tanh' or 'relu'")
        self.nonlinearity = nonlinearity

    @property
    def name(self) -> str:
        return f"Elman ({self.nonlinearity})"

    def forward(self, w: Weights, zx: Array, zh: Array, state: State) -> tuple[State, Saved]:
        xp = namespace(zx)
        z = zx + zh
        # "z <= 0" and not "z > 0", so that NaN stays NaN.
        return (xp.tanh(z) if self.nonlinearity == "tanh" else xp.where(z <= 0, xp.zeros_like(z), z),), ()

    def backward(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, Array, State]:
        xp = namespace(dstate[0])
        (dh,), (h,) = dstate, new_state
        dz = dh * (1.0 - h * h) if self.nonlinearity == "tanh" else xp.where(h <= 0, xp.zeros_like(dh), dh)
        return dz, dz, (0.0,)
