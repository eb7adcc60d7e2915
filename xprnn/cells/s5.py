"""Simplified state space layer, S5 (Smith, Warrington, Linderman 2023, arXiv 2208.04933): diagonal, zero-order hold."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.cell import Weights
from xprnn.cells.diagonal import DiagonalCell, polar, twice
from xprnn.cells.linear import conjugate, halves, product


class S5(DiagonalCell):
    """dc/dt = L c + B x at steps of time D_n = exp(log_step), held between them;  h' = 2 Re(C c') + D x.

    That is c' = exp(L D_n) c + (exp(L D_n) - 1) / L (B x). ``poles`` (2N,) are L, real parts and then imaginary ones;
    2 Re stands for the conjugates of all poles, which are not computed. log_step (N,); B and D in weight_ih
    (2N + H, I), C in weight_ch (H, 2N). The paper's D is diagonal; here it is a whole matrix, so that I may differ from
    H. There are no biases.
    """

    scale = 2.0

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        own = {"poles": (2 * self.state_size,), "log_step": (self.state_size,)}
        return super().weight_shapes(input_size, hidden_size) | own

    def diagonals(self, w: Weights) -> tuple[Array, Array]:
        p, _, q = self._held(w)
        return p, q

    def diagonals_vjp(self, w: Weights, dp: Array, dq: Array) -> Weights:
        poles, step = w["poles"], namespace(dp).exp(w["log_step"])
        p, inverse, q = self._held(w)
        dp = dp + product(True, conjugate(True, inverse), dq)
        dexponent = product(True, conjugate(True, p), dp)
        dpoles = twice(step) * dexponent - product(True, conjugate(True, product(True, q, inverse)), dq)
        return {"poles": dpoles, "log_step": step * halves(product(True, conjugate(True, poles), dexponent))[0]}

    def _held(self, w: Weights) -> tuple[Array, Array, Array]:
        """exp(L D_n), 1 / L, and the factor of B x."""
        poles, xp = w["poles"], namespace(w["poles"])
        real, imaginary = halves(poles)
        step = xp.exp(w["log_step"])
        inverse = conjugate(True, poles) / twice(real * real + imaginary * imaginary)
        p = polar(xp.exp(real * step), imaginary * step)
        moved = p - xp.concat([xp.ones_like(step), xp.zeros_like(step)])
        return p, inverse, product(True, moved, inverse)
