"""A cell in the terms of kernels: its number in their table of kinds, and what it tells them of itself."""

from __future__ import annotations

import math
from typing import Any

from xprnn.cells import (
    GRU,
    LSTM,
    Activation,
    Cell,
    Elman,
    IndRNN,
    PeepholeLSTM,
    Projected,
    ResetBeforeGRU,
    Weights,
)
from xprnn.kernels import kinds

NUMBERS: dict[type[Cell], int] = {
    LSTM: kinds.LSTM,
    PeepholeLSTM: kinds.PEEPHOLE,
    GRU: kinds.GRU,
    ResetBeforeGRU: kinds.RESET_BEFORE,
}
Kind = kinds.Kind
BY_NONLINEARITY: dict[type[Cell], dict[str, int]] = {
    Elman: {"tanh": kinds.TANH, "relu": kinds.RELU},
    IndRNN: {"tanh": kinds.IND_TANH, "relu": kinds.IND_RELU},
}
OTHERS: dict[tuple[str, str | None], int] = {
    ("xprnn.cells.layer_norm_lstm.LayerNormLSTM", None): kinds.NORM_LSTM,
    ("xprnn.cells.layer_norm_gru.LayerNormGRU", None): kinds.NORM_GRU,
    ("xprnn.cells.mgu.MGU", None): kinds.MGU,
    ("xprnn.cells.leaky.CTRNN", "tanh"): kinds.LEAKY_TANH,
    ("xprnn.cells.leaky.CTRNN", "relu"): kinds.LEAKY_RELU,
    ("xprnn.cells.leaky.Antisymmetric", "tanh"): kinds.LEAKY_TANH,
    ("xprnn.cells.leaky.GatedAntisymmetric", None): kinds.GATED_LEAKY,
    ("xprnn.cells.slstm.SLSTM", "sigmoid"): kinds.SLSTM,
    ("xprnn.cells.slstm.SLSTM", "exp"): kinds.SLSTM_EXP,
}
"""By the name of a type, which is imported only where somebody uses it, and by the option that its cells have."""

OPTIONS = {"nonlinearity", "keep", "rate", "num_heads", "forget"}
"""The attributes that cells of OTHERS may have."""

GENERAL: dict[tuple[str, bool], tuple[int, tuple[str, ...]]] = {
    ("xprnn.cells.general_elman.GeneralElman", False): (kinds.GENERAL_RNN, ("h",)),
    ("xprnn.cells.general_lstm.GeneralLSTM", False): (kinds.GENERAL_LSTM, ("i", "f", "g", "o", "output")),
    ("xprnn.cells.general_lstm.GeneralLSTM", True): (kinds.COUPLED_LSTM, ("i", "g", "o", "output")),
    ("xprnn.cells.general_gru.GeneralGRU", False): (kinds.GENERAL_GRU, ("r", "z", "n")),
    ("xprnn.cells.general_gru.GeneralResetBeforeGRU", False): (kinds.GENERAL_RESET_BEFORE, ("r", "z", "n")),
}
"""By the name of a type and whether gates are coupled: the kind, and where functions are chosen, in order."""

GENERAL_OPTIONS = {"activations", "coupled", "peephole", "gate_names", "gates"}
"""The attributes that cells of GENERAL may have."""

LINEAR: dict[tuple[str, str | None], int] = {
    ("xprnn.cells.mingru.MinGRU", "linear"): kinds.MINGRU,
    ("xprnn.cells.mingru.MinGRU", "log"): kinds.MINGRU_LOG,
    ("xprnn.cells.minlstm.MinLSTM", "linear"): kinds.MINLSTM,
    ("xprnn.cells.minlstm.MinLSTM", "log"): kinds.MINLSTM_LOG,
    ("xprnn.cells.sru.SRU", None): kinds.SRU,
    ("xprnn.cells.qrnn.QRNN", None): kinds.QRNN,
}

LINEAR_OPTIONS = {"space", "window", "late", "state_names"}
"""The attributes that cells of LINEAR may have."""


def number_of(cell: Cell) -> int | None:
    """The number of a cell's kind, or None. Types must match exactly: a subclass, or an object with further attributes,
    may compute something else.
    """
    own, by_nonlinearity = vars(cell), BY_NONLINEARITY.get(type(cell))
    if by_nonlinearity is not None:
        return by_nonlinearity.get(own["nonlinearity"]) if len(own) == 1 else None
    number = None if own else NUMBERS.get(type(cell))
    if number is None and own.keys() <= OPTIONS:
        return OTHERS.get((_type_name(cell), own.get("forget", own.get("nonlinearity"))))
    return _general_number(cell) if number is None and "activations" in own else number


def _general_number(cell: Any) -> int | None:
    """The kind of a cell whose activations are chosen, if kernels have all of them."""
    own = vars(cell)
    number, names = GENERAL.get((_type_name(cell), own.get("coupled", False)), (None, ()))
    if number is None or own.get("peephole") or not own.keys() <= GENERAL_OPTIONS:
        return None
    gates, chosen = kinds.KINDS[number].gates, cell.activations
    if (tuple(chosen), cell.gate_names, cell.gates) != (names, names[:gates], gates):
        return None
    known = all(type(each) is Activation and each.name in kinds.FUNCTIONS for each in chosen.values())
    return number if known else None


def _function(chosen: Activation) -> kinds.Function:
    """An activation as the numbers that kernels read."""
    alpha, beta, clip = chosen.alpha, chosen.beta, chosen.clip
    return kinds.Function(kinds.FUNCTIONS[chosen.name], alpha or 0.0, beta or 0.0, math.inf if clip is None else clip)


def linear_number_of(cell: Cell) -> int | None:
    """The kind of a linear cell whose coefficients kernels compute as they go, or None."""
    own = vars(cell)
    if not own.keys() <= LINEAR_OPTIONS:  # as in number_of
        return None
    return LINEAR.get((_type_name(cell), own.get("space")))


PLAIN, PROJECTED = LSTM(), vars(Projected(LSTM(), 1)).keys()


def inside(cell: Cell) -> Cell:
    """The cell that another is but for more products in a step: that inside a projected one, and of full peepholes the
    plain LSTM; by exact types as in :func:`number_of`. Any other cell is itself.
    """
    if type(cell) is Projected and vars(cell).keys() == PROJECTED:
        cell = cell.cell
    full = not vars(cell) and _type_name(cell) == "xprnn.cells.lstm_peephole_full.FullPeepholeLSTM"
    return PLAIN if full else cell


def takes_more(cell: Cell) -> bool:
    """Whether a cell is such a one, and the host has kernels for what is inside it with these products."""
    plain = inside(cell)
    kind = None if plain is cell else kind_of(plain)
    return kind is not None and kind.more


def _type_name(cell: Cell) -> str:
    exact = type(cell)
    return f"{exact.__module__}.{exact.__qualname__}"


def fills(cell: Cell) -> bool:
    """Whether a cell is GRU-D, by its exact type as in :func:`number_of`."""
    return _type_name(cell) == "xprnn.cells.gru_d.GRUD" and vars(cell).keys() == {"input_size"}


def is_diagonal(cell: Cell) -> bool:
    """Whether a cell is LRU or S5, likewise."""
    return _type_name(cell) in ("xprnn.cells.lru.LRU", "xprnn.cells.s5.S5") and vars(cell).keys() == {"state_size"}


def is_reservoir(cell: Cell) -> bool:
    """Whether a cell is an EchoState, likewise."""
    return _type_name(cell) == "xprnn.cells.echo_state.EchoState" and vars(cell).keys() == {"leak"}


def told(cell: Cell, weights: Weights) -> dict[str, Any]:
    """A cell's weights, with its constants or activations, where it has some, beside them."""
    constants: tuple[float, ...] | None = getattr(cell, "constants", None)
    if constants is not None:
        return weights | {"constants": constants}
    chosen: dict[str, Activation] | None = vars(cell).get("activations")
    return weights if chosen is None else weights | {"functions": [_function(each) for each in chosen.values()]}


def kind_of(cell: Cell) -> kinds.Kind | None:
    """The row of a cell in the table of kinds, or None."""
    number = number_of(cell)
    return None if number is None else kinds.KINDS[number]
