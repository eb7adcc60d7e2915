"""A model as what it does at each step: recurrent layers and layers of elements, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn.backend import to_numpy
from xprnn.interop.naming import called
from xprnn.nn.activations import Activation
from xprnn.nn.dropout import Dropout
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.nn.quantized.linear import QuantizedLinear
from xprnn.nn.quantized.recurrent import QuantizedRecurrent
from xprnn.nn.recurrent.stacked import RecurrentLayer
from xprnn.nn.sequential import Sequential

Host = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Stage:
    """One module of a chain: its name in the model, and how many numbers go in and come out at each step."""

    name: str
    module: RecurrentLayer | Linear | Activation | QuantizedRecurrent | QuantizedLinear
    inputs: int
    outputs: int


def stages(owner: str, model: Module, *, coded: bool = False) -> list[Stage]:
    """The modules of a Sequential, or a single one, in the order in which they act; Dropout is left out.

    ``coded`` says that weights of 8 bits have a place in the format. Raises ValueError for modules of other kinds, for
    two directions, and for widths that do not fit.
    """
    found = list(_flat("", model))
    for name, module in found:
        if not coded and isinstance(module, (QuantizedRecurrent, QuantizedLinear)):
            raise ValueError(
                f"{owner}: {called(name, module)} has weights of 8 bits, which have no place in the format"
            )
    widths = [sizes[0] for name, module in found if (sizes := _sizes(owner, name, module)) is not None]
    if not widths:
        raise ValueError(f"{owner}: the model has no layer; expected a recurrent layer or a Linear, or several")
    chain, width = [], widths[0]
    for name, module in found:
        inputs, outputs = _sizes(owner, name, module) or (width, width)
        if inputs != width:
            raise ValueError(f"{owner}: {called(name, module)} takes {inputs} inputs, and is given {width}")
        if not isinstance(module, Dropout):
            chain.append(Stage(called(name, module), module, inputs, outputs))
        width = outputs
    return chain


def _flat(name: str, module: Module) -> Iterator[tuple[str, Any]]:
    if _is(module, Sequential):
        for child, part in module.children():
            yield from _flat(f"{name}.{child}" if name else child, part)
    else:
        yield name, module


def _sizes(owner: str, name: str, module: Any) -> tuple[int, int] | None:
    """What goes in and comes out; None where that is the same, whatever it is."""
    if _is(module, Linear) or _is(module, QuantizedLinear):
        return module.in_features, module.out_features
    if _is(module, RecurrentLayer) or _is(module, QuantizedRecurrent):
        if module.bidirectional or module.reverse:
            kind = "bidirectional" if module.bidirectional else "reverse"
            raise ValueError(f"{owner}: {called(name, module)} is {kind}; it cannot run step by step")
        if module.zoned:
            raise ValueError(f"{owner}: {called(name, module)} has zoneout, which has no place in the format")
        return module.input_size, module.state_sizes[0]
    if not isinstance(module, (Activation, Dropout)):
        raise ValueError(
            f"{owner}: {called(name, module)} has no place in the format; expected a recurrent layer, Linear, an "
            "activation, or a Sequential of them, without a forward of its own"
        )
    return None


def _is(module: Any, kind: type[Module]) -> bool:
    """Whether a module is of a kind, and computes what that does."""
    return isinstance(module, kind) and type(module).forward is kind.forward


def arrays(weights: Mapping[str, Any]) -> dict[str, Host]:
    """Parameters by name as arrays on the host."""
    return {name: to_numpy(parameter.data) for name, parameter in weights.items() if parameter is not None}
