"""What cells with a diagonal of complex numbers between steps have in common: LRU and S5.

N is the size of the state, of complex numbers; as pairs they are 2N columns, real parts first.
"""

from __future__ import annotations

import operator
from abc import abstractmethod

from xprnn.backend import Array, namespace
from xprnn.cells.cell import Product, Weights, rows_times
from xprnn.cells.linear import LinearCell, conjugate, product
from xprnn.counts import size


class DiagonalCell(LinearCell):
    """c' = p c + q (B x);  h' = s Re(C c') + D x, with p and q (N,) of the cell's own weights, and a number s.

    weight_ih (2N + H, I) is Re B, Im B and D, one below the other; weight_ch (H, 2N) is Re C beside Im C.
    """

    state_names = ("h", "c")
    pairs = True
    scale: float

    def __init__(self, state_size: int) -> None:
        self.state_size = size(type(self).__name__, "state_size", state_size)

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

    def input_weight(self, w: Weights) -> Array:
        """q B above D: to scale the weights is to scale their products with every x."""
        n, (_, q) = 2 * self.state_size, self.diagonals(w)
        return namespace(q).concat([columnwise(q, w["weight_ih"][:n, :]), w["weight_ih"][n:, :]])

    def input_weight_vjp(self, w: Weights, d: Array) -> Weights:
        n, (p, q), xp = 2 * self.state_size, self.diagonals(w), namespace(d)
        b, db = w["weight_ih"][:n, :], d[:n, :]
        dq = xp.sum(product(True, conjugate(True, b.T), db.T), axis=0)
        dweight = xp.concat([columnwise(conjugate(True, q), db), d[n:, :]])
        return {"weight_ih": dweight} | self.diagonals_vjp(w, xp.zeros_like(p), dq)

    def coefficients(self, w: Weights, zx: Array) -> tuple[Array, Array]:
        return self.diagonals(w)[0], zx[..., : 2 * self.state_size]

    def coefficients_vjp(self, w: Weights, zx: Array, da: Array, db: Array) -> tuple[Array, Weights]:
        return db, self.diagonals_vjp(w, da, namespace(da).zeros_like(da))

    def output(self, w: Weights, c: Array, zx: Array) -> Array:
        return self.output_by(operator.matmul, w, c, zx)

    def output_by(self, times: Product, w: Weights, c: Array, zx: Array) -> Array:
        return rows_times(c, self._read_out(w).T, times) + zx[..., 2 * self.state_size :]

    def output_vjp(self, w: Weights, c: Array, zx: Array, dh: Array) -> tuple[Array, Array, Weights]:
        return self.output_vjp_by(operator.matmul, w, c, zx, dh)

    def output_vjp_by(self, times: Product, w: Weights, c: Array, zx: Array, dh: Array) -> tuple[Array, Array, Weights]:
        xp = namespace(dh)
        gradient = times(xp.reshape(dh, (-1, dh.shape[-1])).T, xp.reshape(c, (-1, c.shape[-1])))
        return rows_times(dh, self._read_out(w), times), dh, {"weight_ch": self.scale * conjugate(True, gradient)}

    def joined(self, from_output: Array, from_coefficients: Array) -> Array:
        return namespace(from_output).concat([from_coefficients, from_output], axis=-1)  # each has columns of its own

    def _read_out(self, w: Weights) -> Array:
        """What turns pairs into s Re(C c)."""
        return self.scale * conjugate(True, w["weight_ch"])


def columnwise(q: Array, b: Array) -> Array:
    """Every column of a matrix times q, as complex numbers."""
    return product(True, q, b.T).T


def polar(size: Array, angle: Array) -> Array:
    """Complex numbers of so much size and such an angle, as pairs."""
    xp = namespace(size)
    return xp.concat([size * xp.cos(angle), size * xp.sin(angle)])


def twice(values: Array) -> Array:
    """For real and imaginary parts both."""
    return namespace(values).concat([values, values])
