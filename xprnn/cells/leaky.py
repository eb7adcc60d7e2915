"""Networks in continuous time, by steps of Euler's: what is left of the state, and what is added to it."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.cell import PointwiseCell, Saved, State, Weights, sigmoid, split
from xprnn.cells.elman import Elman


class Leaky(Elman):
    """h' = keep h + rate f(zx + zh), with f = tanh or relu."""

    keep: float
    rate: float
    masks = ("mask_h",)

    @property
    def constants(self) -> tuple[float, float]:
        """What kernels are told of it."""
        return self.keep, self.rate

    def forward(self, w: Weights, zx: Array, zh: Array, state: State) -> tuple[State, Saved]:
        (y,), _ = super().forward(w, zx, zh, state)
        return (self.keep * state[0] + self.rate * y,), (y,)

    def backward(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, Array, State]:
        (dh,) = dstate
        dz, _, _ = super().backward(w, (self.rate * dh,), (), state, saved)
        return dz, dz, (self.keep * dh,)


class CTRNN(Leaky):
    """Continuous-time network, tau dh/dt = -h + f(z) (Yang and Wang 2020, arXiv 2006.01001).

    h' = (1 - alpha) h + alpha f(zx + zh), with alpha = dt / tau, and f = tanh or relu.
    """

    def __init__(self, alpha: float, nonlinearity: str = "relu") -> None:
        if not 0.0 < alpha <= 1.0:
            raise ValueError(f"CTRNN: alpha is {alpha}; expected a number above 0 and up to 1")
        super().__init__(nonlinearity)
        self.keep, self.rate = 1.0 - alpha, float(alpha)

    @property
    def name(self) -> str:
        return f"CTRNN ({self.nonlinearity}, alpha={self.rate:g})"


class Antisymmetric(Leaky):
    """Antisymmetric network (Chang, Chen, Haber, Chi 2019, arXiv 1902.09689), whose signals do not fade.

    h' = h + epsilon tanh(zx + zh). Its weight_hh is W - W^T - gamma I, which the layer makes of its own.
    """

    def __init__(self, epsilon: float) -> None:
        if not 0.0 < epsilon < float("inf"):
            raise ValueError(f"Antisymmetric: epsilon is {epsilon}; expected a number above 0")
        super().__init__("tanh")
        self.keep, self.rate = 1.0, float(epsilon)

    @property
    def name(self) -> str:
        return f"Antisymmetric (epsilon={self.rate:g})"


class GatedAntisymmetric(PointwiseCell):
    """The same with a gate: h' = h + epsilon sigmoid(zx_z + zh) tanh(zx_n + zh).

    Blocks z, n in zx; both see the same product with h, weight_hh (H, H).
    """

    gate_names = ("z", "n")
    rate: float

    def __init__(self, epsilon: float) -> None:
        self.rate = Antisymmetric(epsilon).rate

    @property
    def constants(self) -> tuple[float]:
        """What kernels are told of it."""
        return (self.rate,)

    @property
    def name(self) -> str:
        return f"GatedAntisymmetric (epsilon={self.rate:g})"

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        shapes = super().weight_shapes(input_size, hidden_size)
        return shapes | {"weight_hh": (hidden_size, hidden_size), "bias_hh": (hidden_size,)}

    def forward(self, w: Weights, zx: Array, zh: Array, state: State) -> tuple[State, Saved]:
        xz, xn = split(zx, 2)
        z, n = sigmoid(xz + zh), namespace(zx).tanh(xn + zh)
        return (state[0] + self.rate * z * n,), (z, n)

    def backward(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, Array, State]:
        (dh,), (z, n) = dstate, saved
        dz, dn = self.rate * dh * n * z * (1.0 - z), self.rate * dh * z * (1.0 - n * n)
        return namespace(dh).concat([dz, dn], axis=-1), dz + dn, (dh,)
