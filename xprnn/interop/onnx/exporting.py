"""Layers of ours as models of ONNX's. What cannot be said raises, by name, before anything is written."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from xprnn import nn
from xprnn.interop.onnx.graph import Graph
from xprnn.interop.onnx.operators import Operator, attributes_of, operator_of, packed, packed_peepholes
from xprnn.nn.module import Module
from xprnn.storage import Path_, write_atomically

TIME, BATCH = "time", "batch"


def to_model(layer: Module, *, lengths: bool = False, states: bool = False) -> Any:
    """An onnx.ModelProto of a layer, for any number of steps and sequences (opset 22, IR version 10).

    For RNN, LSTM and GRU with all their options but ``proj_size`` and full peepholes, Linear, Embedding, LayerNorm,
    Dropout (which does nothing), MultiheadAttention of a sequence to itself, TransformerEncoderLayer,
    TransformerEncoder, and Sequential of them. It evaluates, and never trains.

    ===============  ===============================================================================================
    input x          float32 (T, B, I), (B, T, I) with ``batch_first``; int64 without I where an Embedding comes first
    input lengths    int32 (B,), where ``lengths``: recurrent layers and attention see no step beyond
    inputs h_0 c_0   float32 (L*D, B, H), where ``states``; of the parts of a Sequential "0.h_0", ...
    output y         float32, axes as in x
    outputs h_n c_n  the final states, likewise
    ===============  ===============================================================================================

    Weights are written as float32, since ONNX Runtime knows no other LSTM, and axes are turned by Transpose, since it
    knows no ``layout``. Past a sequence's end y of recurrent layers and of encoders is zero.

    Raises TypeError, naming the layer, for any other; ValueError, naming it, for what ONNX cannot say, and for weights
    too large for float32.
    """
    return _Exported(layer, lengths, states).model


def save(layer: Module, path: Path_, *, lengths: bool = False, states: bool = False) -> None:
    """Write :func:`to_model` to a file, whole or not at all. Raises as that does, and OSError."""
    write_atomically(path, to_model(layer, lengths=lengths, states=states).SerializeToString())


class _Exported:
    """The model of one layer."""

    def __init__(self, layer: Module, lengths: bool, states: bool) -> None:
        self.graph, self.states = Graph(), states
        self.lengths = self.graph.input("lengths", "int32", [BATCH]) if lengths else ""
        first = next((part for _, part in layer.named_modules() if hasattr(part, "batch_first")), None)
        self.batch_first = getattr(first, "batch_first", False)
        self._axes: list[str | int] = [BATCH, TIME] if self.batch_first else [TIME, BATCH]
        self._real = ""
        self._finals: list[tuple[str, str, list[str | int]]] = []
        width = _input_size("", layer)
        x = self.graph.input("x", "float32" if width else "int64", [*self._axes, width] if width else self._axes)
        y = self.emit("", layer, x)
        self.graph.output("y", y, [*self._axes, "features"])
        for final in self._finals:
            self.graph.output(*final)
        self.model = self.graph.model()

    def emit(self, path: str, layer: Any, x: str) -> str:
        """The nodes of a layer; the name of what it gives."""
        try:
            return _emitter(path, layer)(self, f"{path}." if path else "", layer, x)
        except OverflowError as error:
            raise ValueError(f"to_model: {_called(path, layer)}: a weight {str(error).removeprefix('it ')}") from error

    def node(self, operator: str, inputs: list[str], path: str, outputs: int = 1, **attributes: Any) -> Any:
        return self.graph.node(operator, inputs, path, outputs, **attributes)

    def integers(self, *values: int) -> str:
        """A constant of whole numbers, as operators take shapes and axes."""
        return self.graph.constant(f"integers_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def number(self, value: float) -> str:
        return self.graph.constant(f"number_{value!r}", np.float32(value))

    def turned(self, path: str, layer: Any, x: str) -> str:
        """(T, B, ...) from what a layer takes, or what it gives from that."""
        return self.node("Transpose", [x], path, perm=[1, 0, 2]) if layer.batch_first else x

    def real(self) -> str:
        """Where steps are not past the end: booleans (T, B, 1)."""
        if not self._real:
            steps = self.node("Shape", ["x"], "", start=int(self.batch_first), end=int(self.batch_first) + 1)
            zero, one = (self.graph.constant(f"scalar_{k}", np.int64(k)) for k in (0, 1))
            count = self.node("Squeeze", [steps], "")
            number = self.node("Unsqueeze", [self.node("Range", [zero, count, one], ""), self.integers(1, 2)], "")
            whole = self.node("Cast", [self.lengths], "", to=7)  # int64
            last = self.node("Unsqueeze", [whole, self.integers(0, 2)], "")
            self._real = self.node("Less", [number, last], "")
        return self._real

    def where_real(self, path: str, x: str) -> str:
        """x (T, B, ...), zero past the end."""
        return self.node("Where", [self.real(), x, self.number(0.0)], path) if self.lengths else x

    def held(self, path: str, state: str, initial: str) -> str:
        """The final state; that of a sequence without steps is the initial one, where ONNX Runtime has zero."""
        if not (self.lengths and initial):
            return state
        none = self.graph.constant("no_steps", np.int32(0))
        some = self.node("Unsqueeze", [self.node("Greater", [self.lengths, none], path), self.integers(1)], path)
        found: str = self.node("Where", [some, state, initial], path)
        return found

    def final(self, name: str, result: str, count: int, size: int) -> None:
        """A final state, which becomes an output."""
        self._finals.append((name, result, [count, BATCH, size]))


def _called(path: str, part: Any) -> str:
    return f"{path} ({type(part).__name__})" if path else type(part).__name__


def _emitter(path: str, layer: Any) -> Callable[[_Exported, str, Any, str], str]:
    kind = type(layer)
    if kind not in EMITTERS:
        known = ", ".join(one.__name__ for one in EMITTERS)
        raise TypeError(f"to_model: {_called(path, layer)} is a {kind.__name__}; expected one of {known}")
    return EMITTERS[kind]


def _input_size(path: str, layer: Any) -> int | None:
    """The length of x's last axis; None where x is numbers of rows."""
    _emitter(path, layer)
    if isinstance(layer, nn.Sequential):
        for name, part in layer.children():
            if not isinstance(part, nn.Dropout):
                return _input_size(f"{path}.{name}".lstrip("."), part)
        raise ValueError(f"to_model: {_called(path, layer)} has no layer that says how many features x has")
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape[-1]
    names = {nn.Linear: "in_features", nn.MultiheadAttention: "embed_dim", nn.TransformerEncoderLayer: "d_model",
             nn.TransformerEncoder: "d_model", nn.Embedding: "none"}  # fmt: skip
    return getattr(layer, names.get(type(layer), "input_size"), None)


def _recurrent(model: _Exported, path: str, layer: Any, x: str) -> str:
    owner, graph = _called(path[:-1], layer), model.graph
    if layer.zoned:
        raise ValueError(f"to_model: {owner} has zoneout, which ONNX has not")
    cells = [layer.cell, layer.reverse_cell or layer.cell][: layer.directions]
    operators: list[Operator] = []
    for cell in cells:
        operator = operator_of(cell)
        if isinstance(operator, str):
            raise ValueError(f"to_model: {owner} {operator}")
        operators.append(operator)
    name, directions, layers = operators[0].name, layer.directions, layer.num_layers
    direction = "bidirectional" if layer.bidirectional else "reverse" if layer.reverse else "forward"
    attributes = attributes_of(operators, layer.hidden_size, direction)
    initial = _initial_states(model, path, layer)
    finals: list[list[str]] = [[] for _ in layer.state_names]
    y = model.turned(path, layer, x)
    for number in range(layers):
        weights = layer.weights()[number * directions : (number + 1) * directions]

        def constant(label: str, *names: str, weights: Any = weights, number: int = number, pack: Any = packed) -> str:
            if names[0] not in weights[0]:
                return ""
            parameters = [each[one] for each in weights for one in names]

            def whole(arrays: list[Any]) -> Any:
                rows = [pack(name, cells[k // len(names)], array) for k, array in enumerate(arrays)]
                return np.stack([np.concatenate(rows[k : k + len(names)]) for k in range(0, len(rows), len(names))])

            return graph.weights(path, f"{label}_l{number}", parameters, whole)

        peepholes = constant("P", "weight_ch", pack=lambda name, cell, array: packed_peepholes(cell, array))
        inputs = [y, constant("W", "weight_ih"), constant("R", "weight_hh"), constant("B", "bias_ih", "bias_hh")]
        inputs += [model.lengths, *(part[number] for part in initial), *([peepholes] if name == "LSTM" else [])]
        sequence, *final = model.node(name, inputs, path, 1 + len(finals), **attributes)
        for part, one, before in zip(finals, final, initial, strict=True):
            part.append(model.held(path, one, before[number]))
        if directions == 1:
            y = model.node("Squeeze", [sequence, model.integers(1)], path)
        else:
            beside = model.node("Transpose", [sequence], path, perm=[0, 2, 1, 3])
            y = model.node("Reshape", [beside, model.integers(0, 0, directions * layer.hidden_size)], path)
    for label, size, part in zip(layer.state_names, layer.state_sizes, finals, strict=True):
        whole = part[0] if layers == 1 else model.node("Concat", part, path, axis=0)
        model.final(f"{path}{label}_n", whole, layers * directions, size)
    return model.turned(path, layer, y)


def _initial_states(model: _Exported, path: str, layer: Any) -> list[list[str]]:
    """For each part of the state what each layer starts from: a name, or nothing for zeros."""
    found, layers = [], layer.num_layers
    for label, size in zip(layer.state_names, layer.state_sizes, strict=True):
        if not model.states:
            found.append([""] * layers)
            continue
        given = model.graph.input(f"{path}{label}_0", "float32", [layers * layer.directions, BATCH, size])
        split = [given] if layers == 1 else model.node("Split", [given], path, layers, axis=0, num_outputs=layers)
        found.append(split)
    return found


def _linear(model: _Exported, path: str, layer: Any, x: str) -> str:
    y = model.node("MatMul", [x, model.graph.weights(path, "weight", [layer.weight], lambda w: w[0].T.copy())], path)
    return y if layer.bias is None else model.node("Add", [y, _vector(model, path, "bias", layer.bias)], path)


def _vector(model: _Exported, path: str, name: str, parameter: Any) -> str:
    return model.graph.weights(path, name, [parameter], lambda arrays: arrays[0])


def _embedding(model: _Exported, path: str, layer: Any, x: str) -> str:
    table: str = model.node("Gather", [_vector(model, path, "weight", layer.weight), x], path)
    return table


def _layer_norm(model: _Exported, path: str, layer: Any, x: str) -> str:
    inputs = [x, _vector(model, path, "weight", layer.weight)]
    inputs += [] if layer.bias is None else [_vector(model, path, "bias", layer.bias)]
    axis = -len(layer.normalized_shape)
    y: str = model.node("LayerNormalization", inputs, path, axis=axis, epsilon=layer.eps)
    return y


def _dropout(model: _Exported, path: str, layer: Any, x: str) -> str:
    return x


def _sequential(model: _Exported, path: str, layer: Any, x: str) -> str:
    for name, part in layer.children():
        x = model.emit(path + name, part, x)
    return x


def _attention(model: _Exported, path: str, layer: Any, x: str) -> str:
    if not layer.packed:
        raise ValueError(f"to_model: {_called(path[:-1], layer)} has kdim or vdim; expected queries, keys and values")
    x = model.turned(path, layer, x)
    return model.turned(path, layer, _attended(model, path, layer, x))


def _attended(model: _Exported, path: str, layer: Any, x: str) -> str:
    """Attention of a sequence (T, B, E) to itself."""
    features, heads = layer.embed_dim, layer.num_heads
    size, seen = features // heads, model.where_real(path, x)

    def projected(k: int, source: str, perm: list[int]) -> str:
        rows = slice(k * features, (k + 1) * features)
        weight = model.graph.weights(path, f"in_proj_weight_{k}", [layer.in_proj_weight], lambda w: w[0][rows].T.copy())
        y = model.node("MatMul", [source, weight], path)
        if layer.in_proj_bias is not None:
            bias = model.graph.weights(path, f"in_proj_bias_{k}", [layer.in_proj_bias], lambda b: b[0][rows])
            y = model.node("Add", [y, bias], path)
        split = model.node("Reshape", [y, model.integers(0, 0, heads, size)], path)
        turned: str = model.node("Transpose", [split], path, perm=perm)
        return turned

    q, k, v = projected(0, seen, [1, 2, 0, 3]), projected(1, seen, [1, 2, 3, 0]), projected(2, seen, [1, 2, 0, 3])
    scaled = model.node("Mul", [q, model.number(1.0 / math.sqrt(size))], path)
    scores = model.node("MatMul", [scaled, k], path)  # (B, N, T, S)
    if model.lengths:
        there = model.node("Transpose", [model.real()], path, perm=[1, 2, 0])  # (B, 1, S)
        there = model.node("Unsqueeze", [there, model.integers(1)], path)
        scores = model.node("Where", [there, scores, model.number(-float(np.finfo(np.float32).max))], path)
    weights = model.node("Softmax", [scores], path, axis=-1)
    if model.lengths:  # a sequence without steps has all weights the same
        weights = model.node("Where", [there, weights, model.number(0.0)], path)
    context = model.node("Transpose", [model.node("MatMul", [weights, v], path)], path, perm=[2, 0, 1, 3])
    joined = model.node("Reshape", [context, model.integers(0, 0, features)], path)
    return model.emit(f"{path}out_proj", layer.out_proj, joined)


def _encoder(model: _Exported, path: str, layer: Any, x: str) -> str:
    """A layer of the Transformer's encoder, or all of it."""
    x = model.where_real(path, model.turned(path, layer, x))
    x = _encoded(model, path, layer, x)
    return model.turned(path, layer, model.where_real(path, x))


def _encoded(model: _Exported, path: str, layer: Any, x: str) -> str:
    if isinstance(layer, nn.TransformerEncoder):
        for number, part in enumerate(layer.layers):
            x = _encoded(model, f"{path}layers.{number}.", part, x)
        return x if layer.norm is None else model.emit(f"{path}norm", layer.norm, x)

    def attend(h: str) -> str:
        return _attended(model, f"{path}self_attn.", layer.self_attn, h)

    def feed(h: str) -> str:
        inner = model.emit(f"{path}linear1", layer.linear1, h)
        active = model.node(layer.activation.capitalize(), [inner], path)
        return model.emit(f"{path}linear2", layer.linear2, active)

    def norm(k: int, h: str) -> str:
        return model.emit(f"{path}norm{k}", getattr(layer, f"norm{k}"), h)

    if layer.norm_first:
        x = model.node("Add", [x, attend(norm(1, x))], path)
        return str(model.node("Add", [x, feed(norm(2, x))], path))
    x = norm(1, model.node("Add", [x, attend(x)], path))
    return norm(2, model.node("Add", [x, feed(x)], path))


EMITTERS: dict[type, Callable[[_Exported, str, Any, str], str]] = {
    nn.RNN: _recurrent, nn.LSTM: _recurrent, nn.GRU: _recurrent, nn.IndRNN: _recurrent, nn.RecurrentLayer: _recurrent,
    nn.Linear: _linear, nn.Embedding: _embedding, nn.LayerNorm: _layer_norm, nn.Dropout: _dropout,
    nn.Sequential: _sequential, nn.MultiheadAttention: _attention, nn.TransformerEncoderLayer: _encoder,
    nn.TransformerEncoder: _encoder,
}  # fmt: skip
