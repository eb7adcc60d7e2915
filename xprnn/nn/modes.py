"""Whether modules train or are evaluated: by modes of their own, unless a block around the caller chose others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from xprnn.settings import Blocks
from xprnn.together import Change, make


class Switched(Protocol):
    """What is asked of a module."""

    _by_itself: bool

    def children(self) -> Iterator[tuple[str, Any]]:
        """The modules in it, by name."""


blocks: Blocks[dict[int, tuple[Switched, bool]]] = Blocks("modes")
"""Each has the modes of its modules, by the module's id; the module stands beside its mode to stay alive."""

_block = contextmanager(blocks.block)


def chosen_mode(module: Switched) -> bool | None:
    """The mode that the innermost open block around the caller gave a module; None where no block did."""
    entered = blocks.last.get()
    while entered is not None:
        if entered.open and (found := entered.value.get(id(module))) is not None:
            return found[1]
        entered = entered.outer
    return None


def set_modes(root: Switched, modules: Sequence[Switched], training: bool) -> None:
    """Give a module, and those in it, a mode of their own, which counts inside a block of :func:`modes_within` too."""
    changes: list[Change] = []
    for module in modules:
        changes.append(partial(object.__setattr__, module, "_training", training))
        if training or module is root:
            changes.append(partial(object.__setattr__, module, "_by_itself", not training))
    innermost = blocks.innermost()
    if innermost is not None:
        inside = {id(module): (module, training) for module in modules if chosen_mode(module) is not None}
        changes.append(partial(dict.update, innermost.value, inside))
    make(changes)


@contextmanager
def modes_within(root: Switched, training: bool) -> Iterator[None]:
    """Let a module train, or be evaluated, inside the block: see :meth:`Module.mode`."""
    with _block({id(module): (module, training) for module in _switched(root, training)}):
        yield


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
