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

    Nobody changes one, though it is not frozen: to make a frozen one takes three times as long.
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
    """Whether all parts of the state are wanted after every step. If not, only h is, and the others may be None."""
    from_start: bool = True
    """Whether cotangents of the initial state will be wanted. If not, they may be None."""


class Result(NamedTuple):
    """``sequences``: each part of the state after every step (T, B, H), 0 past a sequence's end; None if not kept.
    ``final``: each part at the end (B, H).
    """

    sequences: State
    final: State


class Gradients(NamedTuple):
    """Cotangents of the arguments of a call. Those of x and of the state may be None where nobody wanted them."""

    x: Array | None
    state: State
    weights: Weights


class Way:
    """Base of the implementations that modules of the engine define: see :class:`xprnn.engine.dispatch.Impl`."""

    def how(self, call: SequenceCall) -> str:
        """What ``explain`` adds about how a call is run."""
        return ""
