"""Models of RTNeural, which runs small networks in audio plugins (https://github.com/jatinchowdhury18/RTNeural).

Its files are JSON: ``in_shape`` and ``layers`` of ``type``, ``activation``, ``shape`` and ``weights``, as its exporter
writes them of a Keras model; the last number of a shape counts. Of its layers these are known: lstm, gru, dense,
time-distributed-dense, activation; and of its activations tanh, relu, sigmoid, softmax.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np

from xprnn.arguments import float_dtype, whole_number
from xprnn.cells import GRU as GRUSpec
from xprnn.cells import LSTM as LSTMSpec
from xprnn.interop.chain import Stage, arrays, stages
from xprnn.interop.json_files import array, entry, opened, parsed, write_json
from xprnn.interop.keras_weights import from_keras, to_keras, weight_shapes
from xprnn.nn.activations import Activation, ReLU, Sigmoid, Softmax, Tanh
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.nn.recurrent.layers import GRU, LSTM
from xprnn.nn.recurrent.stacked import RecurrentLayer
from xprnn.nn.sequential import Sequential
from xprnn.whole_files import Path_

__all__ = ["load", "save"]

RECURRENT: dict[str, tuple[type[LSTM | GRU], LSTMSpec | GRUSpec]] = {
    "lstm": (LSTM, LSTMSpec()),
    "gru": (GRU, GRUSpec()),
}
DENSE = ("dense", "time-distributed-dense")
ACTIVATIONS: dict[str, type[Activation]] = {"tanh": Tanh, "relu": ReLU, "sigmoid": Sigmoid, "softmax": Softmax}


def load(path: Path_, *, dtype: str = "float32") -> Sequential:
    """The model in a file of RTNeural. Layers of one kind and size that follow each other become one stacked layer.

    x (T, B, I) to y (T, B, O), as any module; for audio sample by sample, where it is a layer and a Linear,
    ``model[0].stream(head=model[1])``.

    Raises OSError where the file cannot be read; ValueError, naming it, where it is no such file, or holds layers or
    activations of other kinds, shapes that do not fit, or numbers that are not finite.
    """
    dtype = float_dtype("rtneural.load", dtype)
    with opened("rtneural.load", path) as content:
        return Sequential(*_modules(parsed(content), dtype))


def _modules(found: dict[str, Any], dtype: str) -> Iterator[Module]:
    width = _last("in_shape", entry(found, "in_shape", list))
    layers: list[tuple[str, int, int, Any]] = []  # what it is, inputs, outputs, weights
    for number, layer in enumerate(entry(found, "layers", list)):
        where = f"layer {number}: "
        kind = entry(layer, "type", str, where)
        outputs = _last(f"{where}shape", entry(layer, "shape", list, where))
        activation = entry({"activation": ""} | layer, "activation", str, where)
        weights = entry(layer, "weights", list, where)
        if kind in RECURRENT:
            if activation not in ("", "tanh"):
                raise ValueError(f"{where}{kind} has activation {activation!r}; expected 'tanh'")
            shapes = weight_shapes(RECURRENT[kind][1], width, outputs)
            layers.append((kind, width, outputs, _read(where, weights, shapes, dtype)))
        elif kind in DENSE:
            shapes = {"kernel": (width, outputs), "bias": (outputs,)}
            layers.append(("dense", width, outputs, _read(where, weights, shapes, dtype, len(weights) == 1)))
        elif kind != "activation":
            known = ", ".join([*RECURRENT, *DENSE, "activation"])
            raise ValueError(f"{where}type is {kind!r}; expected one of {known}")
        if kind not in RECURRENT and activation:
            if activation not in ACTIVATIONS:
                raise ValueError(f"{where}activation is {activation!r}; expected one of {', '.join(ACTIVATIONS)}")
            layers.append((activation, outputs, outputs, None))
        if kind == "activation" and outputs != width:
            raise ValueError(f"{where}shape ends in {outputs}; expected {width}, as it came in")
        width = outputs
    for _, group in groupby(enumerate(layers), lambda each: each[1][0] if each[1][0] in RECURRENT else each[0]):
        yield from _built([layer for _, layer in group], dtype)


def _last(name: str, shape: list[Any]) -> int:
    if not shape:
        raise ValueError(f"{name} is empty; expected a number of inputs at its end")
    return whole_number(name, "its last entry", shape[-1])


def _read(
    where: str, weights: list[Any], shapes: dict[str, tuple[int, ...]], dtype: str, without_bias: bool = False
) -> list[np.ndarray[Any, Any]]:
    names = [name for name in shapes if not (without_bias and name == "bias")]
    if len(weights) != len(names):
        raise ValueError(f"{where}weights are {len(weights)} arrays; expected {len(names)}: {', '.join(names)}")
    return [array(f"{where}{name}", a, shapes[name], dtype) for name, a in zip(names, weights, strict=True)]


def _built(layers: list[tuple[str, int, int, Any]], dtype: str) -> Iterator[Module]:
    """The module of one layer, or of several recurrent ones of a kind, as many as have one size."""
    kind, inputs, outputs, weights = layers[0]
    if kind in ACTIVATIONS:
        yield ACTIVATIONS[kind]()
    elif kind == "dense":
        linear = Linear(inputs, outputs, len(weights) == 2, dtype=dtype, rng=0)
        linear.load_state_dict(dict(zip(("weight", "bias"), (weights[0].T, *weights[1:]), strict=False)))
        yield linear
    else:
        build, cell = RECURRENT[kind]
        for hidden, group in groupby(layers, lambda layer: layer[2]):
            stack = list(group)
            recurrent = build(stack[0][1], hidden, len(stack), dtype=dtype, rng=0)
            recurrent.load_state_dict(
                {
                    f"{name}_l{number}": a
                    for number, (*_, read) in enumerate(stack)
                    for name, a in from_keras(cell, read).items()
                }
            )
            yield recurrent


def save(model: Module, path: Path_) -> None:
    """Write a recurrent layer, a Linear, or a Sequential of LSTM, GRU, Linear and activations, for RTNeural to run.

    A stacked layer becomes several, a Linear's activation stands with it, Dropout is left out, and a layer without bias
    has one of zeros; the two biases of an LSTM become their sum. Numbers keep all their digits. The state that RTNeural
    begins with is zero.

    Raises ValueError, by name, for what the format cannot say: other cells (GRU with ``reset_after=False``, peepholes,
    projections), both directions, other modules.
    """
    chain = stages("rtneural.save", model)
    layers: list[dict[str, Any]] = []
    for stage in chain:
        layers += _written(stage, layers)
    write_json("rtneural.save", path, {"in_shape": [None, None, chain[0].inputs], "layers": layers})


def _written(stage: Stage, before: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The entries of one module; an activation goes into that of a dense layer before it, if it has none yet."""
    module, shape = stage.module, [None, None, stage.outputs]
    if isinstance(module, RecurrentLayer):
        kinds = [kind for kind, (_, cell) in RECURRENT.items() if type(cell) is type(module.cell)]
        if not kinds:
            raise ValueError(f"rtneural.save: {stage.name} is of {module.cell.name}; RTNeural has LSTM and GRU alone")
        for weights in module.weights():
            numbers = [a.tolist() for a in to_keras(module.cell, arrays(weights))]
            yield {"type": kinds[0], "activation": "tanh", "shape": shape, "weights": numbers}
    elif isinstance(module, Linear):
        held = arrays({"weight": module.weight, "bias": module.bias})
        bias = held.get("bias", np.zeros(stage.outputs))
        yield {"type": "dense", "activation": "", "shape": shape, "weights": [held["weight"].T.tolist(), bias.tolist()]}
    else:
        names = [name for name, kind in ACTIVATIONS.items() if type(module) is kind]
        if not names:
            raise ValueError(f"rtneural.save: {stage.name} is none of {', '.join(ACTIVATIONS)}")
        if before and before[-1]["type"] == "dense" and not before[-1]["activation"]:
            before[-1]["activation"] = names[0]
        else:
            yield {"type": "activation", "activation": names[0], "shape": shape, "weights": []}
