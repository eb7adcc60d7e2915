"""Which values of attributes may hold parts of a module besides lists, and how one looks into them."""

from __future__ import annotations

import itertools
from collections import UserList, deque
from collections.abc import Callable, Iterable, Mapping, Set, ValuesView
from dataclasses import fields, is_dataclass
from functools import cache, partial
from types import GeneratorType, MethodType, ModuleType
from typing import Any

import numpy as np

from xprnn.nn.weights import Declared
from xprnn.tensor import Tensor

Entries = Iterable[tuple[str, Any]]

LEAVES = (str, int, float, type(None), Declared)
"""What most attributes are; they hold nothing but words and numbers."""

BARE = frozenset({*LEAVES, bool})
"""The types that nearly all attributes have: they hold no parts, as is quickly seen."""


_ITERATED: tuple[Any, ...] = ([], (), set(), {}, {}.values(), {}.items())
GIVEN_ONCE: tuple[type, ...] = (
    *(GeneratorType, map, filter, zip, enumerate, reversed),
    *(kind for kind in vars(itertools).values() if isinstance(kind, type) and kind is not itertools.count),
    *(type(iter(container)) for container in _ITERATED),
    type(reversed([])),
)
"""What cannot be looked into without using it up."""


def hollow(value: Any) -> bool:
    """Whether it can hold nothing, or has attributes that are all bare, as most cells do: this too is quickly seen."""
    kind: Any = type(value)
    opened = _opener(kind)
    if opened is _of_object:
        return BARE.issuperset(map(type, _attributes(value).values()))
    return opened is None and not issubclass(kind, (list, tuple))


def opener(value: Any) -> Callable[[Any], Entries] | None:
    """What gives (place, value) for all in a container other than a list or tuple; None for what can hold nothing.

    Looked into are mappings, sets, deques and the like, object arrays, dataclasses, partial functions, methods, which
    hold the object that they are of, and other objects with attributes. To look into an iterator raises TypeError.
    """
    kind: Any = type(value)
    return _opener(kind)


@cache
def _opener(kind: Any) -> Callable[[Any], Entries] | None:
    """How to look into the values of a type; None where they can hold nothing."""
    if issubclass(kind, GIVEN_ONCE):
        return _of_iterator
    if issubclass(kind, Mapping):
        return _of_mapping
    if issubclass(kind, (Set, deque, UserList, ValuesView)):
        return lambda value: (("", each) for each in value)
    if issubclass(kind, np.ndarray):
        return lambda array: (("", each) for each in array.flat) if array.dtype == object else ()
    if is_dataclass(kind):
        return lambda value: ((f".{field.name}", getattr(value, field.name, None)) for field in fields(value))
    if issubclass(kind, partial):
        return lambda value: (("", each) for each in (value.func, *value.args, *value.keywords.values()))
    if issubclass(kind, MethodType):
        return lambda value: (("", value.__self__),)
    return _of_object if _is_object(kind) else None


def is_object(value: Any) -> bool:
    """Whether it has attributes and is no container."""
    kind: Any = type(value)
    return _is_object(kind)


@cache
def _is_object(kind: Any) -> bool:
    others = (type, ModuleType, Tensor, Mapping, Set, deque, UserList, partial, np.ndarray)
    attributes = bool(getattr(kind, "__dictoffset__", 0) or slots(kind))
    return attributes and not is_dataclass(kind) and not issubclass(kind, others)


@cache
def slots(kind: Any) -> tuple[str, ...]:
    """The attributes that objects of a type keep without a dict."""
    pairs = [(each, vars(each).get("__slots__", ())) for each in kind.__mro__]
    named = [(each, name) for each, names in pairs for name in ((names,) if isinstance(names, str) else names)]
    return tuple(
        f"_{each.__name__.lstrip('_')}{name}" if name[:2] == "__" else name for each, name in named if name[-2:] != "__"
    )


def _attributes(value: Any) -> dict[str, Any]:
    """What an object holds by name."""
    held: dict[str, Any] = getattr(value, "__dict__", {})
    kind: Any = type(value)
    names = slots(kind)
    return {**held, **{name: getattr(value, name, None) for name in names}} if names else held


def _of_iterator(value: Any) -> Entries:
    raise TypeError(f"is a {type(value).__name__}, which gives only once what is in it; expected a list")


def _of_object(value: Any) -> Entries:
    return [(f".{name}", each) for name, each in _attributes(value).items()]


def _of_mapping(value: Mapping[Any, Any]) -> Entries:
    values = [(f"[{key!r}]", each) for key, each in value.items() if not isinstance(each, LEAVES)]
    return values + [("", key) for key in value if not isinstance(key, LEAVES)]
