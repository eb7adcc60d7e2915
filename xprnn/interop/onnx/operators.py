"""Our cells in the words of ONNX's operators LSTM, GRU and RNN (version 22)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xprnn.cells import (
    GRU,
    LSTM,
    Activation,
    Cell,
    Elman,
    GeneralElman,
    GeneralGRU,
    GeneralLSTM,
    GeneralResetBeforeGRU,
    PeepholeLSTM,
    ResetBeforeGRU,
)

GATES = {"LSTM": ("i", "o", "f", "g"), "GRU": ("z", "r", "n"), "RNN": ("h",)}
"""The blocks of weights in an operator's order, by our names."""

PEEPHOLES = ("i", "o", "f")

ACTIVATIONS = {
    "sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "affine": "Affine", "leaky_relu": "LeakyRelu",
    "thresholded_relu": "ThresholdedRelu", "scaled_tanh": "ScaledTanh", "hard_sigmoid": "HardSigmoid", "elu": "Elu",
    "softsign": "Softsign", "softplus": "Softplus",
}  # fmt: skip
"""By our names."""

PLAIN = {LSTM: ("LSTM", 0), PeepholeLSTM: ("LSTM", 0), GRU: ("GRU", 1), ResetBeforeGRU: ("GRU", 0)}
GENERAL = {
    GeneralElman: ("RNN", ("h",), 0), GeneralLSTM: ("LSTM", ("i", "g", "output"), 0),
    GeneralGRU: ("GRU", ("z", "n"), 1), GeneralResetBeforeGRU: ("GRU", ("z", "n"), 0),
}  # fmt: skip
DEFAULTS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}


class Operator(NamedTuple):
    """Which operator a cell is, and how."""

    name: str
    activations: tuple[Activation, ...]
    clip: float | None
    linear_before_reset: int
    """1 for a GRU whose reset gate comes after the product."""
    coupled: bool


def operator_of(cell: Cell) -> Operator | str:
    """The operator of a cell, by its exact type; or why it has none."""
    kind = type(cell)
    if isinstance(cell, Elman) and kind is Elman:
        return Operator("RNN", (Activation(cell.nonlinearity),), None, 0, False)
    if kind in PLAIN:
        name, after = PLAIN[kind]
        return Operator(name, tuple(map(Activation, DEFAULTS[name])), None, after, False)
    if kind not in GENERAL:
        return f"is made of {cell.name}, for which ONNX has no operator"
    name, places, after = GENERAL[kind]
    own: dict[str, Activation] = cell.activations  # type: ignore[attr-defined]  # as all that are general
    found, clip = tuple(own[place] for place in places), own[places[0]].clip
    if any(one.clip != (None if place == "output" else clip) for place, one in own.items()):
        return "clips each activation at another number, which ONNX cannot say"
    plain = tuple(_said(one) for one in found)
    if unsaid := [one.name for one in plain if one.name not in ACTIVATIONS]:
        return f"has activation {unsaid[0]}, which is none of ONNX's"
    return Operator(name, plain, clip, after, getattr(cell, "coupled", False))


def _said(one: Activation) -> Activation:
    """The activation without its clip, by a name that ONNX has, where it has another."""
    if one.name == "linear":
        return Activation("affine", 1.0, 0.0)
    return Activation("hard_sigmoid" if one.name == "torch_hard_sigmoid" else one.name, one.alpha, one.beta)


def attributes_of(operators: list[Operator], hidden_size: int, direction: str) -> dict[str, Any]:
    """The attributes of a node for one operator, or for one a direction."""
    first, activations = operators[0], [one for operator in operators for one in operator.activations]
    attributes: dict[str, Any] = {"hidden_size": hidden_size, "direction": direction}
    if [one.name for one in activations] != [*DEFAULTS[first.name]] * len(operators):
        attributes["activations"] = [ACTIVATIONS[one.name] for one in activations]
    for constant in ("alpha", "beta"):  # of those that have one, in their order
        if given := [value for one in activations if (value := getattr(one, constant)) is not None]:
            attributes[f"activation_{constant}"] = given
    if first.clip is not None:
        attributes["clip"] = first.clip
    if first.name == "GRU":
        attributes["linear_before_reset"] = first.linear_before_reset
    if first.coupled:
        attributes["input_forget"] = 1
    return attributes


def packed(name: str, cell: Cell, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Blocks of weights in the operator's order, zeros for those that the cell has not."""
    size = len(array) // cell.gates
    zeros = np.zeros((size, *array.shape[1:]), array.dtype)
    blocks = {gate: array[cell.gate_rows(gate, size)] for gate in cell.gate_names}
    return np.concatenate([blocks.get(gate, zeros) for gate in GATES[name]])


def packed_peepholes(cell: Cell, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """weight_ch (2 or 3, H) as one row in the operator's order."""
    rows = dict(zip(getattr(cell, "peepholes", ("i", "f", "o")), array, strict=True))
    return np.concatenate([rows.get(gate, np.zeros_like(array[0])) for gate in PEEPHOLES])
