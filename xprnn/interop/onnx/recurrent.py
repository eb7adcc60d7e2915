"""Nodes LSTM, GRU and RNN as layers of ours."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn import nn, ops
from xprnn.backend import backend_of, to_numpy
from xprnn.cells import Activation, Cell
from xprnn.interop.onnx.operators import ACTIVATIONS, DEFAULTS, GATES, PEEPHOLES
from xprnn.interop.onnx.parsed import Host, Node
from xprnn.nn.recurrent.stacked import RecurrentLayer
from xprnn.tensor import Tensor

NAMES = {theirs.lower(): ours for ours, theirs in ACTIVATIONS.items()}
OPTIONS = {
    "RNN": ("nonlinearity",), "GRU": ("gate_activation", "activation"),
    "LSTM": ("gate_activation", "activation", "output_activation"),
}  # fmt: skip
DIRECTIONS = {b"forward": 1, b"reverse": 1, b"bidirectional": 2}


def layer_of(node: Node, constants: dict[str, Host]) -> RecurrentLayer:
    """The layer of a node, with its weights. Raises ValueError, naming the node, for what is wrong or not there."""
    w, r = (_weights(node, constants, k, "WR"[k - 1], 3) for k in (1, 2))
    bias, peepholes = _weights(node, constants, 3, "B", 2), _weights(node, constants, 7, "P", 2)
    if w is None or r is None:
        raise node.error("has no weights W or R; expected constants")
    direction = node.attribute("direction", bytes, b"forward")
    if direction not in DIRECTIONS:
        raise node.error(f"has direction {direction!r}")
    directions, gates, size = DIRECTIONS[direction], len(GATES[node.operator]), r.shape[2]
    shapes: dict[str, tuple[int, ...]] = {
        "W": (directions, gates * size, w.shape[2]),
        "R": (directions, gates * size, size),
    }
    shapes |= {"B": (directions, 2 * gates * size), "P": (directions, 3 * size)}
    for name, array in (("W", w), ("R", r), ("B", bias), ("P", peepholes)):
        if array is not None and array.shape != shapes[name]:
            raise node.error(f"has {name} of shape {array.shape}; expected {shapes[name]}")
        if array is not None and array.dtype != w.dtype:
            raise node.error(f"has {name} of dtype {array.dtype}; W has {w.dtype}")
    if node.attribute("hidden_size", int, size) != size:
        raise node.error(f"has hidden_size = {node.attributes['hidden_size']}, but R has {size}")
    options: dict[str, Any] = _activations(node, directions)
    options |= {"clip": node.attribute("clip", float, None), "bias": bias is not None, "dtype": w.dtype.name, "rng": 0}
    if node.operator == "LSTM":
        options |= {"coupled": bool(node.attribute("input_forget", int, 0))}
        options |= {"peephole": None if peepholes is None else "diagonal"}
    if node.operator == "GRU":
        options |= {"reset_after": bool(node.attribute("linear_before_reset", int, 0))}
    options |= {"bidirectional": directions == 2, "reverse": direction == b"reverse"}
    try:
        layer: RecurrentLayer = getattr(nn, node.operator)(w.shape[2], size, **options)
    except ValueError as error:
        raise node.error(f"cannot be a layer: {error}") from error
    for number, weights in enumerate(layer.weights()):
        cell = layer.cell
        found = {"weight_ih": _unpacked(node, cell, w[number]), "weight_hh": _unpacked(node, cell, r[number])}
        if bias is not None:
            halves = np.split(bias[number], 2)
            named = zip(("bias_ih", "bias_hh"), halves, strict=True)
            found |= {name: _unpacked(node, cell, half) for name, half in named}
        if peepholes is not None:
            rows = dict(zip(PEEPHOLES, np.split(peepholes[number], 3), strict=True))
            found["weight_ch"] = np.stack([rows[gate] for gate in getattr(cell, "peepholes", ("i", "f", "o"))])
        for name, array in found.items():
            weights[name].data = backend_of(weights[name].data).asarray(array)
    return layer


def reads(node: Node) -> tuple[str, ...]:
    """The inputs that are no weights: x, lengths, and each part of the state, "" for what is left out."""
    padded = node.inputs + ("",) * 7
    return (padded[0], *padded[4 : 7 if node.operator == "LSTM" else 6])


def weights_of(node: Node) -> tuple[str, ...]:
    """What tells the layer of a node from those of others: which weights it reads, and its attributes."""
    padded = node.inputs + ("",) * 8
    return (node.operator, *padded[1:4], *padded[7:8], repr(sorted(node.attributes.items())))


def run(node: Node, layer: RecurrentLayer, x: Any, lengths: Any, *parts: Any) -> tuple[Tensor, ...]:
    """Y (T, D, B, H), and the final states (D, B, H); with layout 1 (B, T, D, H) and (B, D, H)."""
    turned, directions, size = bool(node.attribute("layout", int, 0)), layer.directions, layer.hidden_size
    x = ops.permute_dims(x, (1, 0, 2)) if turned else x
    state: Any = None
    if any(part is not None for part in parts):
        zeros = Tensor(backend_of(x.data).zeros((directions, x.shape[1], size), layer.dtype))
        given = [zeros if part is None else ops.permute_dims(part, (1, 0, 2)) if turned else part for part in parts]
        state = given[0] if len(given) == 1 else tuple(given)
    y, final = layer(x, state, lengths=None if lengths is None else to_numpy(lengths))
    y = ops.reshape(y, (*y.shape[:2], directions, size))
    y = ops.permute_dims(y, (1, 0, 2, 3) if turned else (0, 2, 1, 3))
    finals = final if isinstance(final, tuple) else (final,)
    return y, *(ops.permute_dims(part, (1, 0, 2)) if turned else part for part in finals)


def _weights(node: Node, constants: dict[str, Host], position: int, name: str, axes: int) -> Host | None:
    given = node.inputs[position] if position < len(node.inputs) else ""
    if not given:
        return None
    if given not in constants:
        raise node.error(f"reads {name} from {given}; expected a constant")
    array = constants[given]
    if array.ndim != axes or array.dtype.kind != "f" or 0 in array.shape:
        raise node.error(f"has {name} of shape {array.shape} and dtype {array.dtype}")
    return array


def _activations(node: Node, directions: int) -> dict[str, Any]:
    """The options of a layer for the activations, pairs where directions differ."""
    options, defaults = OPTIONS[node.operator], DEFAULTS[node.operator]
    count = directions * len(options)
    given = node.attribute("activations", list, [ACTIVATIONS[name].encode() for name in defaults] * directions)
    names = [NAMES.get(one.decode(errors="replace").lower()) if isinstance(one, bytes) else None for one in given]
    if len(given) != count or None in names:
        raise node.error(f"has activations {given}; expected {count} of {', '.join(ACTIVATIONS.values())}")
    constants = {c: iter(node.attribute(f"activation_{c}", list, [])) for c in ("alpha", "beta")}
    found = []
    for name in names:
        default = Activation(str(name))
        # Lists hold a number for each activation that has one, and may end before the last.
        own = {c: next(numbers, None) for c, numbers in constants.items() if getattr(default, c) is not None}
        found.append(Activation(str(name), **own))
    by_direction = [found[d * len(options) : (d + 1) * len(options)] for d in range(directions)]
    pairs = zip(*by_direction, strict=True)
    return {name: pair[0] if len({*pair}) == 1 else pair for name, pair in zip(options, pairs, strict=True)}


def _unpacked(node: Node, cell: Cell, array: Host) -> Host:
    """Blocks of weights in the cell's order; those that it has not are left out."""
    order = GATES[node.operator]
    blocks = dict(zip(order, np.split(array, len(order)), strict=True))
    return np.concatenate([blocks[gate] for gate in cell.gate_names])
