"""Changes that are all made or none of them, whenever Ctrl-C comes.

Python looks for signals between its own instructions, and never inside a function written in C that calls back only
others of these. All changes are therefore prepared first, as partial calls of setattr and the like, and then called
within one such function. Losing a part of them to an interrupt cannot be made up for afterwards: another may come then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import methodcaller
from typing import Any

from xprnn.backend import Array
from xprnn.tensor import Tensor

Change = Callable[[], Any]
"""A partial call of a function written in C: it must not run any Python."""

_call = methodcaller("__call__")


def make(changes: Iterable[Change]) -> None:
    """Make all changes, in order."""
    changes = list(changes)
    deque(map(_call, changes), maxlen=0)


def new_data(tensor: Tensor, array: Array) -> Sequence[Change]:
    """What assigning ``tensor.data`` does, for an array whose shape and dtype were compared with those it has."""
    return partial(setattr, tensor, "_data", array), partial(setattr, tensor, "version", tensor.version + 1)


def new_gradient(tensor: Tensor, gradient: Tensor | None) -> Change:
    """Assigning ``tensor.grad``."""
    return partial(setattr, tensor, "grad", gradient)


def new_attribute(owner: Any, name: str, value: Any) -> Change:
    """Assigning an attribute that is no property."""
    return partial(setattr, owner, name, value)


def new_items(table: dict[str, Any], items: dict[str, Any]) -> Change:
    """Assigning items of a dict."""
    return partial(table.update, items)
