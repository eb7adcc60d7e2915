"""The parts of a C file that differ from model to model: its constants, its state, and the statements of a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xprnn.cells import Elman, Projected
from xprnn.interop.c_int8 import coded_function, packed_codes
from xprnn.interop.c_weights import CELLS, packed
from xprnn.interop.chain import Stage, arrays
from xprnn.nn.activations import ReLU, Sigmoid, Tanh
from xprnn.nn.linear import Linear
from xprnn.nn.quantized.linear import QuantizedLinear
from xprnn.nn.quantized.recurrent import QuantizedRecurrent
from xprnn.nn.recurrent.stacked import RecurrentLayer

Host = np.ndarray[Any, Any]
RECURRENT = RecurrentLayer, QuantizedRecurrent
Recurrent_ = RecurrentLayer | QuantizedRecurrent


class Sizes(NamedTuple):
    """What a model in C takes, in bytes: its state, its weights, and its arrays on the stack during a step."""

    state: int
    weights: int
    stack: int


class Code:
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
        self.constants.append(constant(name, single))
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


def constant(name: str, values: Host) -> str:
    """An array of float32 with all its digits, eight in a line."""
    numbers = [f"{number!s}f" for number in values.ravel()]  # str keeps what float32 needs, and no more
    rows = [", ".join(numbers[k : k + 8]) for k in range(0, len(numbers), 8)]
    return f"static const float {name}[{len(numbers)}] = {{\n    " + ",\n    ".join(rows) + "\n};"


def _map(stage: Stage) -> str:
    for kind, function in ((Tanh, "tanh"), (Sigmoid, "sigmoid"), (ReLU, "relu")):
        if type(stage.module) is kind:
            return function
    raise ValueError(f"c.export: {stage.name} cannot be written; expected Tanh, Sigmoid or ReLU")
