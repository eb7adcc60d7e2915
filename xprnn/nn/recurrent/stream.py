"""Streams: a recurrent layer fed step by step or block by block, as in control, audio and serving."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from xprnn.arguments import input_tensor, whole_number
from xprnn.backend import Array, Backend, backend_of, dtype_name, namespace
from xprnn.cells import Cell
from xprnn.engine import cpu, dispatch
from xprnn.nn.linear import Linear
from xprnn.nn.recurrent import stream_arguments as given
from xprnn.nn.recurrent.regularisation import Regularisation
from xprnn.settings import current_precision, use_precision
from xprnn.tape import no_grad
from xprnn.tensor import Parameter

_GONE: Any = object()
_NOTHING: list[tuple[Mapping[str, Any], str, Any, int]] = [({}, "", object(), 0)]
"""What weights were loaded, where that cannot be said: it is like no layer's."""


class Streamable(Protocol):
    """What a layer has that can be fed one step at a time, as :class:`xprnn.nn.RecurrentLayer` does."""

    cell: Cell
    input_size: int
    hidden_size: int
    num_layers: int
    batch_first: bool
    bidirectional: bool
    reverse: bool
    regularisation: Regularisation | None
    dtype: str
    state_sizes: tuple[int, ...]

    def weights(self) -> list[dict[str, Parameter]]:
        """The parameters of each layer by the cell's names."""

    def attributes(self) -> list[str]:
        """The names that they have on the layer, in the same order."""

    def mode(self, training: bool) -> AbstractContextManager[None]:
        """To train or to evaluate in a block."""

    def __call__(self, x: Any, state: Any) -> tuple[Any, ...]:
        """Any number of steps: the output, and the state to go on from."""


class Stream:
    """A layer that remembers where it is: ``y = stream.step(x)``, or ``stream.block(x)`` for any number of steps.

    ======  =======================================================================
    x       (B, I) for a step, (T, B, I) for a block, whatever ``batch_first`` says
    y       (B, H) or (T, B, H); with a head of O outputs O in the place of H
    state   as the layer has it, parts (L, B, H): readable and assignable
    ======  =======================================================================

    x and y are without B where the stream was opened with ``batch=None``. Nested lists of numbers will do for x.
    ``head`` is a Linear that the outputs go through. ``reset()`` makes the state zero. Gradients are not recorded.

    On NumPy, cells with compiled kernels take a step or a block in one compiled call for all layers and the head;
    other threads run meanwhile, also streams of their own. How a sequence is cut into steps and blocks then changes no
    bit of the results, which are the layer's to rounding. Elsewhere the layer is called; ``repr`` says which, and why.
    With ``use_precision("bf16")`` the weights of the head are rounded like the layer's.

    New weights are noticed, be it that ``.data`` of a parameter is assigned, as optimizers and ``load_state_dict`` do,
    or that the layer is given another Parameter in its place; after writing into an array in place, call ``reload()``.
    A copy, or what comes out of a pickle, goes on from the same state by itself.

    Raises ValueError for a bidirectional or reverse layer, which must see the end first, for a head of other sizes or
    dtype, and for x of another shape; TypeError for a head that is no Linear and x that is not of real numbers. What
    fails, or is interrupted, leaves the state as it was. Threads must not share a stream, whose memory two steps at
    once would mix: open one in each.
    """

    def __init__(self, layer: Streamable, batch: int | None = 1, head: Linear | None = None) -> None:
        owner = type(layer).__name__
        if layer.bidirectional or layer.reverse:
            kind = "bidirectional" if layer.bidirectional else "reverse"
            raise ValueError(f"{owner}: a {kind} layer needs the whole sequence; it cannot be streamed")
        self._layer, self._owner = layer, f"{owner}.stream"
        self._head = None if head is None else given.Head(self._owner, head, layer)
        self._batch = 1 if batch is None else whole_number(self._owner, "batch", batch)
        lead = () if batch is None else (self._batch,)
        self._shape = (*lead, layer.input_size)
        self._out_shape = (*lead, layer.state_sizes[0] if head is None else head.out_features)
        self._dtype, self._precision = np.dtype(layer.dtype), current_precision()
        self._stack: Any = None
        self._state: Any = None  # where there is no stack
        self._made_for: Any = None  # the library and the dtypes of the weights
        self.reload()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles open streams of their own: memory is packed for this host, and full of views."""
        head = None if self._head is None else self._head.linear
        return _reopened, (self._layer, self._given_batch, head, self._precision, self.state)

    def __repr__(self) -> str:
        head = "" if self._head is None else f", head={self._head.linear!r}"
        return f"{self._owner}(batch={self._given_batch}{head}): {self._way}"

    @property
    def _given_batch(self) -> int | None:
        return None if len(self._shape) == 1 else self._batch

    def step(self, x: Any) -> Array:
        """One step of every layer, x (B, I); the output (B, H) of the last one, or (B, O) of the head.

        From a compiled call it is a buffer that the step after next overwrites, so copy it to keep it.
        """
        if type(x) is not np.ndarray or x.shape != self._shape:
            x = given.input_array(self._owner, x, (), self._shape, self._made_for[0])
        self._notice()
        if self._stack is None:
            return self._composed(x, None)
        if x.dtype is self._dtype:
            self._input[...] = x
        else:
            given.copy(self._owner, self._input, x)
        dispatch.note(self._told)
        return self._outputs[self._stack.step()]

    def block(self, x: Any, out: Any = None) -> Array:
        """T steps of every layer, x (T, B, I); all outputs (T, B, H) of the last one, or (T, B, O) of the head.

        They go into ``out`` where it is given: an array of the layer's library and dtype, and of NumPy's one that is
        contiguous and writeable. It may be x itself. If x is such an array too, nothing is allocated. T may be 0.

        Raises what :meth:`step` does, and TypeError or ValueError for an ``out`` that does not fit.
        """
        if type(x) is not np.ndarray or x.shape[1:] != self._shape:
            x = given.input_array(self._owner, x, ("T",), self._shape, self._made_for[0])
        self._notice()
        shape, y = (x.shape[0], *self._out_shape), out
        if out is not None and (self._stack is None or not self._takes(out, shape)):
            y = given.target(self._owner, out, shape, self._layer.dtype, self._made_for[0])
        y = self._composed(x, y) if self._stack is None else self._compiled(x, y, shape)
        return y if out is None else out

    def _takes(self, array: Any, shape: tuple[int, ...]) -> bool:
        """Whether compiled code can have an array as it is, which is soon said of those that suit."""
        return type(array) is np.ndarray and array.shape == shape and array.dtype == self._dtype and array.flags.carray

    def _compiled(self, x: Array, y: Array | None, shape: tuple[int, ...]) -> Array:
        """A block on the kernels, in an array for its outputs or a new one of their shape."""
        if not self._takes(x, x.shape):
            x = given.copy(self._owner, np.empty(x.shape, self._dtype), x)
        elif y is not None and x is not y and not (x.base is y.base is None) and np.may_share_memory(x, y):
            x = x.copy()
        if y is None:
            y = np.empty(shape, self._dtype)
        dispatch.note(self._told)
        self._stack.block(x, y)
        return y

    def reload(self) -> None:
        """Take the present weights of the layer and the head; the state stays."""
        layer, present = self._layer, self._layer.weights()
        head = [] if self._head is None else self._head.present()
        weights = [{name: parameter.data for name, parameter in each.items()} for each in present]
        parameters = [parameter for each in present for parameter in each.values()]
        arrays = [parameter.data for parameter in (*parameters, *head) if parameter is not None]
        made_for = backend_of(arrays[0]), {dtype_name(array) for array in arrays}
        if made_for != self._made_for:  # the first time, and where the layer has moved
            self._open(made_for, arrays)
        self._loaded = _NOTHING  # until all is
        if self._stack is not None:
            cpu.load_stack(self._stack, layer.cell, weights, layer.hidden_size, layer.input_size)
            if head:
                weight, bias = (None if parameter is None else parameter.data for parameter in head)
                self._stack.load(layer.num_layers, {"weight": weight, "bias": bias})
        holders = [(vars(layer), name) for name in layer.attributes()]
        if self._head is not None:
            holders += [(vars(self._head.linear), name) for name in ("weight", "bias")]
        self._loaded = [
            (attributes, name, parameter, 0 if parameter is None else parameter.version)
            for (attributes, name), parameter in zip(holders, [*parameters, *head], strict=True)
        ]

    def _notice(self) -> None:
        """Load weights that have changed."""
        for attributes, name, parameter, version in self._loaded:
            if attributes.get(name, _GONE) is not parameter or (parameter is not None and parameter.version != version):
                self.reload()
                break

    def _open(self, made_for: tuple[Backend, set[str]], weights: list[Array]) -> None:
        """Get the memory for weights of another library or dtype; the state comes along."""
        layer, home = self._layer, made_for[0]
        state = None if self._made_for is None else [home.asarray(part) for part in self._parts()]
        with use_precision(self._precision):
            stack = cpu.open_stack(
                layer.cell, weights, layer.num_layers, layer.hidden_size, layer.input_size, self._batch,
                None if self._head is None else self._head.linear.out_features,
            )  # fmt: skip
        if layer.regularisation is not None and any(layer.regularisation.zoneout):
            stack = "no kernel has zoneout"
        if isinstance(stack, str):
            self._way = f"calls of the layer, since there is no compiled one ({stack})"
            stack = None
        else:
            self._way = "one compiled call for all layers" + " and the head" * (self._head is not None)
            single = len(self._shape) == 1
            self._outputs = [y[0] if single else y for y in stack.outputs]
            self._input = stack.x[0] if single else stack.x
        self._told = f"{self._owner}: {self._way}"  # to explain
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
            parts.append(given.real(self._owner, name, input_tensor(self._owner, name, part).data, self._layer.dtype))
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

    def _composed(self, x: Array, out: Array | None) -> Array:
        """Any cell on any backend: a layer call, of one step where x is (B, I)."""
        xp, layer = namespace(**{f"{self._owner}: x": x}), self._layer
        x = given.real(self._owner, "x", x, layer.dtype)
        steps = 1 if x.ndim == len(self._shape) else x.shape[0]
        whole = xp.reshape(x, (steps, self._batch, layer.input_size))
        turn = (1, 0, 2) if layer.batch_first else (0, 1, 2)
        with no_grad(), self._layer.mode(False):
            output, state = layer(xp.permute_dims(whole, turn), self._zeros() if self._state is None else self._state)
            if self._head is not None:
                output = self._head.linear(output)
        y = xp.reshape(xp.permute_dims(output.data, turn), (*x.shape[:-1], output.shape[-1]))
        if out is not None:
            out[...] = y
            y = out
        self._state = tuple(part.data for part in (state if isinstance(state, tuple) else (state,)))
        return y


def _reopened(layer: Streamable, batch: int | None, head: Linear | None, precision: str, state: Any) -> Stream:
    with use_precision(precision):
        stream = Stream(layer, batch, head)
    stream.state = state
    return stream
