"""Streams: a recurrent layer fed step by step or block by block, as in control, audio and serving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy import ndarray

from xprnn.arguments import input_tensor, size
from xprnn.backend import Array, Backend, backend_of, dtype_name
from xprnn.engine import dispatch
from xprnn.engine.dispatch import listening
from xprnn.nn.module import Module
from xprnn.nn.recurrent import stream_arguments as given
from xprnn.nn.recurrent.stream_links import Head, Streamable, check_same_parts, links_of
from xprnn.nn.recurrent.stream_ways import Compiled, Composed, Move, Way, open_stack
from xprnn.nn.watching import watch
from xprnn.settings import current_precision, use_precision
from xprnn.tensor import CHANGES, Tensor
from xprnn.together import make, new_attribute

_GONE: Any = object()
_NOTHING: list[tuple[Mapping[str, Any], str, Any, int | None]] = [({}, "", object(), 0)]
"""What weights were loaded, where that cannot be said: it is like no layer's."""


@runtime_checkable
class Chain(Protocol):
    """Modules that feed each other, as :class:`xprnn.nn.Sequential` has them."""

    def flat(self) -> list[Module]:
        """All of them, in order."""


class Stream:
    """A layer, or a Sequential, that remembers where it is: ``y = stream.step(x)``, ``stream.block(x)`` for many steps.

    ======  =======================================================================
    x       (B, I) for a step, (T, B, I) for a block, whatever ``batch_first`` says
    y       (B, H) or (T, B, H); with a head of O outputs O in the place of H
    state   as the layer has it, parts (L, B, H): readable and assignable; of a Sequential a
            list of such states, one for each recurrent layer
    ======  =======================================================================

    x and y are without B where the stream was opened with ``batch=None``. Nested lists of numbers will do for x.
    ``head`` is a Linear that the outputs go through. ``reset()`` makes the state zero. Gradients are not recorded.

    On NumPy, cells with compiled kernels take a step or a block in one compiled call for all layers and the head, or
    for all modules of a Sequential, of float weights and of 8 bits; other threads run meanwhile, also streams of their
    own. How a sequence is cut into steps and blocks then changes no bit of the results, which are the layer's to
    rounding, and to the bit where all weights have 8 bits. Where one sequence goes through an LSTM or GRU of float32 or
    float64, its steps stay in registers from the product to the state. Elsewhere the layer is called, as with full
    peepholes, and another cut may change last bits; ``repr`` says which, and why. With ``use_precision("bf16")`` the
    weights of the head are rounded like the layer's; beside weights of 8 bits nothing is.

    New weights are noticed, be it that ``.data`` of a parameter is assigned, as optimizers and ``load_state_dict`` do,
    or that the layer is given another Parameter in its place; after writing into an array in place, call ``reload()``.
    A layer that is given another cell or direction, and a Sequential another part, is refused: open another stream.
    What changes within a cell, as the clip of one of its functions, is taken by :meth:`reload`.
    A copy, or what comes out of a pickle, goes on from the same state by itself.

    Raises ValueError for a bidirectional or reverse layer, which must see the end first, for a head of other sizes or
    dtype, and for x of another shape; TypeError for a head that is no Linear and x that is not of real numbers. What
    fails, or is interrupted, leaves the state as it was. Threads must not share a stream, whose memory two steps at
    once would mix: open one in each.
    """

    def __init__(self, module: Streamable | Chain, batch: int | None = 1, head: Head | None = None) -> None:
        self._module, self._head, self._owner = module, head, f"{type(module).__name__}.stream"
        self._chain = isinstance(module, Chain)
        self._links = links_of(self._owner, module.flat() if isinstance(module, Chain) else (module,), head)
        self._recurrent = [link for link in self._links if link.layers]
        for part in (module, head):
            if isinstance(part, Module):
                watch(part, self)
        self._batch = 1 if batch is None else size(self._owner, "batch", batch)
        lead = () if batch is None else (self._batch,)
        self.input_size = next(link.inputs for link in self._links if link.inputs is not None)
        self._shape = (*lead, self.input_size)
        self._out_shape = (*lead, [link.outputs for link in self._links if link.outputs is not None][-1])
        self._dtype = np.dtype(next(link.dtype for link in self._links if link.dtype is not None))
        self._precision = current_precision()
        self._way: Way
        self._take_step: Move
        self._take_block: Move
        self._how = ""
        self._outputs, self._latest = np.zeros((2, *self._out_shape), self._dtype), 0  # of the last two steps
        self._made_for: Any = None  # the library and the dtypes of the weights
        self._seen: Any = None  # the latest change of weights when they were looked at
        self.reload()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles open streams of their own: memory is packed for this host, and full of views."""
        return _reopened, (self._module, self._given_batch, self._head, self._precision, self.state)

    def __repr__(self) -> str:
        head = "" if self._head is None else f", head={self._head!r}"
        return f"{self._owner}(batch={self._given_batch}{head}): {self._how}"

    @property
    def dtype(self) -> str:
        """Of inputs, outputs and state."""
        return self._dtype.name

    @property
    def _given_batch(self) -> int | None:
        return None if len(self._shape) == 1 else self._batch

    def step(self, x: Any) -> Array:
        """One step of every layer, x (B, I); the output (B, H) of the last one, or (B, O) of the head.

        From a compiled call it is a buffer that the step after next overwrites, so copy it to keep it.
        """
        if CHANGES.latest is not self._seen:
            self._notice()
        if listening() is not None:
            dispatch.note(f"{self._owner}: {self._how}")
        latest = 1 - self._latest
        y = self._outputs[latest]
        if type(x) is not ndarray or not self._take_step(x, y):
            if type(x) is not ndarray or x.shape != self._shape:
                x = given.input_array(self._owner, x, (), self._shape, self._made_for[0])
            y = self._way.step(x, y)
        self._latest = latest
        return y

    def block(self, x: Any, out: Any = None) -> Array:
        """T steps of every layer, x (T, B, I); all outputs (T, B, H) of the last one, or (T, B, O) of the head.

        They go into ``out`` where it is given: an array of the layer's library and dtype, and of NumPy's one that is
        contiguous and writeable. It may be x itself. If x is such an array too, nothing is allocated. T may be 0.

        Raises what :meth:`step` does, and TypeError or ValueError for an ``out`` that does not fit.
        """
        if CHANGES.latest is not self._seen:
            self._notice()
        if listening() is not None:
            dispatch.note(f"{self._owner}: {self._how}")
        if type(x) is not ndarray or type(out) is not ndarray or not self._take_block(x, out):
            if type(x) is not ndarray or x.shape[1:] != self._shape:
                x = given.input_array(self._owner, x, ("T",), self._shape, self._made_for[0])
            shape, target = (x.shape[0], *self._out_shape), None
            if out is not None:
                target = given.target(self._owner, out, shape, self.dtype, self._made_for[0])
            y = self._way.block(x, target, shape)
            return y if out is None else out
        return out

    def reload(self) -> None:
        """Take the present weights of all parts and the head; the state stays."""
        if isinstance(self._module, Chain):
            check_same_parts(self._owner, self._links, self._module.flat())
        present = [link.present() for link in self._links]
        arrays = [held.value.data for each in present for held in each if isinstance(held.value, Tensor)]
        made_for = backend_of(arrays[0]), {dtype_name(array) for array in arrays}
        self._loaded = _NOTHING  # until all is
        if made_for != self._made_for:  # the first time, and where the parts have moved
            self._open(made_for, arrays)
        self._way.load(present)
        self._loaded = [
            (*held, held.value.version if isinstance(held.value, Tensor) else None) for each in present for held in each
        ]

    def outdated(self) -> None:
        """Look at all parts again before the next step: something was assigned to one of them."""
        self._loaded = _NOTHING
        CHANGES.latest = object()

    def _notice(self) -> None:
        """Load weights and numbers that have changed."""
        latest = CHANGES.latest
        for attributes, name, value, version in self._loaded:
            if attributes.get(name, _GONE) is not value or (version is not None and value.version != version):
                self.reload()
                break
        self._seen = latest

    def _open(self, made_for: tuple[Backend, set[str]], weights: list[Array]) -> None:
        """Go another way, for weights of another library or dtype, all in one go; the state comes along."""
        home = made_for[0]
        state = self._zeros(home) if self._made_for is None else tuple(map(home.asarray, self._way.state()))
        stack, firsts = open_stack(self._links, self.input_size, weights, self._given_batch, self._precision)
        way: Way
        if isinstance(stack, str):
            calls = "calls of one part after another" if self._chain else "calls of the layer"
            way = Composed(self._owner, self._links, self._batch, self.dtype, state)
            how = f"{calls}, since there is no compiled one ({stack})"
        else:
            whole = "all parts" if self._chain else "all layers" + " and the head" * (self._head is not None)
            way = Compiled(self._owner, stack, self._links, firsts, self._dtype)
            way.go_to(state)
            how = f"one compiled call for {whole}" + f", {stack.how}" * bool(stack.how)
        new = {"_way": way, "_take_step": way.take_step, "_take_block": way.take_block, "_how": how}
        make(new_attribute(self, *item) for item in (new | {"_made_for": made_for}).items())

    def reset(self) -> None:
        """Back to zero state."""
        self._way.go_to(self._zeros(self._made_for[0]))

    @property
    def state(self) -> Any:
        """The state, as the layer takes and returns it: an array (L, B, H), or a tuple of one for each part. A copy.

        Of a Sequential it is a list: such a state for each recurrent layer.
        """
        parts, states = iter(self._way.state()), []
        for link in self._recurrent:
            own = tuple(next(parts) for _ in link.state_sizes)
            states.append(own[0] if len(own) == 1 else own)
        return states if self._chain else states[0]

    @state.setter
    def state(self, new: Any) -> None:
        parts = []
        for number, own in enumerate(self._each(new)):
            of = f" of recurrent layer {number}" if self._chain else ""
            for k, part in enumerate(own if isinstance(own, (tuple, list)) else (own,)):
                name = f"part {k} of the state{of}"
                array = input_tensor(self._owner, name, part).data
                parts.append(given.real(self._owner, name, array, self.dtype))
        came, expected = ([tuple(part.shape) for part in some] for some in (parts, self._zeros(self._made_for[0])))
        if came != expected:
            raise ValueError(f"{self._owner}: the state has shapes {came}; expected {expected}")
        self._way.go_to(tuple(parts))

    def _each(self, state: Any) -> list[Any]:
        """What is given for each recurrent layer."""
        if not self._chain:
            return [state]
        count = len(self._recurrent)
        if not isinstance(state, (tuple, list)) or len(state) != count:
            came = f"{len(state)} states" if isinstance(state, (tuple, list)) else f"a {type(state).__name__}"
            raise ValueError(f"{self._owner}: the state is {came}; expected a list of {count}, one a recurrent layer")
        return list(state)

    def _zeros(self, home: Backend) -> tuple[Array, ...]:
        shapes = [(link.layers, self._batch, size) for link in self._recurrent for size in link.state_sizes]
        return tuple(home.zeros(shape, self.dtype) for shape in shapes)


def _reopened(module: Any, batch: int | None, head: Head | None, precision: str, state: Any) -> Stream:
    with use_precision(precision):
        stream = Stream(module, batch, head)
    stream.state = state
    return stream
