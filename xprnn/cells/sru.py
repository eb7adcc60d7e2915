"""Simple recurrent unit (Lei, Zhang, Wang, Dai, Artzi 2018, "Simple recurrent units ...", arXiv 1709.02755)."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.cell import Weights, sigmoid, split
from xprnn.cells.linear import LinearCell


class SRU(LinearCell):
    """f, r = sigmoid(zx_f), sigmoid(zx_r);  c' = f c + (1 - f) zx_c;  h' = r c' + (1 - r) s.

    Blocks in the order c, f, r. The highway s is x itself where it is as wide as h, and else a fourth block, s. The
    gates see the input only, as in the paper's first version; the terms v c of its last make a recurrence that is not
    linear. Of its constant that rescales s, too, there is none here.
    """

    gate_names = ("c", "f", "r", "s")
    state_names = ("h", "c")

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        rows = (3 if input_size == hidden_size else 4) * hidden_size
        return {"weight_ih": (rows, input_size), "bias_ih": (rows,)}

    def sees_x(self, w: Weights, hidden_size: int) -> bool:
        return w["weight_ih"].shape[1] == hidden_size  # rows do not tell: of (12, 4) H may be 4, or 3

    def coefficients(self, w: Weights, zx: Array) -> tuple[Array, Array]:
        v, kf, _, _ = split(zx, 4)
        return sigmoid(kf), sigmoid(-kf) * v

    def coefficients_vjp(self, w: Weights, zx: Array, da: Array, db: Array) -> tuple[Array, Weights]:
        v, kf, _, _ = split(zx, 4)
        f, zeros = sigmoid(kf), namespace(zx).zeros_like(v)
        return namespace(zx).concat([db * (1.0 - f), (da - db * v) * f * (1.0 - f), zeros, zeros], axis=-1), {}

    def output(self, w: Weights, c: Array, zx: Array) -> Array:
        _, _, kr, s = split(zx, 4)
        r = sigmoid(kr)
        return r * c + (1.0 - r) * s

    def output_vjp(self, w: Weights, c: Array, zx: Array, dh: Array) -> tuple[Array, Array, Weights]:
        _, _, kr, s = split(zx, 4)
        r, zeros = sigmoid(kr), namespace(zx).zeros_like(s)
        dzx = namespace(zx).concat([zeros, zeros, dh * (c - s) * r * (1.0 - r), dh * (1.0 - r)], axis=-1)
        return dh * r, dzx, {}
