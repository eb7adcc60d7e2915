"""Gradients against finite differences, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from xprnn.arguments import above_zero, at_least_zero, function, integer, several, size
from xprnn.backend import Array, backend_of, dtype_name, to_numpy
from xprnn.grad_mode import no_grad, set_grad_enabled
from xprnn.tape import gradients_in, tensors_of
from xprnn.tensor import Parameter, Tensor

Function = Callable[..., Any]
Host = np.ndarray[Any, Any]


def check_gradients(
    f: Function,
    inputs: Sequence[Array],
    parameters: Sequence[Parameter] = (),
    *,
    directions: int = 2,
    eps: float = 1e-6,
    rtol: float = 1e-6,
    rng: int = 0,
) -> None:
    """Compare gradients with central differences along random directions over all inputs at once.

    With L = sum of <outputs, random cotangents> and a random direction v, <dL, v> must equal
    (L(+eps v) - L(-eps v)) / 2 eps.
    One direction sees every entry of every gradient, so a few directions check a function of any size.

    Parameters
    ----------
    f
        Takes Tensors, returns a Tensor or nested tuples of them. It must give the same result each time.
    inputs
        float64 arrays of any backend.
    parameters
        float64 parameters that f uses inside; they are moved and put back.
    rtol
        Largest difference, relative to max(1, |difference quotient|).

    Raises
    ------
    AssertionError
        They differ; the message gives both numbers.
    TypeError
        Something is not float64.
    """
    owner = "check_gradients"
    directions, rng = size(owner, "directions", directions), integer(owner, "rng", rng)
    eps, rtol = above_zero(owner, "eps", eps), at_least_zero(owner, "rtol", rtol)
    function(owner, "f", f)
    inputs = several(owner, "inputs", inputs)
    tensors_of(owner, "parameters", parameters)
    draws = np.random.default_rng(rng)
    inputs = [np.asarray(x) if isinstance(x, np.generic) else x for x in inputs]
    _require_float64(owner, [*inputs, *(p.data for p in parameters)])
    tensors = [Tensor(x, requires_grad=True) for x in inputs]
    outputs = flatten(f(*tensors))
    cotangents = [_like(y.data, draws.standard_normal(y.shape)) for y in outputs]
    wanted = [*tensors, *parameters]
    gradients = [_host_gradient(g, t) for g, t in zip(_grad(outputs, wanted, cotangents), wanted, strict=True)]
    hosts = [to_numpy(c) for c in cotangents]

    def objective(shifts: list[Host]) -> float:
        with no_grad(), shifted(parameters, shifts[len(inputs) :]):
            moved = [Tensor(x + _like(x, s)) for x, s in zip(inputs, shifts, strict=False)]
            return float(sum(np.vdot(c, y.numpy()) for c, y in zip(hosts, flatten(f(*moved)), strict=True)))

    for _ in range(directions):
        v = [draws.standard_normal(t.shape) for t in wanted]
        quotient = (objective([eps * d for d in v]) - objective([-eps * d for d in v])) / (2 * eps)
        found = float(sum(np.vdot(g, d) for g, d in zip(gradients, v, strict=True)))
        difference = abs(found - quotient) / max(1.0, abs(quotient))
        if not difference <= rtol:
            raise AssertionError(
                f"gradient along a random direction is {found:.10g}, finite differences say {quotient:.10g} "
                f"(relative difference {difference:.2g}, allowed {rtol:.2g})"
            )


def check_second_gradients(f: Function, inputs: Sequence[Array], *, rng: int = 0, **options: Any) -> None:
    """Apply :func:`check_gradients` to the gradient of f: checks ``create_graph=True``."""
    rng = integer("check_second_gradients", "rng", rng)
    function("check_second_gradients", "f", f)
    draws = np.random.default_rng(rng)
    cotangents: list[Array] = []

    def gradient(*tensors: Tensor) -> list[Tensor]:
        with set_grad_enabled(True):  # also where finite differences evaluate it without recording
            leaves = [t if t.requires_grad else Tensor(t.data, requires_grad=True) for t in tensors]
            outputs = flatten(f(*leaves))
            if not cotangents:
                cotangents.extend(_like(y.data, draws.standard_normal(y.shape)) for y in outputs)
            found = gradients_in(outputs, leaves, cotangents, create_graph=True)
            return [t * 0.0 if g is None else g for g, t in zip(found, leaves, strict=True)]

    check_gradients(gradient, inputs, rng=rng + 1, **options)


def numerical_gradients(
    f: Function, inputs: Sequence[Array], cotangents: Sequence[Array], eps: float = 1e-6
) -> list[Host]:
    """Every entry of every gradient by central differences: two evaluations an entry, so for small inputs.

    Returns host arrays shaped like the inputs, for the objective sum of <outputs, cotangents>.
    """
    owner = "numerical_gradients"
    function(owner, "f", f)
    inputs, eps = several(owner, "inputs", inputs), above_zero(owner, "eps", eps)
    hosts = [to_numpy(c) for c in several(owner, "cotangents", cotangents)]
    _require_float64(owner, inputs)

    def objective(arrays: list[Array]) -> float:
        with no_grad():
            outputs = flatten(f(*[Tensor(a) for a in arrays]))
        return float(sum(np.vdot(c, y.numpy()) for c, y in zip(hosts, outputs, strict=True)))

    gradients = []
    for k, x in enumerate(inputs):
        base, gradient = to_numpy(x), np.zeros(x.shape)
        for index in np.ndindex(*base.shape):
            values = []
            for sign in (eps, -eps):
                moved = base.copy()
                moved[index] += sign
                values.append(objective([*inputs[:k], _like(x, moved), *inputs[k + 1 :]]))
            gradient[index] = (values[0] - values[1]) / (2 * eps)
        gradients.append(gradient)
    return gradients


def check_every_gradient(f: Function, inputs: Sequence[Array], *, eps: float = 1e-6, rtol: float = 1e-6) -> None:
    """Compare every entry of every gradient with :func:`numerical_gradients`; says which entry is wrong..

    Raises AssertionError where an entry differs by more than rtol max(1, |difference quotient|), TypeError for others
    than float64.
    """
    owner = "check_every_gradient"
    function(owner, "f", f)
    inputs, rtol = several(owner, "inputs", inputs), at_least_zero(owner, "rtol", rtol)
    draws = np.random.default_rng(0)
    tensors = [Tensor(x, requires_grad=True) for x in inputs]
    outputs = flatten(f(*tensors))
    cotangents = [_like(y.data, draws.standard_normal(y.shape)) for y in outputs]
    quotients = numerical_gradients(f, inputs, cotangents, eps)
    for k, (gradient, tensor) in enumerate(zip(_grad(outputs, tensors, cotangents), tensors, strict=True)):
        found, expected = _host_gradient(gradient, tensor), quotients[k]
        wrong = np.argwhere(~(np.abs(found - expected) <= rtol * np.maximum(1.0, np.abs(expected))))
        if len(wrong):
            index = tuple(int(i) for i in wrong[0])
            raise AssertionError(
                f"gradient of input {k} at {index} is {found[index]:.10g}, finite differences say "
                f"{expected[index]:.10g} ({len(wrong)} of {found.size} entries differ)"
            )


def flatten(outputs: Any) -> list[Tensor]:
    """The Tensors in nested tuples and lists, in order."""
    if isinstance(outputs, (tuple, list)):
        return [tensor for part in outputs for tensor in flatten(part)]
    return [outputs]


@contextmanager
def shifted(parameters: Sequence[Parameter], shifts: Sequence[Host]) -> Iterator[None]:
    """Parameters moved by these amounts inside the block."""
    before = [p.data for p in parameters]
    try:
        for p, shift in zip(parameters, shifts, strict=True):
            p.data = p.data + _like(p.data, shift)
        yield
    finally:
        for p, data in zip(parameters, before, strict=True):
            p.data = data


def _grad(outputs: list[Tensor], wanted: Sequence[Tensor], cotangents: list[Array]) -> list[Tensor | None]:
    differentiable = [(y, c) for y, c in zip(outputs, cotangents, strict=True) if y.requires_grad]
    return gradients_in([y for y, _ in differentiable], wanted, [c for _, c in differentiable])


def _host_gradient(gradient: Tensor | None, tensor: Tensor) -> Host:
    return np.zeros(tensor.shape) if gradient is None else gradient.numpy()


def _like(x: Array, values: Host) -> Array:
    return backend_of(x).asarray(np.asarray(values, dtype=dtype_name(x)))


def _require_float64(owner: str, arrays: list[Array]) -> None:
    for position, array in enumerate(arrays):
        if not hasattr(array, "dtype"):
            raise TypeError(f"{owner}: inputs[{position}] is a {type(array).__name__}; expected an array")
        if dtype_name(array) != "float64":
            raise TypeError(f"finite differences need float64; array {position} is {dtype_name(array)}")
