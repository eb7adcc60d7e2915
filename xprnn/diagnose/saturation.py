"""How many gates and tanh units are near their limits, where they hardly learn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn import cells
from xprnn.arguments import function, real_number
from xprnn.backend import Array, namespace, to_numpy
from xprnn.cells.cell import sigmoid, split
from xprnn.diagnose.watch import Host, Taken, columns, watched
from xprnn.grad_mode import no_grad, set_grad_enabled
from xprnn.nn import Module
from xprnn.tensor import Node, Tensor

SIGMOID, TANH, RELU = (0.0, 1.0), (-1.0, 1.0), (0.0, math.inf)
Limits = tuple[float, float]
NONE = (math.nan, math.nan)

LIMITS = dict.fromkeys("ifozr", SIGMOID) | dict.fromkeys(("g", "n", "tanh c"), TANH)
# The cells whose steps save their gates, in the order of their names, and what they save next that can saturate. By
# exact type: a subclass may save something else.
SAVED_AFTER_GATES: dict[type, tuple[str, ...]] = {
    cells.LSTM: ("tanh c",),
    cells.PeepholeLSTM: ("tanh c",),
    cells.FullPeepholeLSTM: ("tanh c",),
    cells.LayerNormLSTM: ("tanh c",),
    cells.GRU: (),
    cells.LayerNormGRU: (),
    cells.EchoState: (),
    cells.ResetBeforeGRU: (),
    cells.MGU: (),
    cells.GatedAntisymmetric: (),
}
# The gates that saturate of linear cells, whose steps save zx first.
OF_INPUT: dict[type, dict[str, Limits]] = {
    cells.MinGRU: {"z": SIGMOID},
    cells.MinLSTM: {"f": SIGMOID, "i": SIGMOID},
    cells.SRU: {"f": SIGMOID, "r": SIGMOID},
    cells.QRNN: {"z": TANH, "f": SIGMOID, "o": SIGMOID},
    cells.LRU: {},
    cells.S5: {},
}
# Those that save what each of their activations gave first, in the order in which they name them.
GENERAL = (cells.GeneralElman, cells.GeneralLSTM, cells.GeneralGRU, cells.GeneralResetBeforeGRU)


@dataclass(frozen=True, eq=False)
class Saturation:
    """What :func:`saturation` found. Arrays (T, N) on the host: a row for each step, a column for each gate.

    Attributes
    ----------
    gates
        The names of the columns: the layer's, as in :class:`xprnn.diagnose.GradientFlow`, a space, and the gate's.
    low, high
        Shares from 0 to 1 of units within ``tolerance`` of the lower and the upper limit, over the sequences that took
        the step; NaN where none did.
    tolerance
        As given. A relu is at its lower limit where it is 0, and has no upper one.
    """

    gates: tuple[str, ...]
    low: Host
    high: Host
    tolerance: float

    def plot(self, ax: Any = None) -> Any:
        """Draw a map of both shares on matplotlib axes, or on new ones, and return them (``.figure`` saves them)."""
        from xprnn.diagnose.plots import draw_saturation

        return draw_saturation(self, ax)


def saturation(
    model: Module, x: Any, run: Callable[[Any, Any], Any] | None = None, *, tolerance: float = 0.1
) -> Saturation:
    """The shares of gates and tanh units near their limits, for every recurrent layer and step.

    A sigmoid is near where it is below tolerance or above 1 - tolerance (Karpathy, Johnson and Fei-Fei 2015,
    arXiv 1506.02078, with 0.1), a tanh below -1 + tolerance or above 1 - tolerance.

    Parameters
    ----------
    model, x
        As for :func:`xprnn.diagnose.gradient_flow`. The model is afterwards as it was.
    run
        ``run(model, x)`` calls the model; a loss will do. Default: ``model(x)``.
    tolerance
        From 0 to 0.5.

    Returns
    -------
    A :class:`Saturation` with i, f, g, o and "tanh c" of an LSTM, r, z, n of a GRU, f, n of an MGU, g, o of an sLSTM, h
    of an RNN, f of a CTRNN for its nonlinearity, z, n of an antisymmetric one with a gate; with other activations those
    that have limits, "output" in the place of "tanh c"; the gates of linear cells, of which LRU and S5 have none.
    Of a cell of your own, every sigmoid and tanh in its step, numbered: "sigmoid 1", "sigmoid 2", "tanh 1". NaN is near
    no limit.

    Raises
    ------
    TypeError, ValueError
        As :func:`xprnn.diagnose.gradient_flow`; a wrong tolerance.
    """
    tolerance = real_number("saturation", "tolerance", tolerance, "a number from 0 to 0.5", high=0.5)
    if run is not None:
        function("saturation", "run", run)
    with watched("saturation", model) as walks, no_grad():
        model(x) if run is None else run(model, x)
    names: list[str] = []
    shares: list[list[tuple[float, float]]] = []
    for walk in walks:
        series: dict[str, list[tuple[float, float]]] = {}
        advance = None if walk.control.advance is None else to_numpy(walk.control.advance)[:, :, 0]
        for t, taken in enumerate(walk.taken):
            for gate, values, limits in _activations(walk.cell, taken):
                taking = to_numpy(values) if advance is None else to_numpy(values)[advance[t]]
                series.setdefault(gate, [NONE] * len(walk.taken))[t] = _shares(taking, limits, tolerance)
        names += [f"{walk.name} {gate}" for gate in series]
        shares += series.values()
    low, high = (columns([[pair[k] for pair in gate] for gate in shares]) for k in (0, 1))
    return Saturation(tuple(names), low, high, tolerance)


def _shares(values: Host, limits: Limits, tolerance: float) -> tuple[float, float]:
    if values.size == 0:
        return NONE
    low, high = limits
    margin = 0.0 if high == math.inf else tolerance
    return float(np.mean(values <= low + margin)), float(np.mean(values >= high - margin))


def _activations(cell: Any, taken: Taken) -> Iterator[tuple[str, Array, Limits]]:
    """(name, values (B, H), limits) of everything in a step that can saturate."""
    saved = taken.saved
    if type(cell) is cells.Projected:  # saves the state before its projection first
        cell, saved = cell.cell, saved[1:]
    if type(cell) in (cells.Elman, cells.IndRNN):
        yield "h", taken.after[0], TANH if cell.nonlinearity == "tanh" else RELU
    elif type(cell) in (cells.CTRNN, cells.Antisymmetric):
        yield "f", saved[0], TANH if cell.nonlinearity == "tanh" else RELU
    elif type(cell) is cells.SLSTM:  # of i and f one is always 1
        yield from (("g", saved[2], TANH), ("o", saved[3], SIGMOID))
    elif type(cell) in SAVED_AFTER_GATES:
        for name, values in zip((*cell.gate_names, *SAVED_AFTER_GATES[type(cell)]), saved, strict=False):
            yield name, values, LIMITS[name]
    elif type(cell) in OF_INPUT:
        gates = dict(zip(cell.gate_names, split(saved[0], max(cell.gates, 1)), strict=False))
        for name, limits in OF_INPUT[type(cell)].items():
            yield name, sigmoid(gates[name]) if limits == SIGMOID else namespace(gates[name]).tanh(gates[name]), limits
    elif isinstance(cell, GENERAL):
        for (name, activation), values in zip(cell.activations.items(), saved, strict=False):
            if activation.limits[0] > -math.inf:
                yield name, values, activation.limits
    else:
        yield from _on_the_tape(taken)


def _on_the_tape(taken: Taken) -> Iterator[tuple[str, Array, Limits]]:
    """The results of all sigmoid and tanh operations in a step, inputs before what is made of them."""
    limits, counts = {"sigmoid": SIGMOID, "tanh": TANH}, {"sigmoid": 0, "tanh": 0}
    with set_grad_enabled(True):
        leaves = tuple(Tensor(part, requires_grad=True) for part in taken.before)
        after = taken.step(Tensor(taken.input, requires_grad=True), leaves)
    seen: set[int] = set()
    waiting: list[tuple[Tensor, bool]] = [(part, False) for part in reversed(after) if isinstance(part, Tensor)]
    while waiting:
        tensor, inputs_done = waiting.pop()
        node: Node | None = tensor.node
        if node is None:
            continue
        if not inputs_done and id(node) not in seen:
            seen.add(id(node))
            waiting.append((tensor, True))
            waiting.extend((part, False) for part in reversed(node.inputs))
        elif inputs_done and node.name in limits:
            counts[node.name] += 1
            yield f"{node.name} {counts[node.name]}", tensor.data, limits[node.name]
