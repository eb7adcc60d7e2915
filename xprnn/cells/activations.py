"""Functions of single numbers that gates may have, each with its slope."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from xprnn.backend import Array, namespace
from xprnn.beyond_standard import erf
from xprnn.cells.cell import sigmoid

NONE, UNIT, SIGNED, POSITIVE = (-math.inf, math.inf), (0.0, 1.0), (-1.0, 1.0), (0.0, math.inf)


class Function(NamedTuple):
    """``forward(xp, z, alpha, beta)`` is y, ``slope(xp, z, y, alpha, beta)`` dy/dz; both constants have a default."""

    forward: Callable[..., Array]
    slope: Callable[..., Array]
    alpha: float | None = None
    beta: float | None = None
    limits: tuple[float, float] = NONE


def _on_tape(name: str, on_arrays: Callable[[Array], Array]) -> Callable[..., Array]:
    """Of a Tensor the primitive of that name, of an array, whose library lacks it, a function here."""
    return lambda xp, z, a, b: getattr(xp, name)(z) if hasattr(xp, name) else on_arrays(z)


def _relu(xp: Any, z: Array, a: Any, b: Any) -> Array:
    return xp.where(z <= 0, xp.zeros_like(z), z)  # and not "z > 0", so that NaN stays NaN


def _softplus(z: Array) -> Array:
    xp = namespace(z)
    return xp.logaddexp(z, xp.zeros_like(z))


def _elu(xp: Any, z: Array, a: float, b: Any) -> Array:
    return xp.where(z < 0, a * (xp.exp(xp.where(z < 0, z, xp.zeros_like(z))) - 1.0), z)


def _hard_sigmoid_slope(xp: Any, z: Array, y: Array, a: float, b: float) -> Array:
    return xp.where(y <= 0, xp.zeros_like(z), xp.where(y >= 1, xp.zeros_like(z), a * xp.ones_like(z)))


def _hard_sigmoid(alpha: float) -> Function:
    return Function(
        lambda xp, z, a, b: xp.clip(a * z + b, 0.0, 1.0), _hard_sigmoid_slope, alpha=alpha, beta=0.5, limits=UNIT
    )


def _scaled_tanh_slope(xp: Any, z: Array, y: Array, a: float, b: float) -> Array:
    t = xp.tanh(b * z)
    return a * b * (1.0 - t * t)


def _silu_slope(xp: Any, z: Array, y: Array, a: Any, b: Any) -> Array:
    s = sigmoid(z)
    return s + y * (1.0 - s)


def _normal(z: Array) -> Array:
    """The normal distribution function."""
    return 0.5 + 0.5 * erf(z * math.sqrt(0.5))


def _gelu_slope(xp: Any, z: Array, y: Array, a: Any, b: Any) -> Array:
    return _normal(z) + z * xp.exp(-0.5 * z * z) * math.sqrt(0.5 / math.pi)


FUNCTIONS: dict[str, Function] = {
    # The names of xprnn.ops.
    "sigmoid": Function(_on_tape("sigmoid", sigmoid), lambda xp, z, y, a, b: y * (1.0 - y), limits=UNIT),
    "tanh": Function(lambda xp, z, a, b: xp.tanh(z), lambda xp, z, y, a, b: 1.0 - y * y, limits=SIGNED),
    "relu": Function(_relu, lambda xp, z, y, a, b: _relu(xp, xp.sign(z), a, b), limits=POSITIVE),
    "softplus": Function(_on_tape("softplus", _softplus), lambda xp, z, y, a, b: sigmoid(z)),
    "erf": Function(
        _on_tape("erf", erf), lambda xp, z, y, a, b: 2.0 / math.sqrt(math.pi) * xp.exp(-z * z), limits=SIGNED
    ),
    "gelu": Function(_on_tape("gelu", lambda z: z * _normal(z)), _gelu_slope),
    "exp": Function(lambda xp, z, a, b: xp.exp(z), lambda xp, z, y, a, b: y),
    "log": Function(lambda xp, z, a, b: xp.log(z), lambda xp, z, y, a, b: 1.0 / z),
    "sqrt": Function(lambda xp, z, a, b: xp.sqrt(z), lambda xp, z, y, a, b: 0.5 / y),
    "square": Function(lambda xp, z, a, b: z * z, lambda xp, z, y, a, b: 2.0 * z),
    "abs": Function(lambda xp, z, a, b: xp.abs(z), lambda xp, z, y, a, b: xp.sign(z)),
    "sin": Function(lambda xp, z, a, b: xp.sin(z), lambda xp, z, y, a, b: xp.cos(z)),
    "cos": Function(lambda xp, z, a, b: xp.cos(z), lambda xp, z, y, a, b: -xp.sin(z)),
    "negative": Function(lambda xp, z, a, b: -z, lambda xp, z, y, a, b: -xp.ones_like(z)),
    # What ONNX and Keras have beside them.
    "linear": Function(lambda xp, z, a, b: z, lambda xp, z, y, a, b: xp.ones_like(z)),
    "affine": Function(lambda xp, z, a, b: a * z + b, lambda xp, z, y, a, b: a * xp.ones_like(z), 1.0, 0.0),
    "hard_sigmoid": _hard_sigmoid(0.2),
    "torch_hard_sigmoid": _hard_sigmoid(1.0 / 6.0),
    "scaled_tanh": Function(lambda xp, z, a, b: a * xp.tanh(b * z), _scaled_tanh_slope, 1.0, 1.0),
    "softsign": Function(
        lambda xp, z, a, b: z / (1.0 + xp.abs(z)), lambda xp, z, y, a, b: (1.0 - xp.abs(y)) ** 2, limits=SIGNED
    ),
    "leaky_relu": Function(
        lambda xp, z, a, b: xp.where(z < 0, a * z, z),
        lambda xp, z, y, a, b: xp.where(z < 0, a * xp.ones_like(z), xp.ones_like(z)),
        alpha=0.01,
    ),
    "thresholded_relu": Function(
        lambda xp, z, a, b: xp.where(z <= a, xp.zeros_like(z), z),
        lambda xp, z, y, a, b: xp.where(z <= a, xp.zeros_like(z), xp.ones_like(z)),
        alpha=1.0,
    ),
    "elu": Function(_elu, lambda xp, z, y, a, b: xp.where(z < 0, y + a, xp.ones_like(z)), alpha=1.0),
    "silu": Function(lambda xp, z, a, b: z * sigmoid(z), _silu_slope),
}


class Activation:
    """A function by name, f(z), or f(z cut to -clip ... clip), with the constants that it has.

    =====================================================================  =============================================
    sigmoid, tanh, relu, softplus, erf, gelu, exp, log, sqrt, square,      as in :mod:`xprnn.ops`
    abs, sin, cos, negative
    linear, affine                                                         z, alpha z + beta (1, 0)
    hard_sigmoid                                                           alpha z + beta cut to 0 ... 1 (0.2, 0.5), as
                                                                           in ONNX and Keras 1 and 2
    torch_hard_sigmoid                                                     the same with 1/6, as in PyTorch and Keras 3
    scaled_tanh                                                            alpha tanh(beta z) (1, 1)
    softsign, silu                                                         z / (1 + abs(z)), z sigmoid(z)
    leaky_relu, thresholded_relu                                           alpha z (0.01) below 0, 0 up to alpha (1);
                                                                           else z
    elu                                                                    alpha (e^z - 1) (1) below 0, else z
    =====================================================================  =============================================

    In parentheses what alpha and beta are where they are not given. The names and constants are those of the operators
    in ONNX (LSTM, GRU, RNN, version 22). Raises ValueError for another name, for a constant that the function has not,
    and for a clip that is not above 0.
    """

    def __init__(
        self, name: str, alpha: float | None = None, beta: float | None = None, clip: float | None = None
    ) -> None:
        if not isinstance(name, str) or name not in FUNCTIONS:
            raise ValueError(f"Activation: name is {name!r}; expected one of {', '.join(map(repr, FUNCTIONS))}")
        function = FUNCTIONS[name]
        for constant, given, default in ("alpha", alpha, function.alpha), ("beta", beta, function.beta):
            if given is not None and default is None:
                raise ValueError(f"Activation: {constant} is {given}, but {name} has none")
        self.name, self.clip = name, None if clip is None else _number("clip", clip)
        if self.clip is not None and not self.clip > 0.0:
            raise ValueError(f"Activation: clip is {clip}; expected a number above 0")
        self.alpha = function.alpha if alpha is None else _number("alpha", alpha)
        self.beta = function.beta if beta is None else _number("beta", beta)

    def clipped(self, clip: float | None) -> Activation:
        """The same function of what is cut to -clip ... clip."""
        return Activation(self.name, self.alpha, self.beta, clip)

    def __call__(self, z: Array) -> Array:
        """f(z), elementwise, for arrays and for Tensors."""
        xp = namespace(z)
        z = z if self.clip is None else xp.clip(z, -self.clip, self.clip)
        return FUNCTIONS[self.name].forward(xp, z, self.alpha, self.beta)

    def slope(self, z: Array, y: Array) -> Array:
        """df/dz at z, where y = f(z)."""
        xp = namespace(z)
        if self.clip is None:
            return FUNCTIONS[self.name].slope(xp, z, y, self.alpha, self.beta)
        slope = FUNCTIONS[self.name].slope(xp, xp.clip(z, -self.clip, self.clip), y, self.alpha, self.beta)
        return xp.where(xp.abs(z) > self.clip, xp.zeros_like(slope), slope)

    @property
    def limits(self) -> tuple[float, float]:
        """Where f saturates: values that it nears and does not pass; infinite where there are none."""
        return FUNCTIONS[self.name].limits

    def __eq__(self, other: object) -> bool:
        return type(other) is Activation and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        function = FUNCTIONS[self.name]
        defaults = {"alpha": function.alpha, "beta": function.beta, "clip": None}
        changed = [f"{name}={vars(self)[name]}" for name, default in defaults.items() if vars(self)[name] != default]
        return f"{self.name}({', '.join(changed)})" if changed else self.name


def _number(name: str, given: Any) -> float:
    """Python's own, since one of NumPy's would widen float32 arrays."""
    if isinstance(given, bool) or not isinstance(given, (int, float, np.integer, np.floating)):
        raise ValueError(f"Activation: {name} is {given!r}; expected a number")
    return float(given)


def activation(given: str | Activation, clip: float | None = None) -> Activation:
    """An activation from its name, or as it is, of what is cut to a clip where there is one."""
    found = given if isinstance(given, Activation) else Activation(given)
    return found if clip is None else found.clipped(clip)
