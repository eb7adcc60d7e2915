"""Names of a package that are imported when they are first asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def later(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package, by its modules and the names in each of them, as words.

    The modules' own rooms are found too, as ``xprnn.nn.attention.scores`` is. ``__all__`` and what type checkers read
    name everything once more.
    """
    places = {name: module for module, names in modules.items() for name in names.split()}
    rooms = {module.partition(".")[0] for module in modules}

    def found(name: str) -> Any:
        if name in places:
            vars(sys.modules[package])[name] = value = getattr(import_module(f"{package}.{places[name]}"), name)
            return value
        if name in rooms:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return found, lambda: sorted({*vars(sys.modules[package]), *places})
