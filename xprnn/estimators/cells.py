"""The recurrent layers and poolings of estimators: the names users give them, and the parameters they have."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

from xprnn import nn
from xprnn.arguments import one_of
from xprnn.cells import DiagonalCell
from xprnn.nn.pooling import AttentionPooling, LastPooling, MaxPooling, MeanPooling, Pooling
from xprnn.nn.recurrent.layers import GRU, LSTM, RNN
from xprnn.nn.recurrent.stacked import RecurrentLayer
from xprnn.randomness import Rng

Made = Callable[..., RecurrentLayer]
ASKED = ("num_layers", "dropout", "bidirectional", "dtype", "rng")
"""The arguments that estimators give a layer, beside its sizes."""

PLAIN: Mapping[str, Made] = {
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
    "gru_reset_before": partial(GRU, reset_after=False),
    "lstm_peephole": partial(LSTM, peephole="diagonal"),
    "lstm_peephole_full": partial(LSTM, peephole="full"),
    "gru_layer_norm": partial(GRU, layer_norm=True),
    "lstm_layer_norm": partial(LSTM, layer_norm=True),
}
"""The plain layers and their variants, which need no further import."""


def _layers() -> Iterator[type[RecurrentLayer]]:
    """Every layer of cells over time that users have."""
    others = {name for room, names in nn.LATER.items() if not room.startswith("recurrent.") for name in names.split()}
    for name in nn.__all__:
        layer = None if name in others else getattr(nn, name)
        if isinstance(layer, type) and issubclass(layer, RecurrentLayer) and layer is not RecurrentLayer:
            yield layer


def _lacks(layer: type[RecurrentLayer]) -> list[str]:
    """The arguments of ASKED that a layer lacks."""
    return [option for option in ASKED if option not in inspect.signature(layer).parameters]


@cache
def cells() -> Mapping[str, Made]:
    """All cells: the plain ones, then others by a layer's name in small letters, where it has all that is asked for."""
    others = {layer.__name__.lower(): layer for layer in _layers() if not _lacks(layer)}
    return {**PLAIN, **others, "mlstm": partial(nn.MLSTM, heads=1)}


@cache
def refused() -> Mapping[str, tuple[str, str]]:
    """The layers that are no cells here, and what they lack first."""
    return {layer.__name__.lower(): (layer.__name__, lacks[0]) for layer in _layers() if (lacks := _lacks(layer))}


def layer_of(cell: str) -> Made:
    """The layer of a cell's name."""
    return PLAIN[cell] if cell in PLAIN else cells()[cell]


def cell_name(owner: str, name: str, cell: Any) -> str:
    """The check of a cell's name. For other layers its error says why they cannot be one."""
    if isinstance(cell, str) and cell in PLAIN:
        return str(cell)
    if isinstance(cell, str) and cell in refused():
        layer, lacks = refused()[cell]
        raise ValueError(f"{owner}: {name} is {cell!r}, but nn.{layer} has no {lacks}, which estimators ask for")
    return one_of(owner, name, cell, cells())


POOLINGS = ("attention", "last", "max", "mean")
Shapes = Iterator[tuple[str, tuple[int, ...]]]
"""The names and shapes of a network's parameters, one after the other."""


def recurrent_shapes(prefix: str, cell: str, inputs: int, hidden: int, layers: int, directions: int = 1) -> Shapes:
    """The parameters of a recurrent layer, without building it: a file may declare one too large for memory."""
    equations = layer_of(cell)(1, 1, rng=0).cell
    if isinstance(equations, DiagonalCell):  # which has a state of its own size, by default that of h
        equations = type(equations)(hidden)
    for layer in range(layers):
        shapes = equations.weight_shapes(inputs if layer == 0 else directions * hidden, hidden)
        for suffix in ("", "_reverse")[:directions]:
            yield from ((f"{prefix}{name}_l{layer}{suffix}", shape) for name, shape in shapes.items())


def pooling_of(name: str, features: int, bidirectional: bool, dtype: str, rng: Rng) -> Pooling:
    """The pooling of a name, over features of a layer in one or both directions."""
    if name == "attention":
        return AttentionPooling(features, dtype=dtype, rng=rng)
    if name == "last":
        return LastPooling(bidirectional)
    return MaxPooling() if name == "max" else MeanPooling()


def pooling_shapes(prefix: str, name: str, features: int) -> Shapes:
    """The parameters of that pooling."""
    if name == "attention":
        yield from ((f"{prefix}hidden.weight", (features, features)), (f"{prefix}hidden.bias", (features,)))
        yield f"{prefix}score.weight", (1, features)
