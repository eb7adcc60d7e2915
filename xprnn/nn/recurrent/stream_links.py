"""The links of a stream: modules that feed each other, each with its weights, its kernel, and its call without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

from xprnn.backend import Array, namespace
from xprnn.cells import Cell
from xprnn.engine import cpu
from xprnn.engine.cell_kinds import number_of
from xprnn.nn.activations import Activation, ReLU, Sigmoid, Tanh
from xprnn.nn.dropout import Dropout
from xprnn.nn.layer_norm import LayerNorm
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.nn.quantized.linear import QuantizedLinear
from xprnn.nn.recurrent.sequence_layer import SequenceLayer
from xprnn.tensor import Parameter, Tensor

Head = Linear | QuantizedLinear
"""What a stream may end with."""

ACTIVATIONS: dict[type[Module], str] = {Tanh: "tanh", Sigmoid: "sigmoid", ReLU: "relu"}
"""What kernels call those that they have."""


class Held(NamedTuple):
    """A weight or number of a module, where it is held: the module's attributes and its name there."""

    attributes: Mapping[str, Any]
    name: str
    value: Parameter | float | None


@runtime_checkable
class Streamable(Protocol):
    """What a layer has that can be fed one step at a time, as :class:`xprnn.nn.RecurrentLayer` does."""

    cell: Cell
    input_size: int
    hidden_size: int
    num_layers: int
    batch_first: bool
    bidirectional: bool
    reverse: bool
    dtype: str
    state_sizes: tuple[int, ...]

    @property
    def zoned(self) -> bool:
        """Whether there is zoneout."""

    def weights(self) -> list[dict[str, Parameter]]:
        """The parameters of each layer by the cell's names."""

    def effective_weights(self, weights: dict[str, Any]) -> dict[str, Any]:
        """What the cell is given in their place."""

    def attributes(self) -> list[str]:
        """The names that they have on the layer, in the same order."""

    def mode(self, training: bool) -> AbstractContextManager[None]:
        """To train or to evaluate in a block."""

    def __call__(self, x: Any, state: Any) -> tuple[Any, ...]:
        """Any number of steps: the output, and the state to go on from."""


@runtime_checkable
class Coded(Streamable, Protocol):
    """One whose weights are codes, as :class:`xprnn.nn.QuantizedRecurrent` is."""

    weight_bits: int


class Link:
    """A module that sees each step alone, called ``name`` in errors; sizes are None where any will do."""

    inputs: int | None = None
    outputs: int | None = None
    dtype: str | None = None
    layers: int = 0
    """Recurrent ones, with a state each."""
    state_sizes: tuple[int, ...] = ()

    def __init__(self, module: Any, owner: str, name: str) -> None:
        self.module, self.owner, self.name = module, owner, name

    def present(self) -> list[Held]:
        """Weights and numbers as they are now. Raises ValueError for another shape, TypeError for what is no Tensor."""
        return []

    def kernels(self, inputs: int) -> list[cpu.Step] | str:
        """What a step is on the kernels, or that nothing is."""
        return f"no kernel for {type(self.module).__name__}"

    def load(self, stack: Any, row: int, held: list[Held]) -> None:
        """Give weights to a stack, whose row this is."""

    def call(self, x: Array, state: tuple[Array, ...] | None) -> tuple[Array, tuple[Array, ...]]:
        """Steps x (T, B, I) without kernels: the outputs, and the new state."""
        with self.module.mode(False):
            return self.module(x).data, ()


class RecurrentLink(Link):
    """A recurrent layer."""

    def __init__(self, module: Streamable, owner: str, name: str) -> None:
        super().__init__(module, owner, name)
        exact: type[Any] = type(module)
        self.extra_inputs: int = getattr(module, "extra_inputs", 0)
        if issubclass(exact, SequenceLayer) and not _known(exact):
            raise TypeError(f"{owner}: {exact.__name__} has a forward of its own; expected that of a recurrent layer")
        if module.bidirectional or module.reverse:
            kind = "bidirectional" if module.bidirectional else "reverse"
            whose = type(module).__name__ if owner.startswith(type(module).__name__) else f"{owner}: {name}"
            raise ValueError(f"{whose}: a {kind} layer needs the whole sequence; it cannot be streamed")
        self.inputs, self.outputs = module.input_size + self.extra_inputs, module.state_sizes[0]
        self.dtype = module.dtype
        self.layers, self.state_sizes = module.num_layers, module.state_sizes
        self._opened = module.cell, module.reverse, number_of(module.cell)

    def present(self) -> list[Held]:
        cell, reverse, number = self._opened
        if self.module.cell is not cell or self.module.reverse != reverse or number_of(cell) != number:
            raise ValueError(f"{self.owner}: {self.name} has another cell or direction since; open another stream")
        parameters = [parameter for each in self.module.weights() for parameter in each.values()]
        names, attributes = self.module.attributes(), vars(self.module)
        return [Held(attributes, name, parameter) for name, parameter in zip(names, parameters, strict=True)]

    def kernels(self, inputs: int) -> list[cpu.Step] | str:
        layer = self.module
        if layer.zoned:
            return "no kernel has zoneout in a stream"
        sizes = [layer.input_size] + [layer.hidden_size] * (layer.num_layers - 1)
        return [cpu.Step(layer.cell, size, layer.hidden_size) for size in sizes]

    def load(self, stack: Any, row: int, held: list[Held]) -> None:
        layer = self.module
        given = map(layer.effective_weights, layer.weights())
        weights = [{name: parameter.data for name, parameter in each.items()} for each in given]
        cpu.load_cells(stack, row, layer.cell, weights, layer.hidden_size, layer.input_size)

    def call(self, x: Array, state: tuple[Array, ...] | None) -> tuple[Array, tuple[Array, ...]]:
        xp, turn = namespace(x), (1, 0, 2) if self.module.batch_first else (0, 1, 2)
        forward = partial(SequenceLayer.forward, self.module) if self.extra_inputs else self.module
        with self.module.mode(False):
            y, after = forward(xp.permute_dims(x, turn), state)
        parts = after if isinstance(after, tuple) else (after,)
        return xp.permute_dims(y.data, turn), tuple(part.data for part in parts)


def _known(exact: type[SequenceLayer]) -> bool:
    """Whether a layer's forward is the one that all have, or joins columns to x and goes on with that one."""
    return exact.forward is SequenceLayer.forward or "extra_inputs" in vars(
        next(kind for kind in exact.__mro__ if "forward" in vars(kind))
    )


class WeightedLink(Link):
    """A module of a weight and maybe a bias, each of a shape."""

    shapes: dict[str, tuple[int, ...]]

    def present(self) -> list[Held]:
        for name, shape in self.shapes.items():
            parameter, which = getattr(self.module, name), f"{self.owner}: {self.name}.{name}"
            if parameter is None and name == "bias":
                continue
            if not isinstance(parameter, Tensor):
                raise TypeError(f"{which} is a {type(parameter).__name__}; expected a Parameter")
            if parameter.data.shape != shape:
                raise ValueError(f"{which} has shape {parameter.shape}; expected {shape}")
        return [Held(vars(self.module), name, getattr(self.module, name)) for name in self.shapes]

    def load(self, stack: Any, row: int, held: list[Held]) -> None:
        stack.load(row, {w.name: w.value.data if isinstance(w.value, Tensor) else w.value for w in held})


class LinearLink(WeightedLink):
    """A Linear."""

    def __init__(self, module: Linear, owner: str, name: str) -> None:
        super().__init__(module, owner, name)
        self.inputs, self.outputs, self.dtype = module.in_features, module.out_features, module.dtype
        self.shapes = {"weight": (self.outputs, self.inputs), "bias": (self.outputs,)}

    def kernels(self, inputs: int) -> list[cpu.Step] | str:
        return [cpu.Step("linear", inputs, self.module.out_features)]


class QuantizedLink(RecurrentLink):
    """A recurrent layer with weights of 8 bits."""

    def kernels(self, inputs: int) -> list[cpu.Step] | str:
        steps = super().kernels(inputs)
        return steps if isinstance(steps, str) else [step._replace(int8=True) for step in steps]

    def load(self, stack: Any, row: int, held: list[Held]) -> None:
        for number, weights in enumerate(self.module.weights()):
            stack.load(row + number, {name: parameter.data for name, parameter in weights.items()})


class QuantizedLinearLink(Link):
    """A Linear with a weight of 8 bits."""

    def __init__(self, module: QuantizedLinear, owner: str, name: str) -> None:
        super().__init__(module, owner, name)
        self.inputs, self.outputs, self.dtype = module.in_features, module.out_features, module.dtype

    def present(self) -> list[Held]:
        return [Held(vars(self.module), *pair) for pair in self.module.declared.present(self.module).items()]

    def kernels(self, inputs: int) -> list[cpu.Step] | str:
        return [cpu.Step("linear", inputs, self.module.out_features, int8=True)]

    def load(self, stack: Any, row: int, held: list[Held]) -> None:
        stack.load(row, {w.name: w.value.data for w in held if isinstance(w.value, Tensor)})


class NormLink(WeightedLink):
    """A LayerNorm of the last axis."""

    def __init__(self, module: LayerNorm, owner: str, name: str) -> None:
        super().__init__(module, owner, name)
        if len(module.normalized_shape) != 1:
            raise ValueError(f"{owner}: {name} is {module!r}; expected one of the last axis alone")
        self.inputs = self.outputs = module.normalized_shape[0]
        self.dtype, self.shapes = module.dtype, dict.fromkeys(("weight", "bias"), module.normalized_shape)

    def kernels(self, inputs: int) -> list[cpu.Step] | str:
        return [cpu.Step("norm", inputs, inputs)]

    def present(self) -> list[Held]:
        return [*super().present(), Held(vars(self.module), "eps", self.module.eps)]


class ActivationLink(Link):
    """A function of elements, or of the last axis."""

    def kernels(self, inputs: int) -> list[cpu.Step] | str:
        name = ACTIVATIONS.get(type(self.module))
        return super().kernels(inputs) if name is None else [cpu.Step(name, inputs, inputs)]


def check_same_parts(owner: str, links: Sequence[Link], modules: Sequence[Module]) -> None:
    """Raise ValueError where a chain has other modules than when its links were made."""
    parts = [part for part in modules if type(part) is not Dropout]
    if len(parts) != len(links) or any(part is not link.module for part, link in zip(parts, links, strict=True)):
        raise ValueError(f"{owner}: its parts are others since the stream was opened; open another")


def links_of(owner: str, modules: Sequence[Any], head: Head | None) -> list[Link]:
    """The links of a chain of modules, and of a head behind them, which fit each other.

    Raises TypeError for modules of other kinds, ValueError for sizes and dtypes that do not fit.
    """
    pairs = [pair for pair in enumerate(modules) if type(pair[1]) is not Dropout]  # which is nothing to one that infers
    links = [_link(module, owner, f"part {number}") for number, module in pairs]
    width = _fit(owner, links)
    if width is None:
        raise ValueError(f"{owner}: no part says how many inputs there are; expected a recurrent layer or a Linear")
    if head is not None:
        if type(head) not in (Linear, QuantizedLinear):  # what a subclass computes nobody knows
            raise TypeError(f"{owner}: head is a {type(head).__name__}; expected an nn.Linear of {width} inputs")
        links.append(_link(head, owner, "head"))
        _fit(owner, links)
    return links


def _link(module: Any, owner: str, name: str) -> Link:
    """The link that a module is by its type."""
    kind = type(module)
    for link, fits in (
        (LinearLink, kind is Linear),
        (NormLink, kind is LayerNorm),
        (QuantizedLinearLink, kind is QuantizedLinear),
        (ActivationLink, isinstance(module, Activation)),
        (QuantizedLink, isinstance(module, Coded)),
        (RecurrentLink, isinstance(module, Streamable)),
    ):
        if fits:
            return link(module, owner, name)
    known = "recurrent layers, Linear, LayerNorm, activations, Dropout, and Sequential of these"
    raise TypeError(f"{owner}: {name} is a {kind.__name__}; expected {known}")


def _fit(owner: str, links: Sequence[Link]) -> int | None:
    """How many outputs the last link has, once each has been found to fit the ones before it."""
    width, dtype = None, None
    for link in links:
        if width is not None and link.inputs not in (None, width):
            raise ValueError(f"{owner}: {link.name} is {link.module!r}; expected one of {width} inputs")
        if dtype is not None and link.dtype not in (None, dtype):
            raise ValueError(f"{owner}: {link.name} has dtype {link.dtype}; the layer has {dtype}")
        width, dtype = link.outputs or width, link.dtype or dtype
    return width
