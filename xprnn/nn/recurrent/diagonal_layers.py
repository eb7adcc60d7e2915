"""Layers whose state is a diagonal of complex numbers, scanned over time: LRU and S5."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from xprnn.arguments import above_zero, real_number, size
from xprnn.cells import LRU as LRUSpec
from xprnn.cells import S5 as S5Spec
from xprnn.cells import DiagonalCell
from xprnn.nn.recurrent.stacked import RecurrentLayer, begin_with
from xprnn.randomness import Rng


class _Diagonal(RecurrentLayer):
    """What LRU and S5 have in common: weights that are complex, and drawn by the rules of their papers."""

    cell: DiagonalCell

    def _draw(self, b_std: float, d: Callable[[tuple[int, int]], np.ndarray]) -> None:
        """Give every layer and direction its initial weights; B from N(0, b_std^2 / I), C from N(0, 1 / N)."""
        n, draws = self.cell.state_size, self.rng
        for weights in self.weights():
            rows, inputs = weights["weight_ih"].shape
            b = draws.normal(0.0, b_std / math.sqrt(inputs), (2 * n, inputs))
            c = draws.normal(0.0, 1.0 / math.sqrt(n), (self.hidden_size, 2 * n))
            own = self._draw_own()
            begin_with(weights, **own, weight_ih=np.concatenate([b, d((rows - 2 * n, inputs))]), weight_ch=c)

    def _draw_own(self) -> dict[str, np.ndarray]:
        """The weights of the diagonal."""
        raise NotImplementedError


class LRU(_Diagonal):
    """Linear recurrent unit (Orvieto et al. 2023, arXiv 2303.06349): a diagonal of complex numbers between steps.

    c' = exp(-exp(nu) + i exp(theta)) c + exp(gamma) (B x);  h' = Re(C c') + D x.

    ========================  ==========================================================================
    nu_log, theta_log,        (N,): logarithms of how fast each number fades and turns, and of its input's
    gamma_log                 scale
    weight_ih                 (2N + H, I): Re B, Im B and D, one below the other
    weight_ch                 (H, 2N): Re C beside Im C
    ========================  ==========================================================================

    Shapes, calling and the other arguments: :class:`RecurrentLayer`; how it runs: :class:`MinGRU`. The state is a tuple
    (h, c) with c (L*D, B, 2N), real parts first, of which only c goes on. Put a nonlinear layer between two of these,
    as the paper does: nothing here is one.

    Parameters
    ----------
    state_size
        N, the complex numbers of the state. Default: H.
    r_min, r_max, max_phase
        Eigenvalues start evenly in the ring between these radii, with phases from 0 to ``max_phase``; gamma starts so
        that the state has the input's size.

    Raises ValueError for radii that are not 0 <= r_min < r_max <= 1.
    """

    _fixed = RecurrentLayer._fixed | {"r_min", "r_max", "max_phase"}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        state_size: int | None = None,
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2.0 * math.pi,
        reverse: bool = False,
        zero_masked: bool = False,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        self.r_min = real_number("LRU", "r_min", r_min, "a radius from 0 to 1", high=1.0)
        self.r_max = real_number("LRU", "r_max", r_max, "a radius from 0 to 1", high=1.0)
        self.max_phase = real_number("LRU", "max_phase", max_phase, "an angle from 0 to 2 pi", high=2.0 * math.pi)
        if self.r_min >= self.r_max:
            raise ValueError(f"LRU: r_min is {r_min} and r_max {r_max}; expected r_min < r_max")
        cell = LRUSpec(_state_size("LRU", state_size, hidden_size))
        super().__init__(
            cell, input_size, hidden_size, num_layers, False, batch_first, dropout, bidirectional, reverse=reverse,
            zero_masked=zero_masked, dtype=dtype, rng=rng,
        )  # fmt: skip
        self._draw(math.sqrt(0.5), lambda shape: self.rng.normal(0.0, 1.0 / math.sqrt(shape[1]), shape))

    def _draw_own(self) -> dict[str, np.ndarray]:
        n, low, high = self.cell.state_size, self.r_min**2, self.r_max**2
        tiny = float(np.finfo(self.dtype).tiny)  # neither logarithm below may see 0
        log_size = 0.5 * np.log(np.clip(self.rng.uniform(low, high, n), tiny, 1.0 - np.finfo(self.dtype).eps))
        theta_log = np.log(np.maximum(self.rng.uniform(0.0, self.max_phase, n), tiny))
        return {
            "nu_log": np.log(-log_size),
            "theta_log": theta_log,
            "gamma_log": 0.5 * np.log(-np.expm1(2.0 * log_size)),
        }


class S5(_Diagonal):
    """The recurrence of S5 (Smith et al. 2023, arXiv 2208.04933): a diagonal state space, discretised by its own steps.

    dc/dt = L c + B x, with x held for D_n = exp(log_step):  c' = exp(L D_n) c + (exp(L D_n) - 1) / L (B x);
    h' = 2 Re(C c') + D x.

    =================  =================================================================================
    poles, log_step    (2N,): L, real parts first, one of each pair of conjugates; (N,)
    weight_ih          (2N + H, I): Re B, Im B and D, one below the other. The paper's D is a diagonal
    weight_ch          (H, 2N): Re C beside Im C
    =================  =================================================================================

    Shapes, calling, the other arguments and the state as for :class:`LRU`. The paper's layer has an activation after
    it, and layer normalisation before. The poles start as those of the HiPPO-LegS matrix of 2N rows, D as zero.

    Parameters
    ----------
    state_size
        N, the complex numbers of the state; with their conjugates it is 2N wide. Default: H.
    step_min, step_max
        Steps start between these, evenly in their logarithm.

    Raises ValueError for steps that are not 0 < step_min <= step_max.
    """

    _fixed = RecurrentLayer._fixed | {"step_min", "step_max"}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        state_size: int | None = None,
        step_min: float = 0.001,
        step_max: float = 0.1,
        reverse: bool = False,
        zero_masked: bool = False,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        self.step_min = above_zero("S5", "step_min", step_min)
        self.step_max = above_zero("S5", "step_max", step_max)
        if self.step_min > self.step_max:
            raise ValueError(f"S5: step_min is {step_min} and step_max {step_max}; expected step_min <= step_max")
        cell = S5Spec(_state_size("S5", state_size, hidden_size))
        super().__init__(
            cell, input_size, hidden_size, num_layers, False, batch_first, dropout, bidirectional, reverse=reverse,
            zero_masked=zero_masked, dtype=dtype, rng=rng,
        )  # fmt: skip
        self._draw(1.0, np.zeros)

    def _draw_own(self) -> dict[str, np.ndarray]:
        n = self.cell.state_size
        low, high = math.log(self.step_min), math.log(self.step_max)
        return {"poles": hippo_poles(n), "log_step": self.rng.uniform(low, high, n)}


def hippo_poles(count: int) -> np.ndarray:
    """Half the eigenvalues of the normal part of HiPPO-LegS, those above the real axis, as pairs (2 count,).

    It is -1/2 plus a skew matrix of entries sqrt(n + 1/2) sqrt(k + 1/2) (Gu et al. 2022, arXiv 2206.11893).
    """
    root = np.sqrt(np.arange(2 * count) + 0.5)
    skew = np.triu(np.outer(root, root), 1)
    imaginary = np.linalg.eigvalsh(1j * (skew - skew.T))
    return np.concatenate([np.full(count, -0.5), imaginary[count:]])


def _state_size(owner: str, state_size: int | None, hidden_size: int) -> int:
    if state_size is None:
        return size(owner, "hidden_size", hidden_size)
    return size(owner, "state_size", state_size)
