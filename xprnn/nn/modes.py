"""Whether modules train or are evaluated: by modes of their own, unless a block around the caller chose others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol

from xprnn.together import Change, make


class Switched(Protocol):
    """What is asked of a module."""

    _by_itself: bool

    def children(self) -> Iterator[tuple[str, Any]]:
        """The modules in it, by name."""


chosen_modes: ContextVar[dict[int, tuple[Switched, bool]]] = ContextVar(
    "xprnn_modes",
    default={},  # noqa: B039 - never changed
)
"""The modes that blocks around the caller chose, by id of the module, which stands beside it to stay alive."""


def set_modes(root: Switched, modules: Sequence[Switched], training: bool) -> None:
    """Give a module, and those in it, a mode of their own, which counts inside a block of :func:`modes_within` too."""
    changes: list[Change] = []
    for module in modules:
        changes.append(partial(object.__setattr__, module, "_training", training))
        if training or module is root:
            changes.append(partial(object.__setattr__, module, "_by_itself", not training))
    before = chosen_modes.get()
    if inside := {id(module): (module, training) for module in modules if id(module) in before}:
        changes.append(partial(chosen_modes.set, {**before, **inside}))
    make(changes)


@contextmanager
def modes_within(root: Switched, training: bool) -> Iterator[None]:
    """Let a module train, or be evaluated, inside the block: see :meth:`Module.mode`."""
    before = chosen_modes.get()
    own = {id(module): (module, training) for module in _switched(root, training)}
    try:  # begun first, so that an interrupt after the setting cannot leave it
        chosen_modes.set({**before, **own})
        yield
    finally:
        chosen_modes.set(before)


def _switched(root: Switched, training: bool) -> Iterator[Switched]:
    """A module and those in it that follow it into training or evaluation."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        module = waiting.pop()
        if id(module) not in seen:
            seen.add(id(module))
            yield module
            waiting.extend(part for _, part in module.children() if not (training and part._by_itself))
