"""Which cell the options of a layer ask for: the plain one, which has kernels, wherever they change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xprnn import cells  # other cells are imported when they are first wanted
from xprnn.arguments import above_zero, each_true_or_false, one_of
from xprnn.cells import (
    GRU,
    LSTM,
    Activation,
    Cell,
    Elman,
    PeepholeLSTM,
    ResetBeforeGRU,
)
from xprnn.cells.activations import FUNCTIONS

ActivationLike = str | Activation
PerDirection = ActivationLike | tuple[ActivationLike, ActivationLike]
"""An activation, or a pair of them: forward in time, and in reverse."""

SIGMOID, TANH = Activation("sigmoid"), Activation("tanh")


def rnn_cell(owner: str, nonlinearity: ActivationLike, clip: float | None) -> Cell:
    """Elman's network with the options asked for."""
    f, clip = _activation(owner, "nonlinearity", nonlinearity), _clip(owner, clip)
    if clip is None and f in (TANH, Activation("relu")):
        return Elman(f.name)
    return cells.GeneralElman(f, clip=clip)


def lstm_cell(
    owner: str,
    peephole: str | None,
    gate_activation: ActivationLike = SIGMOID,
    activation: ActivationLike = TANH,
    output_activation: ActivationLike | None = None,
    clip: float | None = None,
    coupled: bool = False,
    layer_norm: bool = False,
) -> Cell:
    """The LSTM with the peepholes and options asked for."""
    coupled, layer_norm = each_true_or_false(owner, coupled=coupled, layer_norm=layer_norm)
    plain: dict[str | None, Callable[[], Cell]] = {
        None: LSTM,
        "diagonal": PeepholeLSTM,
        "full": lambda: cells.FullPeepholeLSTM(),
    }
    if not isinstance(peephole, (str, type(None))) or peephole not in plain:
        raise ValueError(f"{owner}: peephole is {peephole!r}; expected None, 'diagonal' or 'full'")
    gate, candidate = (
        _activation(owner, name, given)
        for name, given in (("gate_activation", gate_activation), ("activation", activation))
    )
    output = candidate if output_activation is None else _activation(owner, "output_activation", output_activation)
    clip = _clip(owner, clip)
    if (gate, candidate, output) == (SIGMOID, TANH, TANH) and clip is None and not coupled:
        if layer_norm and peephole is not None:
            raise ValueError(f"{owner}: layer_norm=True goes with no peephole")
        return cells.LayerNormLSTM() if layer_norm else plain[peephole]()
    if layer_norm:
        raise ValueError(f"{owner}: layer_norm=True goes with no other activation, clip or coupling")
    if peephole == "full":
        raise ValueError(f"{owner}: peephole='full' goes with no other activation, clip or coupling")
    return cells.GeneralLSTM(gate, candidate, output, clip=clip, coupled=coupled, peephole=peephole is not None)


def gru_cell(
    owner: str,
    reset_after: bool,
    gate_activation: ActivationLike,
    activation: ActivationLike,
    clip: float | None,
    layer_norm: bool,
) -> Cell:
    """The GRU with the options asked for."""
    reset_after, layer_norm = each_true_or_false(owner, reset_after=reset_after, layer_norm=layer_norm)
    gate = _activation(owner, "gate_activation", gate_activation)
    candidate, clip = _activation(owner, "activation", activation), _clip(owner, clip)
    if layer_norm:
        if (gate, candidate) != (SIGMOID, TANH) or clip is not None or not reset_after:
            raise ValueError(f"{owner}: layer_norm=True goes with reset_after=True, and no other activation or clip")
        return cells.LayerNormGRU()
    if (gate, candidate) == (SIGMOID, TANH) and clip is None:
        return GRU() if reset_after else ResetBeforeGRU()
    return (cells.GeneralGRU if reset_after else cells.GeneralResetBeforeGRU)(gate, candidate, clip=clip)


def for_directions(
    owner: str, bidirectional: bool, make: Callable[..., Cell], **activations: Any
) -> Cell | tuple[Cell, Cell]:
    """``make(**activations)``: one cell, or where an activation is given as a pair, one for each direction."""
    pairs = {name: given for name, given in activations.items() if isinstance(given, (tuple, list))}
    for name, given in pairs.items():
        if not bidirectional or len(given) != 2:
            raise ValueError(
                f"{owner}: {name} is {given!r}; expected one activation, or with bidirectional=True a pair of them"
            )
    if not pairs:
        return make(**activations)
    one, other = (make(**activations | {name: given[k] for name, given in pairs.items()}) for k in (0, 1))
    return one, other


def _activation(owner: str, name: str, given: ActivationLike) -> Activation:
    return given if isinstance(given, Activation) else Activation(one_of(owner, name, given, FUNCTIONS))


def _clip(owner: str, clip: float | None) -> float | None:
    return None if clip is None else above_zero(owner, "clip", clip)
