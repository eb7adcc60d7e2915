"""Linear recurrent unit (Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu, De 2023, arXiv 2303.06349)."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.cell import Weights
from xprnn.cells.diagonal import DiagonalCell, polar
from xprnn.cells.linear import conjugate, halves, product


class LRU(DiagonalCell):
    """c' = exp(-exp(nu) + i exp(theta)) c + exp(gamma) (B x);  h' = Re(C c') + D x.

    nu_log, theta_log, gamma_log (N,), whose exponentials keep the sizes of all eigenvalues between 0 and 1; B and D in
    weight_ih (2N + H, I), C in weight_ch (H, 2N). There are no biases.
    """

    scale = 1.0

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        own = dict.fromkeys(("nu_log", "theta_log", "gamma_log"), (self.state_size,))
        return super().weight_shapes(input_size, hidden_size) | own

    def diagonals(self, w: Weights) -> tuple[Array, Array]:
        xp = namespace(w["nu_log"])
        return polar(xp.exp(-xp.exp(w["nu_log"])), xp.exp(w["theta_log"])), xp.exp(w["gamma_log"])

    def diagonals_vjp(self, w: Weights, dp: Array, dq: Array) -> Weights:
        xp = namespace(dp)
        p, gamma = self.diagonals(w)
        size, angle = halves(product(True, conjugate(True, p), dp))  # cotangents of log p
        return {
            "nu_log": -xp.exp(w["nu_log"]) * size,
            "theta_log": xp.exp(w["theta_log"]) * angle,
            "gamma_log": gamma * dq,
        }
