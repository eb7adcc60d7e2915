"""Quasi-recurrent network (Bradbury, Merity, Xiong, Socher 2017, arXiv 1611.01576), with fo-pooling."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from xprnn.backend import Array, namespace
from xprnn.cells.cell import Weights, sigmoid, split, total
from xprnn.cells.linear import LinearCell, halves


class QRNN(LinearCell):
    """z, f, o = tanh(u_z), sigmoid(u_f), sigmoid(u_o);  c' = f c + (1 - f) z;  h' = o c'.

    u = W x + b, with blocks in the order z, f, o; with ``window=2`` it is W x + b + V x of the step before.
    weight_ih (6H, I) is then W above V, bias_ih (3H) is b, and the state's third part is V x (B, 3H), to go on from.
    """

    def __init__(self, window: int = 1) -> None:
        asked: Any = window
        if isinstance(asked, bool) or not isinstance(asked, Integral) or asked not in (1, 2):
            raise ValueError(f"QRNN: window is {window!r}; expected 1 or 2")
        self.window = int(asked)
        self.late = self.window == 2
        self.state_names = ("h", "c", "v") if self.late else ("h", "c")

    gate_names = ("z", "f", "o")

    @property
    def name(self) -> str:
        return f"QRNN (window {self.window})"

    def state_sizes(self, hidden_size: int) -> tuple[int, ...]:
        return (hidden_size, hidden_size, *((3 * hidden_size,) * self.late))

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        return {"weight_ih": (3 * self.window * hidden_size, input_size), "bias_ih": (3 * hidden_size,)}

    def zx_of(self, w: Weights, product: Array) -> Array:
        if "bias_ih" not in w or not self.late:
            return super().zx_of(w, product)
        now, late = halves(product)
        return namespace(product).concat([now + w["bias_ih"], late], axis=-1)

    def zx_vjp(self, w: Weights, x: Array, dzx: Array) -> tuple[Array, Weights]:
        return dzx, {"bias_ih": total(halves(dzx)[0] if self.late else dzx)} if "bias_ih" in w else {}

    def coefficients(self, w: Weights, zx: Array) -> tuple[Array, Array]:
        uz, uf, _ = split(zx, 3)
        return sigmoid(uf), sigmoid(-uf) * namespace(uz).tanh(uz)

    def coefficients_vjp(self, w: Weights, zx: Array, da: Array, db: Array) -> tuple[Array, Weights]:
        uz, uf, uo = split(zx, 3)
        xp = namespace(zx)
        z, f = xp.tanh(uz), sigmoid(uf)
        return xp.concat(
            [db * (1.0 - f) * (1.0 - z * z), (da - db * z) * f * (1.0 - f), xp.zeros_like(uo)], axis=-1
        ), {}

    def output(self, w: Weights, c: Array, zx: Array) -> Array:
        return sigmoid(split(zx, 3)[2]) * c

    def output_vjp(self, w: Weights, c: Array, zx: Array, dh: Array) -> tuple[Array, Array, Weights]:
        uz, uf, uo = split(zx, 3)
        xp, o = namespace(zx), sigmoid(uo)
        dzx = xp.concat([xp.zeros_like(uz), xp.zeros_like(uf), dh * c * o * (1.0 - o)], axis=-1)
        return dh * o, dzx, {}
