"""What is being exported: a graph, and what its parts share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xprnn.interop.naming import called
from xprnn.interop.onnx.graph import Graph
from xprnn.nn.module import Module

TIME, BATCH = "time", "batch"


class Exported:
    """The model of one layer. Functions that put nodes for a layer into it are found by the layer's exact class."""

    def __init__(self, layer: Module, width: int | None, emitters: Emitters, lengths: bool, states: bool) -> None:
        self.graph, self.states, self._emitters = Graph(), states, emitters
        self.lengths = self.graph.input("lengths", "int32", [BATCH]) if lengths else ""
        first = next((part for _, part in layer.named_modules() if hasattr(part, "batch_first")), None)
        self.batch_first = getattr(first, "batch_first", False)
        self._axes: list[str | int] = [BATCH, TIME] if self.batch_first else [TIME, BATCH]
        self._real = self._steps = ""
        self.pooled = False
        """Whether there are no steps any more."""
        self._finals: list[tuple[str, str, list[str | int]]] = []
        x = self.graph.input("x", "float32" if width else "int64", [*self._axes, width] if width else self._axes)
        y = self.emit("", layer, x)
        self.graph.output("y", y, [*([BATCH] if self.pooled else self._axes), "features"])
        for final in self._finals:
            self.graph.output(*final)
        self.model = self.graph.model()

    def emit(self, path: str, layer: Any, x: str) -> str:
        """The nodes of a layer; the name of what it gives."""
        try:
            return emitter_of(self._emitters, path, layer)(self, f"{path}." if path else "", layer, x)
        except OverflowError as error:
            raise ValueError(f"to_model: {called(path, layer)}: a weight {str(error).removeprefix('it ')}") from error

    def node(self, operator: str, inputs: list[str], path: str, outputs: int = 1, **attributes: Any) -> Any:
        return self.graph.node(operator, inputs, path, outputs, **attributes)

    def integers(self, *values: int) -> str:
        """A constant of whole numbers, as operators take shapes and axes."""
        return self.graph.constant(f"integers_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def number(self, value: float) -> str:
        return self.graph.constant(f"number_{value!r}", np.float32(value))

    def turned(self, path: str, layer: Any, x: str) -> str:
        """(T, B, ...) from what a layer takes, or the other way. Raises ValueError where no steps are left."""
        if self.pooled:
            raise ValueError(f"to_model: {called(path[:-1], layer)} comes after a pooling; expected steps")
        return self.node("Transpose", [x], path, perm=[1, 0, 2]) if layer.batch_first else x

    def steps(self) -> str:
        """The numbers of the steps (T, 1, 1)."""
        if not self._steps:
            axis = int(self.batch_first)
            zero, one = (self.graph.constant(f"scalar_{k}", np.int64(k)) for k in (0, 1))
            count = self.node("Squeeze", [self.node("Shape", ["x"], "", start=axis, end=axis + 1)], "")
            self._steps = self.node("Unsqueeze", [self.node("Range", [zero, count, one], ""), self.integers(1, 2)], "")
        return self._steps

    def real(self) -> str:
        """Where steps are not past the end: booleans (T, B, 1)."""
        if not self._real:
            whole = self.node("Cast", [self.lengths], "", to=7)  # int64
            last = self.node("Unsqueeze", [whole, self.integers(0, 2)], "")
            self._real = self.node("Less", [self.steps(), last], "")
        return self._real

    def where_real(self, path: str, x: str, other: float = 0.0) -> str:
        """x (T, B, ...), and another number past the end."""
        return self.node("Where", [self.real(), x, self.number(other)], path) if self.lengths else x

    def where_some(self, path: str, y: str, other: str) -> str:
        """y (..., B, F), or another where a sequence has no steps."""
        if not self.lengths:
            return y
        none = self.graph.constant("no_steps", np.int32(0))
        some = self.node("Unsqueeze", [self.node("Greater", [self.lengths, none], path), self.integers(1)], path)
        found: str = self.node("Where", [some, y, other], path)
        return found

    def final(self, name: str, result: str, count: int, size: int) -> None:
        """A final state, which becomes an output."""
        self._finals.append((name, result, [count, BATCH, size]))


def emitter_of(emitters: Emitters, path: str, layer: Any) -> Emitter:
    """Raises TypeError, naming the layer, where there is none."""
    kind = type(layer)
    if kind not in emitters:
        known = ", ".join(one.__name__ for one in emitters)
        raise TypeError(f"to_model: {called(path, layer)} is a {kind.__name__}; expected one of {known}")
    return emitters[kind]


Emitter = Callable[[Exported, str, Any, str], str]
"""Of what is exported, the place of a layer, the layer, and the name of what it takes, the name of what it gives."""

Emitters = Mapping[type, Emitter]
