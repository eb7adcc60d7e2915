"""Recurrent layers as nodes LSTM, GRU and RNN."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn.interop.naming import called
from xprnn.interop.onnx.exported import BATCH, Exported
from xprnn.interop.onnx.operators import Operator, attributes_of, operator_of, packed, packed_peepholes


def recurrent(model: Exported, path: str, layer: Any, x: str) -> str:
    owner, graph = called(path[:-1], layer), model.graph
    if layer.zoned:
        raise ValueError(f"to_model: {owner} has zoneout, which ONNX has not")
    cells = [layer.cell, layer.reverse_cell or layer.cell][: layer.directions]
    operators: list[Operator] = []
    for cell in cells:
        operator = operator_of(cell)
        if isinstance(operator, str):
            raise ValueError(f"to_model: {owner} {operator}")
        operators.append(operator)
    if len({(one.name, one.clip, one.linear_before_reset, one.coupled) for one in operators}) > 1:
        raise ValueError(f"to_model: {owner} has directions that differ in more than their activations")
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
            # A sequence without steps keeps its initial state, where ONNX Runtime has zero.
            part.append(model.where_some(path, one, before[number]) if model.states else one)
        if directions == 1:
            y = model.node("Squeeze", [sequence, model.integers(1)], path)
        else:
            beside = model.node("Transpose", [sequence], path, perm=[0, 2, 1, 3])
            y = model.node("Reshape", [beside, model.integers(0, 0, directions * layer.hidden_size)], path)
    for label, size, part in zip(layer.state_names, layer.state_sizes, finals, strict=True):
        whole = part[0] if layers == 1 else model.node("Concat", part, path, axis=0)
        model.final(f"{path}{label}_n", whole, layers * directions, size)
    return model.turned(path, layer, y)


def _initial_states(model: Exported, path: str, layer: Any) -> list[list[str]]:
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
