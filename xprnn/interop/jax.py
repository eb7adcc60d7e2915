"""Layers from the weights of JAX's libraries: cells of Flax (linen and nnx) and of Equinox.

Nothing of JAX is imported; any arrays will do, and they are copied. Arrays themselves go both ways without a copy on
the CPU: ``numpy.from_dlpack(a)`` and ``jax.numpy.from_dlpack(b)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xprnn.backend import to_numpy
from xprnn.nn.recurrent.layers import LAYERS
from xprnn.nn.recurrent.stacked import RecurrentLayer

__all__ = ["from_equinox", "from_flax"]

Host = np.ndarray[Any, Any]
KINDS = {4: "LSTM", 3: "GRU", 1: "RNN"}  # by the number of gate blocks
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
GATES = {"LSTM": "ifgo", "GRU": "rzn", "RNN": [""]}


def from_flax(*cells: Any) -> RecurrentLayer:
    """An LSTM, GRU or RNN with the weights of Flax's LSTMCell, OptimizedLSTMCell, GRUCell or SimpleCell.

    Each cell is the ``params`` of a linen module, an RNN around it too, or a module of nnx or its state. Of several the
    layer is a stack. The activations are taken to be Flax's own: sigmoid of gates, else tanh.

    Raises ValueError for parameters of other cells, for cells of different kinds or sizes, and for none at all.
    """
    return _stack("jax.from_flax", [_of_flax(cell) for cell in cells])


def from_equinox(*cells: Any) -> RecurrentLayer:
    """An LSTM or GRU with the weights of Equinox's LSTMCell or GRUCell; of several a stack.

    Raises ValueError for objects without their arrays, for cells of different kinds or sizes, and for none at all.
    """
    return _stack("jax.from_equinox", [_of_equinox(cell) for cell in cells])


def _of_flax(cell: Any) -> tuple[Host, Host, Host, Host]:
    """weight_ih, weight_hh, bias_ih, bias_hh."""
    for around in ("params", "cell"):
        if (inside := _part(cell, around)) is not None:
            cell = inside
    if _part(cell, "dense_i") is not None:  # nnx has all gates in one
        pairs = [("dense_i", "dense_h")]
    else:
        kinds = [kind for kind, gates in GATES.items() if all(_part(cell, f"h{gate}") is not None for gate in gates)]
        if not kinds:
            raise ValueError("jax.from_flax: a cell has not the parameters of LSTMCell, GRUCell or SimpleCell")
        pairs = [(f"i{gate}", f"h{gate}") for gate in GATES[kinds[0]]]
    known = {f"{name}{end}" for pair in pairs for name in pair for end in ("", "_")}
    if isinstance(cell, Mapping) and (more := [name for name in cell if name not in known and _weighs(cell[name])]):
        raise ValueError(f"jax.from_flax: a cell has {more[0]} too, which no LSTMCell, GRUCell or SimpleCell has")
    inputs, hidden = ([_dense(cell, name) for name in names] for names in zip(*pairs, strict=True))
    (w_ih, b_ih), (w_hh, b_hh) = (map(np.concatenate, zip(*each, strict=True)) for each in (inputs, hidden))
    return w_ih, w_hh, b_ih, b_hh


def _dense(cell: Any, name: str) -> tuple[Host, Host]:
    """A kernel, turned, and a bias, of zeros where there is none."""
    dense = _part(cell, name)
    if dense is None:
        dense = _part(cell, f"{name}_")  # "if" is a word of Python, which nnx avoids
    kernel, bias = _part(dense, "kernel"), _part(dense, "bias")
    if kernel is None:
        raise ValueError(f"jax.from_flax: a cell has no {name}.kernel")
    weight = _matrix("jax.from_flax", f"{name}.kernel", kernel).T
    return weight, np.zeros(len(weight), weight.dtype) if bias is None else _host(bias)


def _weighs(part: Any) -> bool:
    """Whether it is an array, or a layer of arrays by the names that Flax gives them."""
    return hasattr(part, "shape") or any(_part(part, name) is not None for name in ("kernel", "scale", "bias"))


def _part(holder: Any, name: str) -> Any:
    """A part of a mapping or an object; None where there is none, or where it is said to be None."""
    if isinstance(holder, Mapping):
        return holder[name] if name in holder else None  # noqa: SIM401 - nnx's State has no get
    return getattr(holder, name, None)


def _of_equinox(cell: Any) -> tuple[Host, Host, Host, Host]:
    missing = [name for name in ("weight_ih", "weight_hh") if getattr(cell, name, None) is None]
    if missing:
        raise ValueError(f"jax.from_equinox: a {type(cell).__name__} has no {missing[0]}; expected LSTMCell or GRUCell")
    w_ih, w_hh = (_matrix("jax.from_equinox", name, getattr(cell, name)) for name in ("weight_ih", "weight_hh"))
    b_ih = np.zeros(len(w_ih), w_ih.dtype) if cell.bias is None else _host(cell.bias)
    b_hh = np.zeros_like(b_ih)
    if (last := getattr(cell, "bias_n", None)) is not None:
        if last.shape != (w_hh.shape[1],):
            raise ValueError(f"jax.from_equinox: bias_n has shape {last.shape}; expected ({w_hh.shape[1]},)")
        b_hh[-len(last) :] = _host(last)
    return w_ih, w_hh, b_ih, b_hh


def _matrix(owner: str, name: str, array: Any) -> Host:
    host = _host(array)
    if host.ndim != 2 or 0 in host.shape:
        raise ValueError(f"{owner}: {name} has shape {host.shape}; expected two axes, neither of them empty")
    return host


def _host(array: Any) -> Host:
    return to_numpy(array[...] if hasattr(array, "set_value") else array)


def _stack(owner: str, cells: Sequence[tuple[Host, Host, Host, Host]]) -> RecurrentLayer:
    if not cells:
        raise ValueError(f"{owner}: no cells were given")
    inputs, hidden = cells[0][0].shape[1], cells[0][1].shape[1]
    rows = cells[0][1].shape[0]
    kind = KINDS.get(rows // hidden, "") if rows % hidden == 0 else ""
    state: dict[str, Host] = {}
    for number, cell in enumerate(cells):
        expected = (rows, inputs if number == 0 else hidden), (rows, hidden)
        came = cell[0].shape, cell[1].shape
        if not kind or came != expected:
            raise ValueError(
                f"{owner}: cell {number} has weights of shapes {came[0]} and {came[1]}; expected a stack of "
                f"cells of one kind, each of {hidden} units, which take what the one before gives"
            )
        state |= dict(zip((f"{name}_l{number}" for name in NAMES), cell, strict=True))
    dtype = "float64" if any(a.dtype == np.float64 for cell in cells for a in cell) else "float32"
    layer = LAYERS[kind](inputs, hidden, len(cells), dtype=dtype, rng=0)
    layer.load_state_dict(state)
    return layer
