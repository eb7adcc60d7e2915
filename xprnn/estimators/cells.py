"""The recurrent layers that estimators are built around: the names users give them, and the parameters they have."""

from __future__ import annotations

from collections.abc import Iterator

from xprnn.nn.recurrent.layers import LAYERS

CELLS = {name.lower(): layer for name, layer in LAYERS.items()}
Shapes = Iterator[tuple[str, tuple[int, ...]]]
"""The names and shapes of a network's parameters, one after the other."""


def recurrent_shapes(prefix: str, cell: str, inputs: int, hidden: int, layers: int, directions: int = 1) -> Shapes:
    """Those of a recurrent layer, without building it: a file may declare one that no memory holds."""
    equations = CELLS[cell](1, 1, rng=0).cell
    for layer in range(layers):
        shapes = equations.weight_shapes(inputs if layer == 0 else directions * hidden, hidden)
        for suffix in ("", "_reverse")[:directions]:
            yield from ((f"{prefix}{name}_l{layer}{suffix}", shape) for name, shape in shapes.items())
