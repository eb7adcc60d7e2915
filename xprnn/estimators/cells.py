"""The recurrent layers and poolings of estimators: the names users give them, and the parameters they have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from xprnn.backend import Rng
from xprnn.cells import DiagonalCell
from xprnn.nn.pooling import AttentionPooling, LastPooling, MaxPooling, MeanPooling, Pooling
from xprnn.nn.recurrent.layers import GRU, LAYERS, LSTM, IndRNN
from xprnn.nn.recurrent.linear_layers import LRU, QRNN, S5, SRU, MinGRU, MinLSTM
from xprnn.nn.recurrent.memory_layers import LMU, MLSTM
from xprnn.nn.recurrent.stacked import RecurrentLayer

CELLS: dict[str, Callable[..., RecurrentLayer]] = {
    **{name.lower(): layer for name, layer in LAYERS.items()},
    "indrnn": IndRNN,
    "gru_reset_before": partial(GRU, reset_after=False),
    "lstm_peephole": partial(LSTM, peephole="diagonal"),
    "lstm_peephole_full": partial(LSTM, peephole="full"),
    "gru_layer_norm": partial(GRU, layer_norm=True),
    "lstm_layer_norm": partial(LSTM, layer_norm=True),
    "mingru": MinGRU,
    "minlstm": MinLSTM,
    "qrnn": QRNN,
    "sru": SRU,
    "lru": LRU,
    "s5": S5,
    "lmu": LMU,
    "mlstm": partial(MLSTM, heads=1),
}
POOLINGS = ("attention", "last", "max", "mean")
Shapes = Iterator[tuple[str, tuple[int, ...]]]
"""The names and shapes of a network's parameters, one after the other."""


def recurrent_shapes(prefix: str, cell: str, inputs: int, hidden: int, layers: int, directions: int = 1) -> Shapes:
    """Those of a recurrent layer, without building it: a file may declare one that no memory holds."""
    equations = CELLS[cell](1, 1, rng=0).cell
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
