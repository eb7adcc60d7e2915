"""What cells with a diagonal of complex numbers between steps have in common: LRU and S5.

N is the size of the state, of complex numbers; as pairs they are 2N columns, real parts first.
"""

from __future__ import annotations

from abc import abstractmethod

from xprnn.backend import Array, namespace
from xprnn.cells.cell import Weights
from xprnn.cells.linear import LinearCell, conjugate, product, rows_product, summed_to


class DiagonalCell(LinearCell):
    """c' = p c + q (B x);  h' = s Re(C c') + D x, with p and q (N,) of the cell's own weights, and a number s.

    weight_ih (2N + H, I) is Re B, Im B and D, one below the other; weight_ch (H, 2N) is Re C beside Im C.
    """

    state_names = ("h", "c")
    pairs = True
    scale: float

    def __init__(self, state_size: int) -> None:
        self.state_size = state_size

    def state_sizes(self, hidden_size: int) -> tuple[int, ...]:
        return hidden_size, 2 * self.state_size

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        columns = 2 * self.state_size
        return {"weight_ih": (columns + hidden_size, input_size), "weight_ch": (hidden_size, columns)}

    @abstractmethod
    def diagonals(self, w: Weights) -> tuple[Array, Array]:
        """p and q as pairs (2N,)."""

    @abstractmethod
    def diagonals_vjp(self, w: Weights, dp: Array, dq: Array) -> Weights:
        """The gradients of the weights that p and q are made of."""

    def coefficients(self, w: Weights, zx: Array) -> tuple[Array, Array]:
        p, q = self.diagonals(w)
        return p, product(True, q, zx[..., : 2 * self.state_size])

    def coefficients_vjp(self, w: Weights, zx: Array, da: Array, db: Array) -> tuple[Array, Weights]:
        (_, q), n = self.diagonals(w), 2 * self.state_size
        dq = summed_to((n,), product(True, conjugate(True, zx[..., :n]), db))
        dzx = [product(True, conjugate(True, q), db), namespace(zx).zeros_like(zx[..., n:])]
        return namespace(zx).concat(dzx, axis=-1), self.diagonals_vjp(w, da, dq)

    def output(self, w: Weights, c: Array, zx: Array) -> Array:
        return rows_product(c, self.scale * conjugate(True, w["weight_ch"]).T) + zx[..., 2 * self.state_size :]

    def output_vjp(self, w: Weights, c: Array, zx: Array, dh: Array) -> tuple[Array, Array, Weights]:
        xp = namespace(zx)
        rows, columns = xp.reshape(dh, (-1, dh.shape[-1])), xp.reshape(c, (-1, c.shape[-1]))
        dc = rows_product(dh, self.scale * conjugate(True, w["weight_ch"]))
        dzx = xp.concat([xp.zeros_like(zx[..., : 2 * self.state_size]), dh], axis=-1)
        return dc, dzx, {"weight_ch": self.scale * conjugate(True, rows.T @ columns)}


def polar(size: Array, angle: Array) -> Array:
    """Complex numbers of so much size and such an angle, as pairs."""
    xp = namespace(size)
    return xp.concat([size * xp.cos(angle), size * xp.sin(angle)])


def twice(values: Array) -> Array:
    """For real and imaginary parts both."""
    return namespace(values).concat([values, values])
