"""What a cell is: a step through time, and the way back through it.

Shapes, throughout this folder: T steps, B sequences, I inputs, H hidden units, G gate blocks.

    x (T, B, I)    zx, zh, dzx, dzh (B, G*H)    each part of a state (B, H)    weight_ih (G*H, I)    weight_hh (G*H, H)

The engine computes ``zx = zx_of(x weight_ih^T)`` for all steps before the loop, in most cells the sum with bias_ih, and
from the stacked ``dzx`` the gradients of x and weight_ih after it. Everything else is the cell's. The forward code asks
the array for its namespace, so it runs on Tensors too; composed of primitives it is the oracle for the backward code.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from xprnn.backend import Array, namespace

State = tuple[Array, ...]
"""The parts of a state, the hidden state h first."""

Weights = dict[str, Array]
"""Arrays by PyTorch's names without the layer suffix: weight_ih, weight_hh, bias_ih, bias_hh, and a cell's own."""

Saved = tuple[Array, ...]
"""What a step keeps for the way back."""

Product = Callable[[Any, Any], Any]
"""A function that multiplies two matrices."""


class Cell(ABC):
    """A recurrence. Subclass :class:`PointwiseCell` where a step is one product with h and elementwise functions."""

    gate_names: tuple[str, ...] = ()
    """The blocks of H columns in zx, in order."""

    gates: int = 0
    """G, their number, which follows from the names. A cell may set it alone; its gates then have no names."""

    state_names: tuple[str, ...] = ("h",)

    linear: bool = False
    """Whether a step is linear in the state, with coefficients of the input alone: see :class:`LinearCell`."""

    composed: bool = False
    """Whether the tape finds its way back: see :class:`ComposedCell`."""

    many: bool = False
    """Whether it can take many steps at once: see :class:`ManyStepCell`."""

    def __init_subclass__(cls) -> None:
        if "gate_names" in vars(cls) and "gates" not in vars(cls):
            cls.gates = len(cls.gate_names)
        if "masks" not in vars(cls):  # new equations use none, unless the class says so
            cls.masks = () if "step" in vars(cls) else ("mask_h",) if "forward" in vars(cls) else cls.masks
        if "step" in vars(cls):  # other ways to take steps are inherited, and know nothing of it
            if "steps" not in vars(cls):
                cls.many = False
            if cls.linear and "coefficients" not in vars(cls):
                cls.linear, cls.composed = False, "step_vjp" not in vars(cls)
        for ahead, back in (("step", "step_vjp"), ("forward", "backward")):
            inherited = getattr(cls, back, None)
            apart = ahead in vars(cls) and back not in vars(cls) and not cls.composed
            if apart and inherited is not None and not getattr(inherited, "__isabstractmethod__", False):
                raise TypeError(
                    f"{cls.__name__} has a {ahead} of its own, and from {inherited.__qualname__} a way back through "
                    f"other equations; expected {back} beside {ahead}"
                )

    def gate_rows(self, gate: str, hidden_size: int) -> slice:
        """The rows of a gate in weight_ih, weight_hh and the biases. Raises ValueError for a name the cell has not."""
        if gate not in self.gate_names:
            raise ValueError(f"{self.name}: gate is {gate!r}; expected one of {self.gate_names}")
        start = self.gate_names.index(gate) * hidden_size
        return slice(start, start + hidden_size)

    @property
    def name(self) -> str:
        """What error messages and ``explain`` call this cell."""
        return type(self).__name__

    def state_sizes(self, hidden_size: int) -> tuple[int, ...]:
        """The width of each part of the state."""
        return (hidden_size,) * len(self.state_names)

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Every weight by name, biases included. The layer leaves out names that begin with "bias" on request."""
        if not self.gates:
            raise TypeError(f"{self.name}: gate_names is empty; expected a name for each block of H columns in zx")
        columns = self.gates * hidden_size
        return {
            "weight_ih": (columns, input_size),
            "weight_hh": (columns, hidden_size),
            "bias_ih": (columns,),
            "bias_hh": (columns,),
        }

    def sees_x(self, w: Weights, hidden_size: int) -> bool:
        """Whether zx holds x itself behind its product, in a layer with so many hidden units."""
        return False

    def multiplied(self) -> slice:
        """Which columns of x are multiplied before the steps; the others have no weight, as 0 times infinity is NaN."""
        return slice(None)

    def input_weight(self, w: Weights) -> Array:
        """The weight that these columns are multiplied by."""
        return w["weight_ih"]

    def input_weight_vjp(self, w: Weights, d: Array) -> Weights:
        """The gradients of the weights that :meth:`input_weight` is made of, from its own."""
        return {"weight_ih": d}

    masks: tuple[str, ...] = ()
    """The masks that its step uses where they stand among its weights: "mask_h", by which h is multiplied before every
    product, and "mask_candidate". They are there on the way back too; in :meth:`weight_vjp` only "mask_h" is."""

    initial: Mapping[str, float] = {}
    """The number that weights start from, by name; all others are drawn."""

    def zx_of(self, w: Weights, product: Array) -> Array:
        """zx of all steps, from the product of x with weight_ih."""
        return product + w["bias_ih"] if "bias_ih" in w else product

    def zx_vjp(self, w: Weights, x: Array, dzx: Array) -> tuple[Array, Weights]:
        """From dzx of all steps: the cotangent of the product, and gradients of the weights used in :meth:`zx_of`."""
        return dzx, {"bias_ih": total(dzx)} if "bias_ih" in w else {}

    @abstractmethod
    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        """The next state."""

    @abstractmethod
    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        """From the cotangent of new_state: dzx, the cotangent of state, and terms kept for :meth:`weight_vjp`."""

    @abstractmethod
    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        """Gradients of all weights but weight_ih and those in :meth:`zx_vjp`; each argument stacked to (T, B, ...)."""


class PointwiseCell(Cell):
    """A cell whose step is one product ``zh = h weight_hh^T + bias_hh`` followed by elementwise functions.

    dzx and dzh are separate because a GRU's reset gate acts on zh alone; return the same array where they are equal.
    """

    masks: tuple[str, ...] = ("mask_h",)

    @abstractmethod
    def forward(self, w: Weights, zx: Array, zh: Array, state: State) -> tuple[State, Saved]:
        """The next state and what :meth:`backward` needs."""

    @abstractmethod
    def backward(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, Array, State]:
        """dzx, dzh, and the cotangent of state without the path through zh (0 for none)."""

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        return self.forward(w, zx, recurrent_product(w, state[0]), state)

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        dzx, dzh, (dh, *rest) = self.backward(w, dstate, saved, state, new_state)
        return dzx, (masked(w, dzh @ w["weight_hh"]) + dh, *rest), () if dzh is dzx else (dzh,)

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        return recurrent_vjp(w, terms[0] if terms else dzx, states[0])


def recurrent_product(w: Weights, h: Array) -> Array:
    """h weight_hh^T + bias_hh."""
    zh = masked(w, h) @ w["weight_hh"].T
    return zh + w["bias_hh"] if "bias_hh" in w else zh


def recurrent_vjp(w: Weights, dzh: Array, h: Array) -> Weights:
    """The gradients of weight_hh and bias_hh from all steps at once."""
    gradients = {"weight_hh": outer_sum(dzh, masked(w, h))}
    if "bias_hh" in w:
        gradients["bias_hh"] = total(dzh)
    return gradients


CANDIDATE = "mask_candidate"


def masked(w: Weights, x: Array, by: str = "mask_h") -> Array:
    """x, times a mask where there is one. It is its own transpose: cotangents go through it likewise."""
    return x * w[by] if by in w else x


def outer_sum(dz: Array, x: Array, times: Product = operator.matmul) -> Array:
    """The sum over time and batch of dz^T x, as one product: (T, B, N) and (T, B, K) to (N, K)."""
    xp = namespace(dz)
    rows = dz.shape[0] * dz.shape[1]
    return times(xp.reshape(dz, (rows, dz.shape[2])).T, xp.reshape(x, (rows, x.shape[2])))


def rows_times(x: Any, w: Any, times: Product = operator.matmul) -> Any:
    """x (..., K) times w (K, N), as one product, where array libraries would compute T. For arrays and Tensors."""
    xp = namespace(x)
    return xp.reshape(times(xp.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1])), w), (*x.shape[:-1], w.shape[1]))


def total(dz: Array) -> Array:
    """Sum over time and batch."""
    return namespace(dz).sum(dz, axis=(0, 1))


def merged(first: Weights, second: Weights) -> Weights:
    """Gradients of weights from two sources, added where both have one."""
    return first | {name: first[name] + g if name in first else g for name, g in second.items()}


def split(z: Array, blocks: int) -> list[Array]:
    """The gate blocks of the last axis."""
    width = z.shape[-1] // blocks
    return [z[..., k * width : (k + 1) * width] for k in range(blocks)]


def sigmoid(z: Array) -> Array:
    """1 / (1 + e ** -z), computed as tanh(z/2)/2 + 1/2, which cannot overflow."""
    xp: Any = namespace(z)
    return 0.5 * xp.tanh(0.5 * z) + 0.5
