"""Changes that are all made or none of them, whenever Ctrl-C comes.

Python looks for signals between its own instructions, and never inside a function written in C that calls back only
others of these. All changes are therefore prepared first, as partial calls of setattr and the like, and then called
within one such function. Losing a part of them to an interrupt cannot be made up for afterwards: another may come then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import repeat
from operator import methodcaller
from typing import Any

from xprnn.backend import Array
from xprnn.tensor import CHANGES, Tensor

Change = Callable[[], Any]
"""A partial call of a function written in C: it must not run any Python."""

_call = methodcaller("__call__")


def make(changes: Iterable[Change]) -> None:
    """Make all changes, in order."""
    changes = list(changes)
    deque(map(_call, changes), maxlen=0)


def new_data(tensors: Sequence[Tensor], arrays: Iterable[Array]) -> Sequence[Change]:
    """What assigning ``.data`` of each does, for arrays whose shapes and dtypes were compared with those they have."""
    versions = [tensor.version + 1 for tensor in tensors]
    noticed = new_attribute(CHANGES, "latest", object())
    return _of_each(tensors, "_data", arrays), _of_each(tensors, "version", versions), noticed


def new_gradients(tensors: Iterable[Tensor], gradients: Iterable[Tensor | None]) -> Change:
    """Assigning ``.grad`` of each."""
    return _of_each(tensors, "grad", gradients)


def _of_each(tensors: Iterable[Tensor], name: str, values: Iterable[Any]) -> Change:
    """One function written in C for them all, to be called once."""
    return partial(deque, map(setattr, tensors, repeat(name), values), 0)


def new_attribute(owner: Any, name: str, value: Any) -> Change:
    """Assigning an attribute that is no property."""
    return partial(setattr, owner, name, value)


def new_items(table: dict[str, Any], items: dict[str, Any]) -> Change:
    """Assigning items of a dict."""
    return partial(table.update, items)
