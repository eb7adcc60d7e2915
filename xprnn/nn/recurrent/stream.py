"""Streams: a recurrent layer fed one step at a time, as in control, audio and serving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xprnn.arguments import whole_number
from xprnn.backend import Array, backend_of, dtype_name, namespace
from xprnn.engine import cpu
from xprnn.ops import value
from xprnn.settings import current_precision, use_precision
from xprnn.tensor import no_grad

if TYPE_CHECKING:
    from xprnn.nn.recurrent.stacked import RecurrentLayer


class Stream:
    """A layer that remembers where it is: ``y = stream.step(x)``.

    x (B, I), y (B, H), or without B where the stream was opened with ``batch=None``. ``state`` is the layer's state,
    parts (L, B, H), readable and assignable; ``reset()`` makes it zero. Gradients are not recorded.

    On NumPy, cells with compiled kernels step without allocating anything: y is then a buffer that the step after next
    overwrites, so copy it to keep it. New weights are noticed when ``.data`` of a parameter is assigned, as optimizers
    and ``load_state_dict`` do; after writing into an array in place, call ``reload()``. A copy, or what comes out of a
    pickle, goes on from the same state by itself.

    Raises ValueError for a bidirectional layer, which must see the end first, and for x of another shape.
    """

    def __init__(self, layer: RecurrentLayer, batch: int | None = 1) -> None:
        owner = type(layer).__name__
        if layer.bidirectional:
            raise ValueError(f"{owner}: a bidirectional layer needs the whole sequence; it cannot be streamed")
        self._layer, self._owner = layer, owner
        self._batch = 1 if batch is None else whole_number(f"{owner}.stream", "batch", batch)
        self._shape = (layer.input_size,) if batch is None else (self._batch, layer.input_size)
        self._parameters, self._precision = layer.parameters(), current_precision()
        self._stack = cpu.open_stack(
            layer.cell,
            [p.data for p in self._parameters],
            layer.num_layers,
            layer.hidden_size,
            layer.input_size,
            self._batch,
        )
        self._state: Any = None  # where there is no stack
        if self._stack is not None:
            views = [self._stack.views(layer.num_layers - 1, copy)[0] for copy in (0, 1)]
            self._outputs = [view if batch is not None else view[0] for view in views]
            self._input = self._stack.x if batch is not None else self._stack.x[0]
        self.reload()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles open streams of their own: memory is packed for this host, and full of views."""
        batch = None if len(self._shape) == 1 else self._batch
        return _reopened, (self._layer, batch, self._precision, self.state)

    def step(self, x: Array) -> Array:
        """One step of every layer; the output of the last one."""
        if x.shape != self._shape:
            raise ValueError(f"{self._owner}.stream: x has shape {tuple(x.shape)}; expected {self._shape}")
        if self._stack is None:
            return self._composed_step(x)
        for parameter, version in self._loaded:
            if parameter.version != version:
                self.reload()
                break
        np.copyto(self._input, x, casting="same_kind")
        self._stack.step()
        return self._outputs[self._stack.current]

    def reload(self) -> None:
        """Take the layer's present weights; the state stays."""
        self._loaded = [(parameter, parameter.version) for parameter in self._parameters]
        if self._stack is not None:
            for number, weights in enumerate(self._layer.weights()):
                self._stack.load(number, {name: parameter.data for name, parameter in weights.items()})

    def reset(self) -> None:
        """Back to zero state."""
        if self._stack is None:
            self._state = None
        else:
            for number in range(self._layer.num_layers):
                for part in self._stack.views(number, self._stack.current):
                    part[...] = 0.0

    @property
    def state(self) -> Any:
        """The state, as the layer takes and returns it: an array (L, B, H), or a tuple of one for each part. A copy."""
        if self._stack is None:
            parts = self._zeros() if self._state is None else self._state
        else:
            layers = [self._stack.views(n, self._stack.current) for n in range(self._layer.num_layers)]
            parts = tuple(np.stack(part) for part in zip(*layers, strict=True))
        return parts[0] if len(parts) == 1 else parts

    @state.setter
    def state(self, new: Any) -> None:
        zeros = self._zeros()
        parts = tuple(new) if isinstance(new, (tuple, list)) else (new,)
        if [tuple(part.shape) for part in parts] != [tuple(part.shape) for part in zeros]:
            came, expected = ([tuple(part.shape) for part in some] for some in (parts, zeros))
            raise ValueError(f"{self._owner}.stream: the state has shapes {came}; expected {expected}")
        arrays = tuple(value(part) for part in parts)
        if self._stack is None:
            self._state = tuple(namespace(array).asarray(array, copy=True) for array in arrays)
            return
        # All of them aside first: one that fails must not leave a mixture.
        for zero, array in zip(zeros, arrays, strict=True):
            np.copyto(zero, array, casting="same_kind")
        for number in range(self._layer.num_layers):
            for view, array in zip(self._stack.views(number, self._stack.current), zeros, strict=True):
                view[...] = array[number]

    def _zeros(self) -> tuple[Array, ...]:
        layer, home = self._layer, backend_of(self._parameters[0].data)
        return tuple(home.zeros((layer.num_layers, self._batch, size), layer.dtype) for size in layer.state_sizes)

    def _composed_step(self, x: Array) -> Array:
        """Any cell on any backend: a layer call of one step."""
        xp = namespace(x)
        whole = xp.reshape(x, (1, self._batch, self._layer.input_size))
        if dtype_name(whole) != self._layer.dtype:
            whole = xp.astype(whole, getattr(xp, self._layer.dtype))
        if self._layer.batch_first:
            whole = xp.permute_dims(whole, (1, 0, 2))
        parts = self._zeros() if self._state is None else self._state
        with no_grad():
            output, state = self._layer(whole, parts)
        self._state = tuple(part.data for part in (state if isinstance(state, tuple) else (state,)))
        return xp.reshape(output.data, (*self._shape[:-1], output.shape[-1]))


def _reopened(layer: RecurrentLayer, batch: int | None, precision: str, state: Any) -> Stream:
    with use_precision(precision):
        stream = Stream(layer, batch)
    stream.state = state
    return stream
