"""Layer normalisation inside a step (Ba, Kiros, Hinton 2016, arXiv 1607.06450), and what the cells that have it share.

The equations are those of the paper's supplement: the two products are normalised apart, each before anything is added,
and all gates that are one product there share a mean and a variance. (Keras contrib and haste normalise each gate.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xprnn.backend import Array, namespace
from xprnn.cells.cell import Cell, Weights, total

EPSILON = 1e-5
"""Added to each variance."""


def normalised(z: Array, groups: tuple[int, ...]) -> tuple[Array, tuple[Array, ...]]:
    """z (..., G*H) by groups of so many blocks: centred and scaled to variance 1; and each group's scale (..., 1)."""
    xp = namespace(z)
    parts, scales = [], []
    for part in _grouped(z, groups):
        centred = part - xp.mean(part, axis=-1, keepdims=True)
        scales.append(1.0 / xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + EPSILON))
        parts.append(centred * scales[-1])
    return _joined(xp, parts), tuple(scales)


def normalised_vjp(dy: Array, y: Array, scales: tuple[Array, ...], groups: tuple[int, ...]) -> Array:
    """The cotangent of z, from that of y = normalised(z)."""
    xp = namespace(y)
    return _joined(
        xp,
        [
            (d - xp.mean(d, axis=-1, keepdims=True) - part * xp.mean(d * part, axis=-1, keepdims=True)) * scale
            for d, part, scale in zip(_grouped(dy, groups), _grouped(y, groups), scales, strict=True)
        ],
    )


def _grouped(z: Array, groups: tuple[int, ...]) -> list[Array]:
    width, start, parts = z.shape[-1] // sum(groups), 0, []
    for count in groups:
        parts.append(z[..., start : start + count * width])
        start += count * width
    return parts


def _joined(xp: Any, parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=-1)


class LayerNormCell(Cell):
    """zx = N(W_ih x) gain_ih + bias_ih and zh = N(W_hh h) gain_hh + bias_hh, N normalising each group of blocks.

    Gains (G*H) start from 1, biases from 0.
    """

    groups: tuple[int, ...]
    """How many blocks are normalised together, from the first on."""

    initial: Mapping[str, float] = {"gain_ih": 1.0, "gain_hh": 1.0, "bias_ih": 0.0, "bias_hh": 0.0}

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        rows = (self.gates * hidden_size,)
        return super().weight_shapes(input_size, hidden_size) | {"gain_ih": rows, "gain_hh": rows}

    def zx_of(self, w: Weights, product: Array) -> Array:
        return affine(w, "ih", normalised(product, self.groups)[0])

    def zx_vjp(self, w: Weights, x: Array, dzx: Array) -> tuple[Array, Weights]:
        y, scales = normalised(x @ w["weight_ih"].T, self.groups)
        return normalised_vjp(dzx * w["gain_ih"], y, scales, self.groups), affine_vjp(w, "ih", dzx, y)


def affine(w: Weights, name: str, y: Array) -> Array:
    """y gain + bias, those of a name."""
    scaled = y * w[f"gain_{name}"]
    return scaled + w[f"bias_{name}"] if f"bias_{name}" in w else scaled


def affine_vjp(w: Weights, name: str, d: Array, y: Array) -> Weights:
    """The gradients of both, from the cotangent of all steps."""
    gradients = {f"gain_{name}": total(d * y)}
    return gradients | {f"bias_{name}": total(d)} if f"bias_{name}" in w else gradients
