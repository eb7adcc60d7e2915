"""Watching the recurrent layers of a model at work: every step that they take and, on the way back, its gradient.

Layers tell an observer what they call and which cotangents come back (:mod:`xprnn.engine.observer`). A call of a
:class:`xprnn.cells.Cell` then runs once more on the reference engine, beside the model, with a cell that keeps what
goes in and out: the engine asks ``step_vjp`` with exactly the complete gradient dL/d(state after the step). The step of
a :class:`xprnn.nn.StepCell` gets one more node on the tape, whose rule reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xprnn import ops, use_kernels
from xprnn.backend import Array
from xprnn.cells import Cell, State, Weights
from xprnn.cells.cell import Saved
from xprnn.engine import reference
from xprnn.engine.call import SequenceCall
from xprnn.engine.control import Control
from xprnn.engine.noise import Noise
from xprnn.engine.observer import observed
from xprnn.grad_mode import is_grad_enabled
from xprnn.nn import Module, Recurrent, RecurrentLayer, StepCell
from xprnn.tape import record
from xprnn.tensor import Tensor

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


class LoggedCell:
    """What the reference engine needs of a cell, and a log of its steps.

    In evaluation zoneout is the same at every step: here it is part of it.
    """

    def __init__(self, cell: Cell, noise: Noise | None) -> None:
        self.cell, self.log = cell, list[Taken]()
        self.zx_of, self.zx_vjp, self.sees_x = cell.zx_of, cell.zx_vjp, cell.sees_x
        self.input_weight, self.input_weight_vjp = cell.input_weight, cell.input_weight_vjp
        self.multiplied, self.state_names, self.name = cell.multiplied, cell.state_names, cell.name
        self.noise = noise or Noise()

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        new, saved = self.cell.step(w, zx, state)

        def again(z: Tensor, old: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return self.noise.zoned(0, self.cell.step({name: Tensor(a) for name, a in w.items()}, z, old)[0], old)

        zoned = self.noise.zoned(0, new, state)
        self.log.append(Taken(again, zx, state, zoned, saved, [None] * len(new)))
        return zoned, (self.log[-1], new, *saved)

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        taken, new, *own = saved
        taken.gradient = list(dstate)
        dstate, dkept = self.noise.zoned_vjp(0, dstate)
        dzx, dold, terms = self.cell.step_vjp(w, dstate, tuple(own), state, new)
        return dzx, dold if dkept is None else tuple(d + k for d, k in zip(dold, dkept, strict=True)), terms

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        return self.cell.weight_vjp(w, dzx, terms, states, new_states)


class Watcher:
    """The observer: makes walks of what it is told of some layers, known by their names."""

    def __init__(self, names: dict[Module, str], recorded_only: bool) -> None:
        self.names, self.recorded_only, self.walks = names, recorded_only, list[Walk]()
        self._calls: Counter[tuple[Module, str]] = Counter()
        self._ran: dict[int, tuple[SequenceCall, SequenceCall, Any]] = {}  # the call itself keeps its id its own
        self._steps: dict[Module, list[Taken]] = {layer: [] for layer in names}

    def called(self, layer: Any, number: int, call: SequenceCall) -> None:
        if self._looks_at(layer):
            cell: Any = LoggedCell(call.cell, call.noise)
            logged = replace(call, cell=cell, keep=True, noise=None)
            _, trace = reference.forward(logged)
            self._ran[id(call)] = call, logged, trace
            end = f"l{number // layer.directions}{'_reverse' * (number % layer.directions)}"
            self._add(layer, end, call.cell, cell.log, call.reverse, call.control)

    def came_back(self, call: SequenceCall, dsequences: State, dfinal: State) -> None:
        if id(call) in self._ran:
            _, logged, trace = self._ran[id(call)]
            reference.backward(logged, trace, dsequences, dfinal, need_dx=False)

    def stepped(self, layer: Any, x: Tensor, before: tuple[Any, ...], after: tuple[Any, ...]) -> tuple[Any, ...]:
        if not self._looks_at(layer):
            return after
        parts = tuple(ops.as_tensor(part) for part in after)
        old, new = (tuple(part.data for part in some) for some in (before, parts))
        taken = Taken(layer.cell.step, x.data, old, new, (), [None] * len(parts))
        self._steps[layer].append(taken)
        return tuple(_read_on_the_way_back(taken.gradient, k, part) for k, part in enumerate(parts))

    def walked(self, layer: Any, count: int, control: Control) -> None:
        if self._looks_at(layer):
            log = self._steps[layer]
            self._add(layer, "", layer.cell, log[len(log) - count :], layer.reverse, control)

    def _looks_at(self, layer: Any) -> bool:
        return layer in self.names and (is_grad_enabled() or not self.recorded_only)

    def _add(
        self, layer: Module, end: str, cell: Cell | StepCell, taken: list[Taken], reverse: bool, control: Control
    ) -> None:
        """A walk of steps in the order they were taken."""
        self._calls[layer, end] += 1
        label = ".".join(filter(None, (self.names[layer], end))) or type(cell).__name__
        again = f" (call {self._calls[layer, end]})" * (self._calls[layer, end] > 1)
        times = range(len(taken))
        if reverse:
            taken, times, control = taken[::-1], times[::-1], control.reversed()
        self.walks.append(Walk(label + again, cell, taken, times, control))


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

    ``recorded_only`` passes over walks under ``no_grad``. Nothing in the model is replaced; its mode and its random
    generators are afterwards as before. Walks in other threads are not seen.

    Raises TypeError where ``model`` is no Module, ValueError where no recurrent layer is in it, or none was called.
    """
    if not isinstance(model, Module):
        raise TypeError(f"{owner}: model is a {type(model).__name__}; expected a Module")
    modules = dict(model.named_modules())
    layers = {name: part for name, part in modules.items() if isinstance(part, (RecurrentLayer, Recurrent))}
    if not layers:
        raise ValueError(f"{owner}: {type(model).__name__} has no recurrent layer (RNN, LSTM, GRU, Recurrent)")
    draws = [(rng, rng.bit_generator.state) for rng in model.generators().values()]
    watcher = Watcher({layer: name for name, layer in layers.items()}, recorded_only)
    try:
        with observed(watcher), model.mode(training=False), use_kernels("reference"):
            yield watcher.walks
    finally:
        for rng, state in draws:
            rng.bit_generator.state = state
    if not watcher.walks:
        raise ValueError(f"{owner}: {', '.join(map(repr, layers))} of {type(model).__name__} was never called")


def columns(sequences: Any) -> Host:
    """Sequences of numbers side by side, (T, N), the shorter ones ended with NaN."""
    table = np.full((max(map(len, sequences), default=0), len(sequences)), np.nan)
    for k, sequence in enumerate(sequences):
        table[: len(sequence), k] = sequence
    return table
