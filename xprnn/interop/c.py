"""A model as one file of C99, for microcontrollers, plugins, and wherever Python is not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xprnn import __version__
from xprnn.arguments import input_tensor, several
from xprnn.backend import backend_of, to_numpy
from xprnn.cells import Elman, Projected
from xprnn.grad_mode import no_grad
from xprnn.interop.c_file import FILE
from xprnn.interop.c_int8 import BEFORE, coded_function, packed_codes
from xprnn.interop.c_source import functions
from xprnn.interop.c_weights import CELLS, packed
from xprnn.interop.chain import Stage, arrays, stages
from xprnn.interop.nam import Capture
from xprnn.nn.activations import ReLU, Sigmoid, Tanh
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.nn.quantized.linear import QuantizedLinear
from xprnn.nn.quantized.recurrent import QuantizedRecurrent
from xprnn.nn.recurrent.stacked import RecurrentLayer
from xprnn.storage import Path_, write_atomically
from xprnn.tensor import Tensor

__all__ = ["Sizes", "export"]

Host = np.ndarray[Any, Any]
LARGEST = 1e30  # of a test's outputs: sums in another order might overflow beyond
STEPS, ALLOWED, A_CODE_OFF = 64, 64, 2**17
"""Of the test in the file: how long it is, and by how much it may be off, in ulp of the largest output; and by how much
where another bit of an input may give another code."""

RECURRENT = RecurrentLayer, QuantizedRecurrent
Recurrent_ = RecurrentLayer | QuantizedRecurrent


class Sizes(NamedTuple):
    """What a model in C takes, in bytes: its state, its weights, and its arrays on the stack during a step."""

    state: int
    weights: int
    stack: int


def export(model: Module | Capture, path: Path_, *, name: str = "model", states: Sequence[Any] | None = None) -> Sizes:
    """Write a model as one file of C99 that needs no library and allocates nothing, and say what it takes.

    In C, with ``name`` in the place of model:

        model_state s;              the state, a struct of floats
        model_init(&s);             the state to begin with: ``states``, or that of a capture
        model_reset(&s);            zeros, as if nothing had been heard
        model_step(&s, x, y);       one step, x[inputs] to y[outputs]
        model_block(&s, x, y, n);   n steps, x[n][inputs] to y[n][outputs]

    With ``model_DECLARATIONS_ONLY`` defined it can be included as a header, from C++ too. Compiled with
    ``-Dmodel_TEST`` it is a program that compares itself with what the model said here, to 64 ulp of the largest
    output: sums are taken in another order, so that bits differ.

    Parameters
    ----------
    model
        A recurrent layer (RNN, LSTM with any peepholes, both GRUs, IndRNN; not with other activations, clipping or
        layer normalisation, and no linear cells), stacked or not, or a Sequential of recurrent layers, Linear, Tanh,
        Sigmoid and ReLU (Dropout is left out); or a :class:`xprnn.interop.nam.Capture`. All is rounded to float32.
        Layers that :func:`xprnn.nn.quantize` made keep their weights of 8 bits and compute as here, to the bit, where
        the compiler keeps to IEEE 754 (with clang's -ffp-contract=fast it does not, whatever a file asks for); the
        file's own test allows them nothing.
    name
        A C name, with which all others begin.
    states
        Of each recurrent layer its initial state, as it takes it where x has no batch. Default: zeros.

    Raises ValueError for what cannot be written (both directions, zoneout, other modules and cells), a model without a
    recurrent layer, weights that are not finite, a name that is none, and states that do not fit.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"c.export: name is {name!r}; expected letters, digits and underscores")
    if isinstance(model, Capture):
        states = [model.state]
        model = model.model
    chain = stages("c.export", model, coded=True)
    layers = [stage.module for stage in chain if isinstance(stage.module, RECURRENT)]
    if not layers:
        raise ValueError("c.export: the model has no recurrent layer")
    begin = _begin(layers, states)
    code = _Code(chain, begin)
    sizes = code.sizes()
    x, y = _test_vector(chain, begin)
    text = FILE.format(
        name=name,
        what=", ".join(f"{type(stage.module).__name__}({stage.module.describe()})" for stage in chain),
        version=__version__,
        inputs=chain[0].inputs,
        outputs=chain[-1].outputs,
        sizes=sizes,
        multiplications=code.multiplications,
        before=BEFORE if code.codes else "",
        members="\n".join(f"    float {part}[{len(values)}];" for part, values in code.state.items()),
        constants="\n\n".join(code.constants),
        functions=functions("\n".join([*code.body, *code.beginning, "clear()"])),
        beginning=_lines([f"{name}_reset(s);", *code.beginning]),
        zeros=_lines([f"clear(s->{part}, {len(values)});" for part, values in code.state.items()]),
        body=_lines(
            [
                *(f"float {buffer}[{size}];" for buffer, size in code.buffers.items()),
                *(f"signed char q[{code.inputs}];" for _ in range(bool(code.codes))),
                *code.body,
            ]
        ),
        steps=len(x),
        allowed=_allowed(chain),
        test_x=_constant("test_x", x),
        test_y=_constant("test_y", y),
    )
    write_atomically(path, text.encode())
    return sizes


def _allowed(chain: Sequence[Stage]) -> int:
    """By how many ulp C may be off: by none where all is codes, and by much where these follow what is off a little."""
    coded = [isinstance(stage.module, (QuantizedRecurrent, QuantizedLinear)) for stage in chain]
    exact = [found or isinstance(stage.module, ReLU) for stage, found in zip(chain, coded, strict=True)]
    if all(exact):
        return 0
    return A_CODE_OFF if any(coded[exact.index(False) :]) else ALLOWED


def _begin(layers: Sequence[Recurrent_], states: Sequence[Any] | None) -> list[tuple[Host, ...]]:
    """The parts of each layer's initial state, (L, H), on the host."""
    states = None if states is None else several("c.export", "states", states)
    if states is not None and len(states) != len(layers):
        raise ValueError(f"c.export: states are {len(states)}; expected {len(layers)}, one for each recurrent layer")
    found = []
    for number, layer in enumerate(layers):
        shapes = [(layer.num_layers, size) for size in layer.state_sizes]
        given = [np.zeros(shape) for shape in shapes] if states is None else states[number]
        parts = given if isinstance(given, (tuple, list)) else [given]
        host = [to_numpy(input_tensor("c.export", f"state {number}", part).data) for part in parts]
        if (came := [part.shape for part in host]) != shapes:
            raise ValueError(f"c.export: state {number} has shapes {came}; expected {shapes}")
        found.append(tuple(part.astype(np.float32) for part in host))
    return found


def _test_vector(chain: Sequence[Stage], begin: Sequence[tuple[Host, ...]]) -> tuple[Host, Host]:
    """Inputs, and what the model makes of them: up to the step before one where it leaves what C can compare."""
    x = np.random.default_rng(0).uniform(-1.0, 1.0, (STEPS, chain[0].inputs)).astype(np.float32)
    for scale in (1.0, 2.0**-60, 0.0):
        scaled = x * np.float32(scale)
        with np.errstate(all="ignore"):
            y = _outputs(chain, begin, scaled)
            outside = np.flatnonzero(~(np.abs(y) <= LARGEST).all(axis=1))  # NaN too
        if steps := int(outside[0]) if len(outside) else STEPS:
            return scaled[:steps], y[:steps].astype(np.float32)
    raise ValueError("c.export: the model's first output is above what float32 holds, whatever comes in")


def _outputs(chain: Sequence[Stage], begin: Sequence[tuple[Host, ...]], x: Host) -> Host:
    layer = next(stage.module for stage in chain if isinstance(stage.module, RECURRENT))
    home, dtype, states = backend_of(layer.parameters()[0].data), layer.dtype, iter(begin)
    y = Tensor(home.asarray(x.astype(dtype)))
    with no_grad():
        for module in (stage.module for stage in chain):
            if not isinstance(module, RECURRENT):
                y = module(y)
                continue
            parts = [home.asarray(part.astype(dtype)) for part in next(states)]
            with module.mode(False):
                y = module(y, parts[0] if len(parts) == 1 else tuple(parts))[0]
    return to_numpy(y.data)


class _Code:
    """The parts of the file that differ from model to model."""

    def __init__(self, chain: Sequence[Stage], begin: Sequence[tuple[Host, ...]]) -> None:
        self.constants: list[str] = []
        self.weights, self.codes = 0, 0  # how many numbers they are, and how many codes
        self.state: dict[str, Host] = {}  # its arrays by name, and what they begin with
        self.beginning: list[str] = []
        self.buffers: dict[str, int] = {}
        self.inputs = 0  # of the widest product of codes
        self.body: list[str] = []
        at, states = "x", iter(begin)  # where the numbers are that go in next
        for k, stage in enumerate(chain):
            if isinstance(stage.module, RECURRENT):
                at = self._recurrent(stage, stage.module, next(states), at, k)
                continue
            to = "y" if stage is chain[-1] else f"v{k}"
            if to != "y":
                self.buffers[to] = stage.outputs
            if isinstance(stage.module, QuantizedLinear):
                held = arrays(stage.module.declared.present(stage.module))
                bias = held.get("bias", np.zeros(stage.outputs))
                weights = self._coded(stage, f"{k}", [held["weight"]], [bias, held["scale"]])
                self.body.append(f"linear8({weights}, {stage.inputs}, {stage.outputs}, {at}, {to}, q);")
            elif isinstance(stage.module, Linear):
                held = arrays({"weight": stage.module.weight, "bias": stage.module.bias})
                bias = held.get("bias", np.zeros(stage.outputs))
                weights = self._constant(stage, f"w{k}", np.concatenate([bias, held["weight"].T.ravel()]))
                self.body.append(f"linear({weights}, {stage.inputs}, {stage.outputs}, {at}, {to});")
            else:
                self.body.append(f"each_{_map(stage)}({at}, {stage.inputs}, {to});")
            at = to
        if at != "y":
            self.body.append(f"copy({at}, {chain[-1].outputs}, y);")

    def _recurrent(self, stage: Stage, layer: Recurrent_, begin: tuple[Host, ...], at: str, k: int) -> str:
        """The layers of a stack; returns where the last one's hidden state is."""
        cell = layer.cell.cell if isinstance(layer.cell, Projected) else layer.cell
        if type(cell) not in CELLS:
            known = ", ".join(each.__name__ for each in CELLS)
            raise ValueError(f"c.export: {stage.name} has the cell {layer.cell.name}; expected one of {known}")
        function, places = CELLS[type(cell)]
        function += f"_{cell.nonlinearity}" if isinstance(cell, Elman) else ""
        hidden, width = layer.hidden_size, layer.state_sizes[0]
        self.buffers["z"] = max(self.buffers.get("z", 0), places * hidden)
        for n, parameters in enumerate(layer.weights()):
            w = arrays(parameters)
            for part, values in zip(layer.state_names, begin, strict=True):
                self.state[f"{part}{k}_{n}"] = values[n]
                if values[n].any():
                    self._constant(stage, f"first_{part}{k}_{n}", values[n])
                    self.beginning.append(f"copy(first_{part}{k}_{n}, {len(values[n])}, s->{part}{k}_{n});")
            h, *c = (f"s->{part}{k}_{n}" for part in layer.state_names)
            if isinstance(layer, QuantizedRecurrent):
                weights = self._coded(stage, f"{k}_{n}", *packed_codes(cell, w))
                given = ", ".join([weights, str(w["weight_ih"].shape[1]), str(hidden), at, h, *c, "z", "q"])
                self.body += [f"{coded_function(cell)}({given});", f"copy(z, {hidden}, {h});"]
                at = h
                continue
            weights = self._constant(stage, f"w{k}_{n}", packed(cell, w))
            sizes = f"{w['weight_ih'].shape[1]}, {hidden}" + f", {width}" * len(c)
            self.body.append(f"{function}({', '.join([weights, sizes, at, h, *c, 'z'])});")
            if isinstance(layer.cell, Projected):
                weights = self._constant(stage, f"p{k}_{n}", w["weight_hr"].T)
                self.body.append(f"project({weights}, {hidden}, {width}, z, {h});")
            else:
                self.body.append(f"copy(z, {hidden}, {h});")
            at = h
        return at

    def _constant(self, stage: Stage, name: str, values: Host) -> str:
        with np.errstate(over="ignore"):
            single = values.astype(np.float32)
        if not np.isfinite(single).all():
            raise ValueError(f"c.export: {stage.name} has numbers that are not finite in float32")
        self.constants.append(_constant(name, single))
        self.weights += values.size
        return name

    def _coded(self, stage: Stage, name: str, codes: Sequence[Host], numbers: Sequence[Host]) -> str:
        """Arrays of codes and of float32; their names, as arguments. Room for the codes of an input is kept."""
        whole = np.concatenate([part.ravel() for part in codes])
        rows = [", ".join(map(str, whole[k : k + 16])) for k in range(0, len(whole), 16)]
        text = "{\n    " + ",\n    ".join(rows) + "\n}"
        self.constants.append(f"static const signed char c{name}[{len(whole)}] = {text};")
        self.codes += len(whole)
        self.inputs = max(self.inputs, *(part.shape[1] for part in codes))
        return f"c{name}, {self._constant(stage, f'w{name}', np.concatenate(numbers))}"

    @property
    def multiplications(self) -> int:
        """About how many a step takes."""
        return self.weights + self.codes

    def sizes(self) -> Sizes:
        """In bytes."""
        stack = sum(self.buffers.values())
        weights = 4 * self.weights + self.codes
        return Sizes(4 * sum(map(len, self.state.values())), weights, 4 * stack + self.inputs)


def _constant(name: str, values: Host) -> str:
    """An array of float32 with all its digits, eight in a line."""
    numbers = [f"{number!s}f" for number in values.ravel()]  # str keeps what float32 needs, and no more
    rows = [", ".join(numbers[k : k + 8]) for k in range(0, len(numbers), 8)]
    return f"static const float {name}[{len(numbers)}] = {{\n    " + ",\n    ".join(rows) + "\n};"


def _lines(statements: Sequence[str]) -> str:
    return "\n".join(f"    {statement}" for statement in statements)


def _map(stage: Stage) -> str:
    for kind, function in ((Tanh, "tanh"), (Sigmoid, "sigmoid"), (ReLU, "relu")):
        if type(stage.module) is kind:
            return function
    raise ValueError(f"c.export: {stage.name} cannot be written; expected Tanh, Sigmoid or ReLU")
