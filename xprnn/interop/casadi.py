"""One step of a model as a function of CasADi, for model-predictive control and whatever else asks for its derivatives.

    f = step(model)
    y, state = f(x, state)                                    # numbers, or symbols of an optimal control problem
    A = casadi.Function("A", [x, s], [casadi.jacobian(f(x, s)[1], s)])

The weights are constants of the function, in float64; train first. ``f.expand()`` makes one of scalars of it, faster
for small models, and ``f.generate()`` writes C.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

from xprnn.cells import GRU, LSTM, Elman, ResetBeforeGRU
from xprnn.interop.chain import Host, Stage, arrays, stages
from xprnn.interop.extras import needed
from xprnn.nn.activations import ReLU, Sigmoid, Tanh
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.nn.recurrent.stacked import RecurrentLayer

__all__ = ["step"]

Symbol = Any
Weights = dict[str, Host]


def step(model: Module, name: str = "step") -> Any:
    """A ``casadi.Function`` of one step: ``y, next = f(x, state)``.

    =====  ==================================================================================================
    x      (I,), what comes in
    state  (S,), of each recurrent layer, and of each layer of a stack, h and behind it an LSTM's c
    y      (O,), what goes out
    next   (S,), the state after the step
    =====  ==================================================================================================

    ``model`` is an RNN, LSTM or GRU of either form, stacked or not, or a Sequential of these, Linear, Tanh, Sigmoid and
    ReLU; Dropout is left out. Begin with zeros, ``casadi.DM.zeros(f.size_in("state"))``.

    Raises ValueError, naming the part, for what has no place here: peepholes, projections, other activations and cells,
    two directions, zoneout; ImportError without CasADi.
    """
    ca = needed("casadi", "casadi.step")
    chain = stages("casadi.step", model)
    layers = [stage.module for stage in chain if isinstance(stage.module, RecurrentLayer)]
    sizes = [size for layer in layers for _ in range(layer.num_layers) for size in layer.state_sizes]
    x, state = ca.MX.sym("x", chain[0].inputs), ca.MX.sym("state", sum(sizes))
    parts, y = iter(ca.vertsplit(state, [0, *accumulate(sizes)])), x
    after: list[Symbol] = []
    for stage in chain:
        if isinstance(stage.module, RecurrentLayer):
            cell = _cell(stage, stage.module)
            for parameters in stage.module.weights():
                new = cell(ca, arrays(parameters), y, *(next(parts) for _ in stage.module.state_sizes))
                after, y = [*after, *new], new[0]
        elif isinstance(stage.module, Linear):
            y = _affine(ca, arrays({"weight_y": stage.module.weight, "bias_y": stage.module.bias}), "y", y)
        else:
            y = _function(stage)(ca, y)
    return ca.Function(name, [x, state], [y, ca.vertcat(*after)], ["x", "state"], ["y", "next"])


def _affine(ca: Any, w: Weights, which: str, x: Symbol) -> Symbol:
    product = ca.mtimes(ca.DM(w[f"weight_{which}"].astype(float)), x)
    return product + ca.DM(w[f"bias_{which}"].astype(float)) if f"bias_{which}" in w else product


def _sigmoid(ca: Any, z: Symbol) -> Symbol:
    return 0.5 * ca.tanh(0.5 * z) + 0.5


def _lstm(ca: Any, w: Weights, x: Symbol, h: Symbol, c: Symbol) -> tuple[Symbol, ...]:
    i, f, g, o = ca.vertsplit(_affine(ca, w, "ih", x) + _affine(ca, w, "hh", h), h.numel())
    c = _sigmoid(ca, f) * c + _sigmoid(ca, i) * ca.tanh(g)
    return _sigmoid(ca, o) * ca.tanh(c), c


def _gru(ca: Any, w: Weights, x: Symbol, h: Symbol) -> tuple[Symbol, ...]:
    rx, zx, nx = ca.vertsplit(_affine(ca, w, "ih", x), h.numel())
    rh, zh, nh = ca.vertsplit(_affine(ca, w, "hh", h), h.numel())
    update = _sigmoid(ca, zx + zh)
    return ((1.0 - update) * ca.tanh(nx + _sigmoid(ca, rx + rh) * nh) + update * h,)


def _gru_reset_before(ca: Any, w: Weights, x: Symbol, h: Symbol) -> tuple[Symbol, ...]:
    rx, zx, nx = ca.vertsplit(_affine(ca, w, "ih", x), h.numel())
    rh, zh, _ = ca.vertsplit(_affine(ca, w, "hh", h), h.numel())
    update, seen = _sigmoid(ca, zx + zh), _sigmoid(ca, rx + rh) * h
    return ((1.0 - update) * ca.tanh(nx + ca.vertsplit(_affine(ca, w, "hh", seen), h.numel())[2]) + update * h,)


CELLS: dict[type, Callable[..., tuple[Symbol, ...]]] = {LSTM: _lstm, GRU: _gru, ResetBeforeGRU: _gru_reset_before}
FUNCTIONS: dict[type, Callable[[Any, Symbol], Symbol]] = {
    Tanh: lambda ca, z: ca.tanh(z),
    Sigmoid: _sigmoid,
    ReLU: lambda ca, z: ca.fmax(z, 0.0),
}


def _cell(stage: Stage, layer: RecurrentLayer) -> Callable[..., tuple[Symbol, ...]]:
    if type(layer.cell) is Elman:
        function = FUNCTIONS[Tanh if layer.cell.nonlinearity == "tanh" else ReLU]
        return lambda ca, w, x, h: (function(ca, _affine(ca, w, "ih", x) + _affine(ca, w, "hh", h)),)
    if type(layer.cell) not in CELLS:
        known = ", ".join(each.__name__ for each in (Elman, *CELLS))
        raise ValueError(f"casadi.step: {stage.name} has the cell {layer.cell.name}; expected one of {known}")
    return CELLS[type(layer.cell)]


def _function(stage: Stage) -> Callable[[Any, Symbol], Symbol]:
    if type(stage.module) not in FUNCTIONS:
        raise ValueError(f"casadi.step: {stage.name} cannot be written; expected Tanh, Sigmoid or ReLU")
    return FUNCTIONS[type(stage.module)]
