"""Watching the recurrent layers of a model at work: every step that they take and, on the way back, its gradient.

While a model is watched, each layer's cell is wrapped. The wrapper computes nothing: it passes calls on to the cell and
keeps what went in and out. Of a :class:`xprnn.cells.Cell` the reference engine asks ``step_vjp`` with exactly the
complete gradient dL/d(state after the step), so that is where it is read; the step of a :class:`xprnn.nn.StepCell` gets
one more node on the tape, whose rule reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn import ops, use_kernels
from xprnn.backend import Array
from xprnn.cells import Cell, State, Weights
from xprnn.cells.cell import Saved
from xprnn.engine.control import Control
from xprnn.nn import Module, Recurrent, RecurrentLayer, StepCell
from xprnn.tensor import Tensor, is_grad_enabled, record

Host = np.ndarray


@dataclass
class Taken:
    """One step: ``after = step(input, before)`` for all sequences, whether or not the state then was held.

    input (B, ...) is x, or zx where the cell is a :class:`xprnn.cells.Cell`; parts of states (B, H). ``gradient`` is
    dL/d(after), None for each part that nothing flowed back to, and 0 for a sequence whose state was held.
    """

    step: Callable[[Any, Any], Any]
    input: Array
    before: State
    after: State
    saved: Saved
    gradient: list[Array | None]


@dataclass(frozen=True)
class Walk:
    """One layer in one direction over one sequence: its steps by time, and the times in the order they were taken."""

    name: str
    cell: Cell | StepCell
    taken: list[Taken]
    times: range
    control: Control
    """As the walk saw them: for the reverse direction, restarts are where it leaves a sequence."""


class WatchedCell(Cell):
    """A cell that logs its steps."""

    def __init__(self, cell: Cell) -> None:
        self.cell, self.log = cell, list[Taken]()
        self.gates, self.gate_names, self.state_names = cell.gates, cell.gate_names, cell.state_names

    @property
    def name(self) -> str:
        return self.cell.name

    def state_sizes(self, hidden_size: int) -> tuple[int, ...]:
        return self.cell.state_sizes(hidden_size)

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        return self.cell.weight_shapes(input_size, hidden_size)

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        new, saved = self.cell.step(w, zx, state)

        def again(z: Tensor, old: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return self.cell.step({name: Tensor(a) for name, a in w.items()}, z, old)[0]

        self.log.append(Taken(again, zx, state, new, saved, [None] * len(new)))
        return new, (self.log[-1], *saved)

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        taken, *own = saved
        taken.gradient = list(dstate)
        return self.cell.step_vjp(w, dstate, tuple(own), state, new_state)

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        return self.cell.weight_vjp(w, dzx, terms, states, new_states)


class WatchedStepCell(Module):
    """A user's cell that logs its steps. A Module, so that the parameters of one that is a Module are still found."""

    def __init__(self, cell: Any) -> None:
        self.cell, self.log, self.state_sizes = cell, list[Taken](), cell.state_sizes

    def step(self, x: Any, state: tuple[Any, ...]) -> Any:
        new = self.cell.step(x, state)
        if not isinstance(new, tuple):  # Recurrent says what is wrong with it
            return new
        parts = tuple(ops.as_tensor(part) for part in new)
        before, after = (tuple(part.data for part in some) for some in (state, parts))
        taken = Taken(self.cell.step, x.data, before, after, (), [None] * len(parts))
        self.log.append(taken)
        return tuple(_read_on_the_way_back(taken.gradient, k, part) for k, part in enumerate(parts))


def _read_on_the_way_back(found: list[Array | None], k: int, part: Tensor) -> Tensor:
    """The same value; its gradient, when it is known, goes to ``found[k]``."""

    def rule(g: Tensor, y: Tensor) -> Tensor:
        found[k] = g.data
        return g

    return record("watch", part.data, [_reachable(part)], [rule])


def _reachable(part: Tensor) -> Tensor:
    """The Tensor itself where a gradient will come to it, else a leaf of its own that asks for one."""
    return part if part.requires_grad or not is_grad_enabled() else Tensor(part.data, requires_grad=True)


@contextmanager
def watched(owner: str, model: Any, recorded_only: bool = False) -> Iterator[list[Walk]]:
    """Log into the list every walk of the model's recurrent layers inside the block, in evaluation mode.

    ``recorded_only`` passes over walks under ``no_grad``. After the block the model is as before; inside, its layers
    are watched in every thread, so only one of them may use it.

    Raises TypeError where ``model`` is no Module, ValueError where no recurrent layer is in it, or none was called.
    """
    if not isinstance(model, Module):
        raise TypeError(f"{owner}: model is a {type(model).__name__}; expected a Module")
    modules = dict(model.named_modules())
    layers = {name: part for name, part in modules.items() if isinstance(part, (RecurrentLayer, Recurrent))}
    if not layers:
        raise ValueError(f"{owner}: {type(model).__name__} has no recurrent layer (RNN, LSTM, GRU, Recurrent)")
    draws = [(rng, rng.bit_generator.state) for rng in model.generators().values()]
    cells = [(layer, layer.cell) for layer in layers.values()]
    walks: list[Walk] = []
    try:
        for name, layer in layers.items():
            _watch(name, layer, walks, recorded_only)
        with model.mode(training=False), use_kernels("reference"):
            yield walks
    finally:
        for layer, cell in cells:
            vars(layer).pop("_walk", None)
            vars(layer)["cell"] = cell
        for rng, state in draws:
            rng.bit_generator.state = state
    if not walks:
        raise ValueError(f"{owner}: {', '.join(map(repr, layers))} of {type(model).__name__} was never called")


def _watch(name: str, layer: RecurrentLayer | Recurrent, walks: list[Walk], recorded_only: bool) -> None:
    """Wrap a layer's cell, and its walk, to know which steps belong to which layer, direction and time."""
    cell, calls = layer.cell, 0
    if isinstance(layer, RecurrentLayer):
        ends = [f"l{k}{end}" for k in range(layer.num_layers) for end in ("", "_reverse")[: layer.directions]]
        reverses = [end.endswith("_reverse") for end in ends]
        watched_cell: Any = WatchedCell(layer.cell)
    else:
        ends, reverses = [""], [layer.reverse]
        watched_cell = WatchedStepCell(layer.cell)
    log, walk = watched_cell.log, layer._walk

    def logged_walk(x: Tensor, state: tuple[Tensor, ...], control: Control) -> Any:
        nonlocal calls
        if recorded_only and not is_grad_enabled():
            return walk(x, state, control)
        calls += 1
        start, count = len(log), x.shape[0]
        result = walk(x, tuple(_reachable(part) for part in state), control)
        for k, (end, reverse) in enumerate(zip(ends, reverses, strict=True)):
            label = ".".join(filter(None, (name, end))) or type(cell).__name__
            taken = log[start + k * count : start + (k + 1) * count]
            walks.append(
                Walk(
                    label if calls == 1 else f"{label} (call {calls})",
                    cell,
                    taken[::-1] if reverse else taken,
                    range(count - 1, -1, -1) if reverse else range(count),
                    control.reversed() if reverse else control,
                )
            )
        return result

    vars(layer).update(cell=watched_cell, _walk=logged_walk)


def columns(sequences: Any) -> Host:
    """Sequences of numbers side by side, (T, N), the shorter ones ended with NaN."""
    table = np.full((max(map(len, sequences), default=0), len(sequences)), np.nan)
    for k, sequence in enumerate(sequences):
        table[: len(sequence), k] = sequence
    return table
