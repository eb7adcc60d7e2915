"""Cells that do not write out their way back, with one that the tape finds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from xprnn.backend import Array, Backend, backend_of, namespace
from xprnn.cells import Cell, LinearCell, State, Weights
from xprnn.cells.cell import Saved, merged
from xprnn.cells.composed import ManyStepCell
from xprnn.cells.returned import returned_step
from xprnn.grad_mode import set_grad_enabled
from xprnn.tape import gradients_in
from xprnn.tensor import Tensor

ROWS = 256
"""How many steps are computed again side by side: enough for efficient products, in little memory."""


class TapedCell(LinearCell):
    """A cell that is linear in its state, with the ways back that it does not write out."""

    def __init__(self, cell: LinearCell) -> None:
        _take_over(self, cell)
        self.cell = cell
        self.pairs, self.late = cell.pairs, cell.late
        self.output = cell.output  # type: ignore[method-assign]

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


class TapedSteps(ManyStepCell):
    """A cell that is composed of primitives, with its ways back."""

    def __init__(self, cell: Cell) -> None:
        _take_over(self, cell)
        self.cell, self.many = cell, cell.many

    @property
    def name(self) -> str:
        return self.cell.name

    @property
    def kept(self) -> tuple[bool, ...]:
        return self.cell.kept if isinstance(self.cell, ManyStepCell) else super().kept

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        return returned_step(self, self.cell.step(w, zx, state), state)[0], (zx,)

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        (zx,) = saved
        fixed = {name: Tensor(a) for name, a in w.items()}
        (dzx, *dbefore), _ = _gradients(lambda _, z, *s: self.cell.step(fixed, z, s)[0], {}, [zx, *state], list(dstate))
        return dzx, tuple(dbefore), (zx, *dstate)

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        zx, *dstate = (_rows(part) for part in terms)
        before, found = [_rows(part) for part in states], Weights()
        for start in range(0, max(zx.shape[0], 1), ROWS):  # of no rows too, whose gradients are zeros
            rows = slice(start, min(start + ROWS, zx.shape[0]))
            z, *old = (Tensor(part[rows, ...]) for part in (zx, *before))
            cotangents = [part[rows, ...] for part in dstate]
            gradients = _gradients(lambda w, z=z, old=old: self.cell.step(w, z, tuple(old))[0], w, [], cotangents)[1]
            found = merged(found, gradients)
        return found

    def steps(self, w: Weights, zx: Array, state: State, live: Array | None, home: Backend) -> State:
        assert isinstance(self.cell, ManyStepCell)
        return self.cell.steps(w, zx, state, live, home)

    def steps_vjp(
        self, w: Weights, zx: Array, state: State, live: Array | None, cotangents: State
    ) -> tuple[Array, State, Weights]:
        home = backend_of(zx)
        (dzx, *dstate), gradients = _gradients(
            lambda w, z, *s: self.steps(w, z, s, live, home), w, [zx, *state], list(cotangents)
        )
        return dzx, tuple(dstate), gradients


def _take_over(taped: Any, cell: Cell) -> None:
    """Copy from a cell whatever is asked of it besides its steps."""
    for name in (
        *("gates", "gate_names", "state_names", "initial", "weight_shapes", "state_sizes", "sees_x"),
        *("zx_of", "zx_vjp", "multiplied", "input_weight", "input_weight_vjp"),
    ):
        setattr(taped, name, getattr(cell, name))


def _rows(part: Array) -> Array:
    """(T, B, N) as (T B, N): every step a sequence of its own."""
    return namespace(part).reshape(part, (-1, part.shape[-1]))


def with_way_back(cell: Cell) -> Cell:
    """The cell itself or, where it leaves out ways back, one that has them."""
    if cell.composed:
        return TapedSteps(cell)
    if not isinstance(cell, LinearCell) or (_written(type(cell), "coefficients") and _written(type(cell), "output")):
        return cell
    return TapedCell(cell)


@cache
def _written(given: type[LinearCell], name: str) -> bool:
    """Whether the class that defines a function last, or one derived from it, also defines its way back."""
    forward, back = (next(each for each in given.__mro__ if n in vars(each)) for n in (name, f"{name}_vjp"))
    return issubclass(back, forward)


def _gradients(
    function: Callable[..., tuple[Any, ...]], w: Weights, arguments: list[Array], cotangents: list[Array]
) -> tuple[list[Array], Weights]:
    """Gradients of the arguments and of the weights; zeros for those that the function does not use."""
    with set_grad_enabled(True):
        leaves = [Tensor(a, requires_grad=True) for a in arguments]
        weights = {name: Tensor(a, requires_grad=True) for name, a in w.items()}
        results = function(weights, *leaves)
        flows = [(y, g) for y, g in zip(results, cotangents, strict=True) if isinstance(y, Tensor) and y.requires_grad]
    found = gradients_in([y for y, _ in flows], [*leaves, *weights.values()], [g for _, g in flows])
    values = [*arguments, *w.values()]
    arrays = [namespace(a).zeros_like(a) if g is None else g.data for a, g in zip(values, found, strict=True)]
    return arrays[: len(leaves)], dict(zip(w, arrays[len(leaves) :], strict=True))
