"""What cells with a diagonal of complex numbers between steps have in common: LRU and S5.

N is the size of the state, of complex numbers; as pairs they are 2N columns, real parts first.
"""

from __future__ import annotations

import operator
from abc import abstractmethod

from xprnn.backend import Array, namespace
from xprnn.cells.cell import Product, Weights, rows_times
from xprnn.cells.linear import LinearCell, conjugate, halves
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
        """p as pairs (2N,), and q likewise, or (N,) where it is real."""

    @abstractmethod
    def diagonals_vjp(self, w: Weights, dp: Array, dq: Array) -> Weights:
        """The gradients of the weights that p and q are made of, from cotangents of their shapes."""

    def input_weight(self, w: Weights) -> Array:
        """q B above D: to scale the weights is to scale their products with every x."""
        b, d = self.apart(w["weight_ih"])
        return namespace(d).concat([rowwise(self.diagonals(w)[1], b), d])

    def input_weight_vjp(self, w: Weights, d: Array) -> Weights:
        (p, q), (db, dd) = self.diagonals(w), self.apart(d)
        db, dq = self.scaled_vjp(w, q, db)
        return {"weight_ih": namespace(d).concat([db, dd])} | self.diagonals_vjp(w, namespace(d).zeros_like(p), dq)

    def apart(self, weight_ih: Array) -> tuple[Array, Array]:
        """B and D."""
        n = 2 * self.state_size
        return weight_ih[:n, :], weight_ih[n:, :]

    def scaled_vjp(self, w: Weights, q: Array, d: Array) -> tuple[Array, Array]:
        """The cotangents of B and q, from that of q B."""
        xp, b = namespace(d), self.apart(w["weight_ih"])[0]
        if is_real(q, b):
            real, imaginary = halves(xp.sum(b * d, axis=1))
            return rowwise(q, d), real + imaginary
        (br, bi), (dr, di) = rows_apart(b), rows_apart(d)
        dq = xp.concat([xp.sum(br * dr + bi * di, axis=1), xp.sum(br * di - bi * dr, axis=1)])
        return rowwise(conjugate(True, q), d), dq

    def coefficients(self, w: Weights, zx: Array) -> tuple[Array, Array]:
        return self.diagonals(w)[0], zx[..., : 2 * self.state_size]

    def coefficients_vjp(self, w: Weights, zx: Array, da: Array, db: Array) -> tuple[Array, Weights]:
        return db, self.diagonals_vjp(w, da, namespace(da).zeros_like(self.diagonals(w)[1]))

    def output(self, w: Weights, c: Array, zx: Array) -> Array:
        return self.output_by(operator.matmul, w, c, zx)

    def output_by(self, times: Product, w: Weights, c: Array, zx: Array) -> Array:
        return rows_times(c, self.read_out(w).T, times) + zx[..., 2 * self.state_size :]

    def output_vjp(self, w: Weights, c: Array, zx: Array, dh: Array) -> tuple[Array, Array, Weights]:
        return self.output_vjp_by(operator.matmul, w, c, zx, dh)

    def output_vjp_by(self, times: Product, w: Weights, c: Array, zx: Array, dh: Array) -> tuple[Array, Array, Weights]:
        xp = namespace(dh)
        gradient = times(xp.reshape(dh, (-1, dh.shape[-1])).T, xp.reshape(c, (-1, c.shape[-1])))
        return rows_times(dh, self.read_out(w), times), dh, {"weight_ch": self.read_out_vjp(gradient)}

    def joined(self, from_output: Array, from_coefficients: Array) -> Array:
        return namespace(from_output).concat([from_coefficients, from_output], axis=-1)  # each has columns of its own

    def read_out(self, w: Weights) -> Array:
        """What turns pairs into s Re(C c)."""
        return self.read_out_vjp(w["weight_ch"])

    def read_out_vjp(self, d: Array) -> Array:
        """The gradient of weight_ch from that of what :meth:`read_out` makes of it, which is the same in it."""
        real, imaginary = halves(d)
        return namespace(d).concat([self.scale * real, -self.scale * imaginary], axis=-1)


def rowwise(q: Array, b: Array) -> Array:
    """Every column of a matrix times q, as complex numbers."""
    xp = namespace(b)
    if is_real(q, b):
        return xp.expand_dims(twice(q), axis=1) * b
    (real, imaginary), (qr, qi) = rows_apart(b), (xp.expand_dims(part, axis=1) for part in halves(q))
    return xp.concat([qr * real - qi * imaginary, qr * imaginary + qi * real])


def is_real(q: Array, b: Array) -> bool:
    """Whether q has no imaginary parts beside a matrix of pairs that it goes with."""
    return bool(2 * q.shape[0] == b.shape[0])


def rows_apart(b: Array) -> tuple[Array, Array]:
    """The rows of real parts and those of imaginary ones."""
    half = b.shape[0] // 2
    return b[:half, :], b[half:, :]


def polar(size: Array, angle: Array) -> Array:
    """Complex numbers of so much size and such an angle, as pairs."""
    xp = namespace(size)
    return xp.concat([size * xp.cos(angle), size * xp.sin(angle)])


def twice(values: Array) -> Array:
    """For real and imaginary parts both."""
    return namespace(values).concat([values, values])
