"""Observers of layers that walk over time, as :mod:`xprnn.diagnose` has them.

A layer asks once a walk whether there is an observer. Where there is none, that is all it costs.
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
    """What an observer is told: of each call of a cell or, where steps are composed of primitives, of each step."""

    def called(self, layer: Any, number: int, call: SequenceCall) -> None:
        """A layer runs the call of one of its layers and directions, which ``number`` counts."""

    def came_back(self, call: SequenceCall, dsequences: State, dfinal: State) -> None:
        """The cotangents of a call's result are known; None for zero."""

    def stepped(self, layer: Any, x: Any, before: State, after: State) -> State:
        """A layer took a composed step. It goes on with the state that is returned in place of ``after``."""

    def walked(self, layer: Any, count: int, control: Control) -> None:
        """A layer took all of its composed steps; ``count`` is their number."""


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
