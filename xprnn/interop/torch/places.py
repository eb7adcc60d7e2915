"""Where modules of ours have their parameters and parts, as PyTorch names places."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from xprnn.nn.module import Module
from xprnn.tensor import Parameter

Convert = Callable[[str, Any], Any]
"""Of the place and a part of one library, that part in the other."""


def every_parameter(layer: Module, prefix: str = "") -> Iterator[tuple[str, tuple[Module, str]]]:
    """(dotted name, (module, attribute)) for each place where a parameter stands, as PyTorch names places."""
    for name, part in layer._parts():
        if isinstance(part, Parameter):
            yield prefix + name, (layer, name)
        else:
            yield from every_parameter(part, f"{prefix}{name}.")
