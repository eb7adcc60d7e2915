"""Who looks on while layers walk over time: :mod:`xprnn.diagnose`, in the blocks where it asks to.

Layers ask once a walk whether there is an observer; where there is none, that is all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from xprnn.cells import State
from xprnn.engine.call import SequenceCall
from xprnn.engine.control import Control


class Observer(Protocol):
    """What is told of walks: of whole calls of a cell, or step by step where steps are composed of primitives."""

    def called(self, layer: Any, number: int, call: SequenceCall) -> None:
        """A layer runs a call: the one of this number among those that it has for its own layers and directions."""

    def came_back(self, call: SequenceCall, dsequences: State, dfinal: State) -> None:
        """The cotangents of a call's result are known; None for zero."""

    def stepped(self, layer: Any, x: Any, before: State, after: State) -> State:
        """A layer took a composed step. What is returned goes on in place of the state after it."""

    def walked(self, layer: Any, count: int, control: Control) -> None:
        """A layer took all its composed steps, so many."""


_observer: ContextVar[Observer | None] = ContextVar("xprnn_observer", default=None)

observing = _observer.get
"""The observer of this context, or None."""


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """In this block, tell an observer of all walks."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)
