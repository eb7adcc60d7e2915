"""What is asked of an implementation, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from xprnn.backend import Array
from xprnn.cells import Cell, State, Weights
from xprnn.engine.control import Control
from xprnn.engine.noise import Noise


@dataclass(eq=False)
class SequenceCall:
    """One layer in one direction: x (T, B, I), the initial state, and which way to walk.

    Nobody changes one; if it could not be changed, making it would take three times as long.
    """

    cell: Cell
    weights: Weights
    x: Array
    state: State
    control: Control = field(default_factory=Control)
    reverse: bool = False
    keep: bool = False
    """Whether the way back will be asked for."""
    noise: Noise | None = None
    every: bool = True
    """Whether all parts of the state are asked for after every step; else h is, and the others may be None there."""
    from_start: bool = True
    """Whether cotangents of the initial state will be asked for; else a way back may leave them out, as None."""


class Result(NamedTuple):
    """``sequences``: each part of the state after each step (T, B, H), 0 past a sequence's end, or None of one that was
    not kept. ``final``: the last.
    """

    sequences: State
    final: State


class Gradients(NamedTuple):
    """Cotangents of the arguments of a call. What was not asked for, of x or of the state, may be None."""

    x: Array | None
    state: State
    weights: Weights


class Way:
    """What a module of the engine runs calls by, with what :class:`xprnn.engine.dispatch.Impl` asks for."""

    def how(self, call: SequenceCall) -> str:
        """What is to be said of how it runs a call."""
        return ""
