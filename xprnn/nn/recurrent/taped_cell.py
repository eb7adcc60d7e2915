"""A linear cell that gives its coefficients and no more: the tape finds their way back."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from xprnn.backend import Array, namespace
from xprnn.cells import Cell, LinearCell, Weights
from xprnn.tape import grad, set_grad_enabled
from xprnn.tensor import Tensor


class TapedCell(LinearCell):
    """The same cell, with the ways back that it does not write out."""

    def __init__(self, cell: LinearCell) -> None:
        self.cell = cell
        self.gates, self.gate_names, self.state_names = cell.gates, cell.gate_names, cell.state_names
        self.pairs, self.late = cell.pairs, cell.late
        self.weight_shapes, self.state_sizes = cell.weight_shapes, cell.state_sizes  # type: ignore[method-assign]
        self.sees_x, self.output = cell.sees_x, cell.output  # type: ignore[method-assign]
        self.zx_of, self.zx_vjp = cell.zx_of, cell.zx_vjp  # type: ignore[method-assign]
        self.input_weight, self.input_weight_vjp = cell.input_weight, cell.input_weight_vjp  # type: ignore[method-assign]

    @property
    def name(self) -> str:
        return self.cell.name

    def coefficients(self, w: Weights, zx: Array) -> tuple[Array, Array]:
        return self.cell.coefficients(w, zx)

    def coefficients_vjp(self, w: Weights, zx: Array, da: Array, db: Array) -> tuple[Array, Weights]:
        (dzx,), gradients = _gradients(lambda w, z: self.cell.coefficients(w, z), w, [zx], [da, db])
        return dzx, gradients

    def output_vjp(self, w: Weights, c: Array, zx: Array, dh: Array) -> tuple[Array, Array, Weights]:
        (dc, dzx), gradients = _gradients(lambda w, c, z: (self.cell.output(w, c, z),), w, [c, zx], [dh])
        return dc, dzx, gradients


def with_way_back(cell: Cell) -> Cell:
    """A cell, taped where it is linear and leaves out how its functions go back."""
    if not isinstance(cell, LinearCell) or (_written(type(cell), "coefficients") and _written(type(cell), "output")):
        return cell
    return TapedCell(cell)


@cache
def _written(given: type[LinearCell], name: str) -> bool:
    """Whether a function has its way back written by whoever wrote it last, and not inherited from before."""
    forward, back = (next(each for each in given.__mro__ if n in vars(each)) for n in (name, f"{name}_vjp"))
    return issubclass(back, forward)


def _gradients(
    function: Callable[..., tuple[Any, ...]], w: Weights, arguments: list[Array], cotangents: list[Array]
) -> tuple[list[Array], Weights]:
    """Those of the arguments and of the weights; zeros where the function does not look at one."""
    with set_grad_enabled(True):
        leaves = [Tensor(a, requires_grad=True) for a in arguments]
        weights = {name: Tensor(a, requires_grad=True) for name, a in w.items()}
        results = function(weights, *leaves)
        flows = [(y, g) for y, g in zip(results, cotangents, strict=True) if isinstance(y, Tensor) and y.requires_grad]
    found = grad([y for y, _ in flows], [*leaves, *weights.values()], [g for _, g in flows])
    values = [*arguments, *w.values()]
    arrays = [namespace(a).zeros_like(a) if g is None else g.data for a, g in zip(values, found, strict=True)]
    return arrays[: len(leaves)], dict(zip(w, arrays[len(leaves) :], strict=True))
