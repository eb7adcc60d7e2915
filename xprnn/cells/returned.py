"""What functions of a cell returned, held against what they were given: cells may be of one's own."""

from __future__ import annotations

import reprlib
from typing import Any

from xprnn.backend import Array
from xprnn.cells.cell import Cell, State, Weights


def returned(cell: Cell, what: str, part: Any, shape: tuple[int, ...], like: Array, broadcast: bool = False) -> Any:
    """What a cell's function gave, which else might be broadcast, or read as far as a shape says.

    Raises TypeError for what is no array of another's dtype, ValueError for another shape.
    """
    if getattr(part, "dtype", None) != like.dtype:
        came = f"of dtype {part.dtype}" if hasattr(part, "dtype") else f"= {reprlib.repr(part)}"
        raise TypeError(f"{cell.name}: {what} {came}; expected an array of dtype {like.dtype}")
    found, lead = tuple(part.shape), len(shape) - len(part.shape)
    if broadcast and lead >= 0:
        fits = all(n in (1, m) for n, m in zip(found, shape[lead:], strict=True))
    else:
        fits = found == shape
    if not fits:
        raise ValueError(f"{cell.name}: {what} of shape {found}; expected {shape}")
    return part


def returned_state(cell: Cell, what: str, parts: Any, like: State) -> Any:
    """The same of a tuple with a part for each of a state."""
    if not isinstance(parts, (tuple, list)) or len(parts) != len(like):
        came = f"{len(parts)} parts" if isinstance(parts, (tuple, list)) else f"a {type(parts).__name__}"
        raise TypeError(f"{cell.name}: {what} {came}; expected a tuple ({', '.join(cell.state_names)})")
    for name, part, old in zip(cell.state_names, parts, like, strict=True):
        returned(cell, f"{what} {name}", part, tuple(old.shape), old)
    return parts


def returned_step(cell: Cell, found: Any, state: State) -> Any:
    """The same of a step: a state like the one before it, and what is saved."""
    if not isinstance(found, tuple) or len(found) != 2:
        raise TypeError(f"{cell.name}: step returned a {type(found).__name__}; expected (state, saved)")
    returned_state(cell, "step returned", found[0], state)
    return found


def returned_gradients(cell: Cell, found: Weights, w: Weights) -> None:
    """The same of the gradients of all weights."""
    for name, weight in w.items():
        returned(cell, f"weight_vjp returned {name}", found.get(name), tuple(weight.shape), weight)
