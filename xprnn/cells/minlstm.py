"""minLSTM (Feng, Tung, Ahmed, Bengio, Hajimirsadeghi 2024, "Were RNNs all we needed?", arXiv 2410.01201)."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.cell import Weights, sigmoid, split
from xprnn.cells.linear import LinearCell, positive, positive_back
from xprnn.cells.mingru import known_space


class MinLSTM(LinearCell):
    """f, i = sigmoid(zx_f), sigmoid(zx_i);  h' = (f h + i g(zx_h)) / (f + i), with blocks in the order f, i, h.

    ``space`` and g as in :class:`MinGRU`. f / (f + i) is the sigmoid of log f - log i, which cannot divide by zero.
    """

    gate_names = ("f", "i", "h")

    def __init__(self, space: str = "log") -> None:
        self.space = known_space("MinLSTM", space)

    @property
    def name(self) -> str:
        return f"MinLSTM ({self.space})"

    def coefficients(self, w: Weights, zx: Array) -> tuple[Array, Array]:
        kf, ki, v = split(zx, 3)
        u = softplus(-ki) - softplus(-kf)
        return sigmoid(u), sigmoid(-u) * (positive(v) if self.space == "log" else v)

    def coefficients_vjp(self, w: Weights, zx: Array, da: Array, db: Array) -> tuple[Array, Weights]:
        kf, ki, v = split(zx, 3)
        u, log = softplus(-ki) - softplus(-kf), self.space == "log"
        f, i = sigmoid(u), sigmoid(-u)
        du = (da - db * (positive(v) if log else v)) * f * i
        dv = positive_back(v, db * i) if log else db * i
        return namespace(zx).concat([du * sigmoid(-kf), -du * sigmoid(-ki), dv], axis=-1), {}


def softplus(z: Array) -> Array:
    """log(1 + e ** z), without overflow."""
    xp = namespace(z)
    return xp.logaddexp(z, xp.zeros_like(z))
