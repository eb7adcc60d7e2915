"""Truncated backpropagation through time over batches that come one after the other, as from a disk."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from xprnn.arguments import checked_state, of_kind
from xprnn.backend import backend_of, to_numpy
from xprnn.data.lanes import Lanes
from xprnn.data.portions import Divisible, rows_of
from xprnn.nn.module import Module
from xprnn.tensor import Tensor
from xprnn.train.tbptt import Chunk, detached

Gather = Callable[[Any], list[Any]]


class Carried(Divisible):
    """Batches of ``fit``: chunks that a layer has computed of lanes, its state carried on from one to the next.

    >>> lanes = Lanes(tokens, batch_size=32, chunk=64, ahead=1, updates=1000)  # doctest: +SKIP
    >>> loss = lambda model, batch: cross_entropy(model.head(batch[-1].output), batch[0])  # doctest: +SKIP
    >>> fit(model, Carried(model.body, lanes), loss, optimizer, epochs=20)  # doctest: +SKIP

    ``layer(x, state) -> output, state`` gets the first source of each batch, (k, B, ...); what follows that source is
    moved to where the layer is and comes first, as (y, ..., :class:`Chunk`). Gradients reach back to the beginning of
    the chunk, and a pass begins with no state: memory does not depend on the length of the data.

    ``state_dict`` holds the place and the state, so that a run of ``fit`` that is resumed in the middle of a pass goes
    on with the same bits. Several ranks have some of the lanes each; their states must have the lanes on axis 1, as
    those of this package's layers do, or ``fit`` raises ValueError when it writes a checkpoint.

    Raises TypeError for a layer that is no Module, or no :class:`xprnn.data.Lanes`; ValueError for a layer that looks
    into the future, whose time is not the first axis, or that has no parameters.
    """

    axis = 1

    def __init__(self, layer: Module, lanes: Lanes) -> None:
        self.layer, self.lanes = of_kind("Carried", "layer", layer, Module), of_kind("Carried", "lanes", lanes, Lanes)
        for name in ("bidirectional", "reverse", "batch_first"):
            if getattr(layer, name, False):
                raise ValueError(f"Carried: the layer has {name}; expected one that goes forward in time, on axis 0")
        if not [*layer.parameters()]:
            raise ValueError("Carried: the layer has no parameters; expected one that learns")
        self._state: Any = None  # of this rank's lanes
        self._whole: Any = None  # of all lanes, in lists of arrays of the host, from a file or for one
        self._loaded = False  # whether the state must be taken from the whole one

    def __len__(self) -> int:
        return len(self.lanes)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self.parts(0, 1)

    def parts(self, rank: int, size: int) -> Iterator[tuple[Any, ...]]:
        """The next batches, of the lanes of one of several ranks."""
        home = backend_of(next(iter(self.layer.parameters())).data)

        def mine(array: Any) -> Any:
            return array if size == 1 else array[:, rows_of(rank, size, self.lanes.batch_size)]

        for x, *others in self.lanes.parts(rank, size):
            if self.lanes.position == 1:
                self._state = None
            elif self._loaded:
                self._state = _leaves(lambda array: Tensor(home.asarray(mine(array))))(self._whole)
            self._whole, self._loaded = None, False
            output, after, *_ = self.layer(home.asarray(x), self._state)
            self._state = None if after is None else detached(after)
            start = (self.lanes.position - 1) * self.lanes.chunk
            yield (*map(home.asarray, others), Chunk(output, self._state, start, start + len(x)))
            del output, after  # before the next chunk is computed, so that two are never held at once

    def bring_together(self, of_all: Gather) -> None:
        """Bring the states of all ranks together, of which ``of_all`` gives what each has; all ranks call it."""
        states = of_all(_leaves(lambda tensor: to_numpy(tensor.data))(self._state))
        if not self._loaded:
            self._whole = states[0] if len(states) == 1 else _joined(states)

    def state_dict(self) -> dict[str, Any]:
        """The place, and the state of all lanes, which several ranks must have brought together before."""
        if not self._loaded and self._whole is None:
            self.bring_together(lambda state: [state])
        return {"lanes": self.lanes.state_dict(), "state": self._whole}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` gave. Raises ValueError, and changes nothing, for what does not fit."""
        states = checked_state("Carried", state, ("lanes", "state"))["state"]
        if not _are_arrays(states):
            raise ValueError(f"Carried: the state's state is {reprlib.repr(states)}; expected arrays, or lists of them")
        self.lanes.load_state_dict(state["lanes"])
        self._whole, self._loaded, self._state = states, True, None


def _leaves(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same of each part of a state: tuples of Tensors, or lists of arrays, the other way round."""

    def each(state: Any) -> Any:
        if isinstance(state, (tuple, list)):
            return (list if isinstance(state, tuple) else tuple)(map(each, state))
        return None if state is None else function(state)

    return each


def _joined(states: list[Any]) -> Any:
    """The states of all ranks as one."""
    if isinstance(states[0], list):
        return [_joined(list(parts)) for parts in zip(*states, strict=True)]
    if states[0] is None:
        return None
    if states[0].ndim < 2:
        raise ValueError(f"Carried: a state has shape {states[0].shape}; expected lanes on axis 1, to be shared")
    return np.concatenate(states, axis=1)


def _are_arrays(state: Any) -> bool:
    if isinstance(state, (tuple, list)):
        return all(map(_are_arrays, state))
    return state is None or hasattr(state, "shape")
