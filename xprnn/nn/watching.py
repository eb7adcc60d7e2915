"""Who is told when an attribute of a module is assigned: streams, whose compiled calls hold copies of its weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol
from weakref import WeakSet, finalize


class Watched(Protocol):
    """What is asked of a module."""

    def named_modules(self) -> Iterator[tuple[str, object]]:
        """It, and all modules in it."""


class Watcher(Protocol):
    """Who wants to know."""

    def outdated(self) -> None:
        """Something was assigned."""


_watchers: dict[int, WeakSet[Watcher]] = {}
"""Of each module that is watched, by its id."""


def watch(module: Watched, watcher: Watcher) -> None:
    """Call ``watcher.outdated()`` whenever an attribute of a module, or of one within it, is assigned or deleted."""
    for _, part in module.named_modules():
        if id(part) not in _watchers:
            _watchers[id(part)] = WeakSet()
            finalize(part, _watchers.pop, id(part), None)
        _watchers[id(part)].add(watcher)


def tell_watchers(module: object) -> None:
    """An attribute of this module has changed."""
    for watcher in [*_watchers.get(id(module), ())]:
        watcher.outdated()
