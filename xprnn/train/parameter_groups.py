"""Groups of parameters, each with settings of its own, in the form of torch.optim."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from xprnn.arguments import Check, real_number, several
from xprnn.tensor import Tensor
from xprnn.together import make, new_items


class Setting:
    """An attribute of an optimizer that each of its groups has its own value of.

    Reading it gives that of the group which is being moved and, outside ``update`` and ``slots``, of the first one;
    assigning it gives all groups the same.
    """

    def __init__(self, check: Check) -> None:
        self.check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, optimizer: Any, owner: type | None = None) -> Any:
        return self if optimizer is None else optimizer.group[self.name]

    def __set__(self, optimizer: Any, value: Any) -> None:
        value = self.check(type(optimizer).__name__, self.name, value)
        make(new_items(group, {self.name: value}) for group in optimizer.param_groups)


class Group(dict[str, Any]):
    """Parameters and their settings, one of ``param_groups``. What is assigned is checked as in the constructor.

    Raises ValueError for a setting out of range and for another name, of the parameters too, which stay as they were
    made.
    """

    def __init__(self, owner: type, settings: Mapping[str, Setting], items: Mapping[str, Any]) -> None:
        super().__init__(items)
        self._owner, self._settings = owner, settings

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def update(self, *items: Any, **named: Any) -> None:
        """All of them or, where one is wrong, none."""
        new, owner = dict(*items, **named), self._owner.__name__
        if other := [name for name in new if name not in self._settings]:
            raise ValueError(f"{owner}: a group was given {other[0]!r}; expected one of {', '.join(self._settings)}")
        make([new_items(self, {name: self._settings[name].check(owner, name, value) for name, value in new.items()})])

    def __ior__(self, items: Any) -> Group:  # type: ignore[override,misc]
        self.update(items)
        return self

    def setdefault(self, name: str, default: Any = None) -> Any:
        """As a dict's; there is none that a group has not."""
        if name not in self:
            self[name] = default
        return self[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self._owner, dict(self))


def _made(owner: Any, items: dict[str, Any]) -> Group:
    """A group that was copied or pickled."""
    return Group(owner, owner._declared(), items)


def number(below: float = math.inf) -> Check:
    """Numbers from 0 to below a bound."""
    expected = f"{'a finite number' if below == math.inf else f'a number below {below:g}'}, at least 0"
    highest = math.nextafter(below, 0.0)
    return lambda owner, name, value: real_number(owner, name, value, expected, high=highest)


def pair(each: Check) -> Check:
    """A tuple of two."""

    def check(owner: str, name: str, value: Any) -> tuple[Any, Any]:
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            raise ValueError(f"{owner}: {name} is {value!r}; expected two numbers")
        return each(owner, f"{name}[0]", value[0]), each(owner, f"{name}[1]", value[1])

    return check


def grouped(owner: str, parameters: Iterable[Any]) -> list[dict[str, Any]]:
    """Parameters, or dicts with "params" and settings, as a list of dicts with lists of parameters.

    Raises TypeError for dicts beside parameters, ValueError for a dict without parameters.
    """
    given = several(owner, "parameters", parameters)
    mappings = [isinstance(one, Mapping) for one in given]
    if not any(mappings):
        return [{"params": given}]
    if not all(mappings):
        raise TypeError(f"{owner}: the parameters are dicts and others; expected parameters only, or dicts only")
    for k, group in enumerate(given):
        if "params" not in group:
            raise ValueError(f"{owner}: group {k} has {', '.join(map(str, group)) or 'nothing'}; expected params in it")
    return [
        {**group, "params": [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])}
        for group in given
    ]
