"""Streams: a recurrent layer fed one step at a time, as in control, audio and serving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from xprnn.arguments import input_tensor, whole_number
from xprnn.backend import Array, Backend, backend_of, dtype_name, namespace
from xprnn.cells import Cell
from xprnn.engine import cpu
from xprnn.settings import current_precision, use_precision
from xprnn.tensor import Parameter, Tensor, no_grad

_GONE: Any = object()
_NOTHING: list[tuple[str, Any, int]] = [("", object(), 0)]
"""What weights were loaded, where that cannot be said: it is like no layer's."""


class Streamable(Protocol):
    """What a layer has that can be fed one step at a time, as :class:`xprnn.nn.RecurrentLayer` does."""

    cell: Cell
    input_size: int
    hidden_size: int
    num_layers: int
    batch_first: bool
    bidirectional: bool
    dtype: str
    state_sizes: tuple[int, ...]

    def weights(self) -> list[dict[str, Parameter]]:
        """The parameters of each layer by the cell's names."""

    def attributes(self) -> list[str]:
        """The names that they have on the layer, in the same order."""

    def __call__(self, x: Any, state: Any) -> tuple[Any, ...]:
        """Any number of steps: the output, and the state to go on from."""


class Stream:
    """A layer that remembers where it is: ``y = stream.step(x)``.

    x (B, I), y (B, H), or without B where the stream was opened with ``batch=None``; nested lists of numbers will do
    for x. ``state`` is the layer's state, parts (L, B, H), readable and assignable; ``reset()`` makes it zero.
    Gradients are not recorded.

    On NumPy, cells with compiled kernels step without allocating anything: y is then a buffer that the step after next
    overwrites, so copy it to keep it. New weights are noticed, be it that ``.data`` of a parameter is assigned, as
    optimizers and ``load_state_dict`` do, or that the layer is given another Parameter in its place; after writing into
    an array in place, call ``reload()``. A copy, or what comes out of a pickle, goes on from the same state by itself.

    Raises ValueError for a bidirectional layer, which must see the end first, and for x of another shape; TypeError for
    x that is not of real numbers. What fails, or is interrupted, leaves the state as it was. Threads must not share a
    stream, whose memory two steps at once would mix: open one in each.
    """

    def __init__(self, layer: Streamable, batch: int | None = 1) -> None:
        owner = type(layer).__name__
        if layer.bidirectional:
            raise ValueError(f"{owner}: a bidirectional layer needs the whole sequence; it cannot be streamed")
        self._layer, self._owner = layer, f"{owner}.stream"
        self._batch = 1 if batch is None else whole_number(self._owner, "batch", batch)
        self._shape = (layer.input_size,) if batch is None else (self._batch, layer.input_size)
        self._precision = current_precision()
        self._stack: Any = None
        self._state: Any = None  # where there is no stack
        self._made_for: Any = None  # the library and the dtypes of the weights
        self._attributes: Mapping[str, Any] = vars(layer)
        self.reload()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles open streams of their own: memory is packed for this host, and full of views."""
        batch = None if len(self._shape) == 1 else self._batch
        return _reopened, (self._layer, batch, self._precision, self.state)

    def step(self, x: Any) -> Array:
        """One step of every layer; the output of the last one."""
        if type(x) is not np.ndarray or x.shape != self._shape:
            x = self._input_array(x)
        for name, parameter, version in self._loaded:
            if self._attributes.get(name, _GONE) is not parameter or parameter.version != version:
                self.reload()
                break
        if self._stack is None:
            return self._composed_step(x)
        try:
            np.copyto(self._input, x, casting="same_kind")
        except TypeError:
            what = f"x is a {type(x).__name__} of dtype {getattr(x, 'dtype', None)}"
            raise TypeError(f"{self._owner}: {what}; expected real numbers, in an array of NumPy's") from None
        self._stack.step()
        return self._outputs[self._stack.current]

    def reload(self) -> None:
        """Take the layer's present weights; the state stays."""
        layer, present = self._layer, self._layer.weights()
        weights = [{name: parameter.data for name, parameter in each.items()} for each in present]
        arrays = [array for each in weights for array in each.values()]
        made_for = backend_of(arrays[0]), {dtype_name(array) for array in arrays}
        if made_for != self._made_for:  # the first time, and where the layer has moved
            self._open(made_for, arrays)
        self._loaded = _NOTHING  # until all is
        if self._stack is not None:
            cpu.load_stack(self._stack, layer.cell, weights, layer.hidden_size, layer.input_size)
        parameters = [parameter for each in present for parameter in each.values()]
        self._loaded = [(name, p, p.version) for name, p in zip(layer.attributes(), parameters, strict=True)]

    def _open(self, made_for: tuple[Backend, set[str]], weights: list[Array]) -> None:
        """Get the memory for weights of another library or dtype; the state comes along."""
        layer, home = self._layer, made_for[0]
        state = None if self._made_for is None else [home.asarray(part) for part in self._parts()]
        with use_precision(self._precision):
            stack = cpu.open_stack(
                layer.cell, weights, layer.num_layers, layer.hidden_size, layer.input_size, self._batch
            )
        if stack is not None:
            views = [stack.views(layer.num_layers - 1, copy)[0] for copy in (0, 1)]
            single = len(self._shape) == 1
            self._outputs = [view[0] if single else view for view in views]
            self._input = stack.x[0] if single else stack.x
        self._stack, self._made_for = stack, made_for
        if state is not None:
            self.state = state

    def reset(self) -> None:
        """Back to zero state."""
        if self._stack is None:
            self._state = None
        else:
            self._set_stack(self._zeros())

    @property
    def state(self) -> Any:
        """The state, as the layer takes and returns it: an array (L, B, H), or a tuple of one for each part. A copy."""
        parts = self._parts()
        return parts[0] if len(parts) == 1 else parts

    @state.setter
    def state(self, new: Any) -> None:
        parts = []
        for k, part in enumerate(new if isinstance(new, (tuple, list)) else (new,)):
            name = f"part {k} of the state"
            parts.append(self._real(name, input_tensor(self._owner, name, part).data))
        came, expected = ([tuple(part.shape) for part in some] for some in (parts, self._zeros()))
        if came != expected:
            raise ValueError(f"{self._owner}: the state has shapes {came}; expected {expected}")
        if self._stack is None:
            self._state = tuple(namespace(part).asarray(part, copy=True) for part in parts)
        else:
            self._set_stack(tuple(parts))

    def _parts(self) -> tuple[Array, ...]:
        """A copy of each part of the state."""
        if self._stack is not None:
            layers = [self._stack.views(n, self._stack.current) for n in range(self._layer.num_layers)]
            return tuple(np.stack(part) for part in zip(*layers, strict=True))
        parts = self._zeros() if self._state is None else self._state
        return tuple(namespace(part).asarray(part, copy=True) for part in parts)

    def _set_stack(self, parts: tuple[Array, ...]) -> None:
        """A new state, written beside the present one and then put in its place at once: an interrupt mixes nothing."""
        for number in range(self._layer.num_layers):
            for view, part in zip(self._stack.views(number, 1 - self._stack.current), parts, strict=True):
                np.copyto(view, part[number], casting="same_kind")
        self._stack.turn()

    def _zeros(self) -> tuple[Array, ...]:
        layer, home = self._layer, self._made_for[0]
        return tuple(home.zeros((layer.num_layers, self._batch, size), layer.dtype) for size in layer.state_sizes)

    def _input_array(self, x: Any) -> Array:
        """x, whatever it came as, as an array of the right shape."""
        if isinstance(x, (Tensor, np.ndarray)):
            array = input_tensor(self._owner, "x", x).data
        elif hasattr(x, "shape"):  # of another library, which a step takes or refuses
            array = x
        else:
            array = self._from_numbers(x)
        if tuple(array.shape) != self._shape:
            raise ValueError(f"{self._owner}: x has shape {tuple(array.shape)}; expected {self._shape}")
        return array

    def _from_numbers(self, x: Any) -> Array:
        """Numbers in lists, and what else NumPy makes an array of, beside the weights."""
        kind = f"{self._owner}: x is a {type(x).__name__}"
        try:
            array = np.asarray(x)
        except ValueError as error:
            raise ValueError(f"{kind} of no one shape; expected numbers of shape {self._shape}") from error
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{kind}; expected an array, or numbers in lists, of shape {self._shape}")
        return self._made_for[0].asarray(array)

    def _composed_step(self, x: Array) -> Array:
        """Any cell on any backend: a layer call of one step."""
        xp, x = namespace(**{f"{self._owner}: x": x}), self._real("x", x)
        lead = (self._batch, 1) if self._layer.batch_first else (1, self._batch)
        whole = xp.reshape(x, (*lead, self._layer.input_size))
        parts = self._zeros() if self._state is None else self._state
        with no_grad():
            output, state = self._layer(whole, parts)
        self._state = tuple(part.data for part in (state if isinstance(state, tuple) else (state,)))
        return xp.reshape(output.data, (*self._shape[:-1], output.shape[-1]))

    def _real(self, name: str, array: Array) -> Array:
        """An array of real numbers in the layer's dtype. Raises TypeError for any other."""
        if not dtype_name(array).startswith(("float", "int", "uint", "bool")):
            raise TypeError(f"{self._owner}: {name} has dtype {dtype_name(array)}; expected real numbers")
        xp = namespace(array)
        return xp.astype(array, getattr(xp, self._layer.dtype), copy=False)


def _reopened(layer: Streamable, batch: int | None, precision: str, state: Any) -> Stream:
    with use_precision(precision):
        stream = Stream(layer, batch)
    stream.state = state
    return stream
