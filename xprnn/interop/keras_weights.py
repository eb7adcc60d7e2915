"""Weights of a recurrent layer or a Linear as Keras has them, which RTNeural's files have too, and back.

==========  ==================================  ========================================
layer       Keras                               here
==========  ==================================  ========================================
kernel      (I, G*H)                            weight_ih (G*H, I)
recurrent   (H, G*H)                            weight_hh (G*H, H)
bias        (G*H,), or (2, G*H) of a GRU with   bias_ih and bias_hh (G*H,)
            reset_after
order       LSTM i f c o; GRU z r h             LSTM i f g o; GRU r z n
==========  ==================================  ========================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xprnn.cells import GRU, Cell, GeneralGRU, ResetBeforeGRU

Host = np.ndarray[Any, Any]
RESET_AFTER = (GRU, GeneralGRU)
"""Cells that Keras gives two biases."""


def weight_shapes(cell: Cell, inputs: int, hidden: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    """The shapes of kernel, recurrent kernel and bias in Keras."""
    columns = cell.gates * hidden
    shapes: dict[str, tuple[int, ...]] = {"kernel": (inputs, columns), "recurrent kernel": (hidden, columns)}
    return shapes | {"bias": (2, columns) if isinstance(cell, RESET_AFTER) else (columns,)} if bias else shapes


def from_keras(cell: Cell, weights: Sequence[Host]) -> dict[str, Host]:
    """kernel, recurrent kernel and, where there is one, bias as a cell's weights."""
    kernel, recurrent, *rest = (_turned(cell, each) for each in weights)
    found = {"weight_ih": kernel.T, "weight_hh": recurrent.T}
    if rest:
        both = rest[0] if rest[0].ndim == 2 else np.stack([rest[0], 0.0 * rest[0]])  # whose sum has its signs too
        found |= {"bias_ih": both[0], "bias_hh": both[1]}
    return {name: np.ascontiguousarray(each) for name, each in found.items()}


def to_keras(cell: Cell, weights: Mapping[str, Host], bias: bool = True) -> list[Host]:
    """A cell's weights as kernel, recurrent kernel and bias; zeros for a bias that the layer has not.

    Two biases of a cell that adds them become their sum.
    """
    found = [weights["weight_ih"].T, weights["weight_hh"].T]
    if bias:
        zeros = np.zeros(len(weights["weight_ih"]), weights["weight_ih"].dtype)
        both = np.stack([weights.get("bias_ih", zeros), weights.get("bias_hh", zeros)])
        found.append(both if isinstance(cell, RESET_AFTER) else both[0] + both[1])
    return [np.ascontiguousarray(_turned(cell, each)) for each in found]


def _turned(cell: Cell, a: Host) -> Host:
    """The first two gates of a GRU, along the last axis, in each other's place."""
    if not isinstance(cell, (*RESET_AFTER, ResetBeforeGRU)):
        return a
    r, z, n = np.split(a, 3, axis=-1)
    return np.concatenate([z, r, n], axis=-1)
