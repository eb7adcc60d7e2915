"""A layer run on an example: its outputs and gradients on the host, and how they are compared."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn.backend import Array, dtype_name, to_numpy
from xprnn.grad_mode import no_grad
from xprnn.tape import gradients_in
from xprnn.tensor import Tensor
from xprnn.testing.example import Example, Host, dtype_of, home_of
from xprnn.testing.gradients import flatten


def named(parts: tuple[Array, ...]) -> dict[str, Host]:
    """The parts of a state by name, on the host."""
    return {f"state {k}": to_numpy(part) for k, part in enumerate(parts)}


def brought(layer: Any, array: Host) -> Array:
    """To the layer's dtype and device; on NumPy the very same array where the dtype fits, with its layout."""
    return home_of(layer).asarray(array if dtype_name(array) == dtype_of(layer) else array.astype(dtype_of(layer)))


def called(layer: Any, x: Any, state: Any, example: Example) -> list[Tensor]:
    """The output, the parts of the final state, and the states after every step."""
    given = state[0] if len(state) == 1 else tuple(state)
    control = {"lengths": example.lengths, "mask": example.mask, "reset": example.reset}
    return flatten(layer(x, given, **control, return_all_states=True))


def outputs_of(layer: Any, example: Example) -> dict[str, Host]:
    """The output and the parts of the final state, by name, on the host."""
    with no_grad():
        output, *rest = called(layer, brought(layer, example.x), [brought(layer, s) for s in example.state], example)
    final = rest[: len(example.state)]
    return {"output": output.numpy()} | named(tuple(part.data for part in final))


def gradients_of(layer: Any, example: Example, *, scale: float = 1.0, create_graph: bool = False) -> dict[str, Host]:
    """Gradients of x, each part of the state and each parameter, for fixed random cotangents."""
    tensors = [Tensor(brought(layer, a), requires_grad=True) for a in (example.x, *example.state)]
    results = called(layer, tensors[0], tensors[1:], example)
    draws = np.random.default_rng(3)
    cotangents = [brought(layer, scale * draws.standard_normal(r.shape)) for r in results]
    names = ["x", *(f"state {k}" for k in range(len(example.state))), *(name for name, _ in layer.named_parameters())]
    wanted = [*tensors, *layer.parameters()]
    found = gradients_in(results, wanted, cotangents, create_graph=create_graph)
    return {n: np.zeros(t.shape) if g is None else g.numpy() for n, t, g in zip(names, wanted, found, strict=True)}


def compare(layer: Any, found: dict[str, Host], expected: dict[str, Host], what: str) -> None:
    """Raise AssertionError where arrays differ from those of the same names, which ``what`` gave."""
    tolerance = 1e-10 if dtype_of(layer) == "float64" else 2e-4
    for name, array in found.items():
        other = expected[name]
        require(array.shape == other.shape, f"{name} has shape {array.shape}, {what} gives {other.shape}")
        require(np.array_equal(np.isnan(array), np.isnan(other)), f"{name} has NaN in other places than {what}")
        scale = max(1.0, float(np.max(np.abs(other), initial=0.0)))
        difference = float(np.max(np.abs(array - other), initial=0.0, where=~np.isnan(other)))
        allowed = tolerance * scale
        require(difference <= allowed, f"{name} differs from {what} by {difference:.3g} (allowed {allowed:.1g})")


def require(holds: Any, otherwise: str) -> None:
    """An assertion that ``python -O`` does not leave out."""
    if not holds:
        raise AssertionError(otherwise)


def flip(x: Host, lengths: Host | None) -> Host:
    """Each sequence reversed within its length."""
    flipped = x.copy()
    for b in range(x.shape[1]):
        length = x.shape[0] if lengths is None else int(lengths[b])
        flipped[:length, b] = x[:length, b][::-1]
    return flipped
