"""What the kernels of host and device are told about a call, in the same words."""

from __future__ import annotations

from typing import Any, NamedTuple

TANH, RELU, LSTM, PEEPHOLE, GRU, RESET_BEFORE = range(6)
"""The kinds of cells."""

Weights = dict[str, Any]
"""Arrays of one layer in one direction, by PyTorch's names."""


class Flags(NamedTuple):
    """(T, B) booleans, or None: where the state moves on, and where it is zero before the step."""

    advance: Any | None
    restart: Any | None
