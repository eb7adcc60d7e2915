"""The two ways in which a stream moves on: one compiled call for all its parts, or calls of one part after another.

Both hold the state, as a tuple of its parts (L, B, H), of one recurrent layer after another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from xprnn.backend import Array, copied, namespace
from xprnn.engine import cpu, int8
from xprnn.grad_mode import no_grad
from xprnn.nn.recurrent import stream_arguments as given
from xprnn.nn.recurrent.stream_links import Held, Link
from xprnn.settings import use_precision

Parts = tuple[Array, ...]
Move = Callable[[Array, Array], bool]


class Way(Protocol):
    """What a stream asks of either."""

    take_step: Move
    """Move on from x to y, both NumPy's arrays, if compiled code can have them as they are; whether it could."""
    take_block: Move

    def step(self, x: Array, y: Array) -> Array:
        """The output for any x of a step's shape; y is an array that it may be written to."""

    def block(self, x: Array, out: Array | None, shape: tuple[int, ...]) -> Array:
        """The outputs, of this shape, for any x of a block's; in ``out`` where it is given."""

    def load(self, present: Sequence[list[Held]]) -> None:
        """Take the weights of each link."""

    def state(self) -> Parts:
        """A copy of the state."""

    def go_to(self, state: Parts) -> None:
        """Move to another state, which fits; an interrupt leaves the one or the other."""


class Compiled:
    """One compiled call, on a :class:`xprnn.kernels.cpu.Stack` that holds the weights and the state of all parts."""

    def __init__(self, owner: str, stack: Any, links: Sequence[Link], firsts: Sequence[int], dtype: Any) -> None:
        self._owner, self._stack, self._links, self._dtype = owner, stack, links, dtype
        self._firsts = firsts  # the first row of the stack that each link has
        self.take_step, self.take_block = stack.step, stack.block

    def step(self, x: Array, y: Array) -> Array:
        self.take_step(self._fitting(x), y)
        return y

    def block(self, x: Array, out: Array | None, shape: tuple[int, ...]) -> Array:
        y = np.empty(shape, self._dtype) if out is None else out.view(self._dtype)
        if type(x) is not np.ndarray or not self.take_block(x, y):
            self.take_block(self._fitting(x), y)
        return y

    def _fitting(self, x: Array) -> Array:
        """A copy of x that compiled code can have."""
        return given.copy(self._owner, np.empty(x.shape, self._dtype), x)

    def load(self, present: Sequence[list[Held]]) -> None:
        for link, first, held in zip(self._links, self._firsts, present, strict=True):
            link.load(self._stack, first, held)

    def state(self) -> Parts:
        views = self._views(self._stack.current)
        return tuple(np.stack(part) for layers in views for part in zip(*layers, strict=True))

    def go_to(self, state: Parts) -> None:
        parts = iter(state)
        for layers in self._views(1 - self._stack.current):  # beside the present state, which it then replaces at once
            for views in zip(*layers, strict=True):
                for view, part in zip(views, next(parts), strict=True):
                    np.copyto(view, part, casting="same_kind")
        self._stack.turn()

    def _views(self, which: int) -> list[list[Parts]]:
        """One of the two copies of the state that a stack has: of each link with a state, of each layer, its parts."""
        pairs = zip(self._links, self._firsts, strict=True)
        return [
            [self._stack.views(row, which) for row in range(first, first + link.layers)]
            for link, first in pairs
            if link.layers
        ]


class Composed:
    """Calls of one part after another, on any array library, from one state to the next."""

    def __init__(self, owner: str, links: Sequence[Link], batch: int, dtype: str, state: Parts) -> None:
        self._owner, self._links, self._batch, self._dtype, self._state = owner, links, batch, dtype, state
        self.take_step: Move = _no_compiled_call
        self.take_block: Move = _no_compiled_call

    def step(self, x: Array, y: Array) -> Array:
        return self._run(x, 1, None)

    def block(self, x: Array, out: Array | None, shape: tuple[int, ...]) -> Array:
        return self._run(x, shape[0], out)

    def _run(self, x: Array, steps: int, out: Array | None) -> Array:
        xp = namespace(**{f"{self._owner}: x": x})
        x = given.real(self._owner, "x", x, self._dtype)
        y, before, after = xp.reshape(x, (steps, self._batch, x.shape[-1])), iter(self._state), Parts()
        with no_grad():
            for link in self._links:
                y, parts = link.call(y, tuple(next(before) for _ in link.state_sizes))
                after += parts
        y = xp.reshape(y, (*x.shape[:-1], y.shape[-1]))
        if out is not None:
            out[...] = y
            y = out
        self._state = after
        return y

    def load(self, present: Sequence[list[Held]]) -> None:
        """Nothing: each call takes the weights of the parts themselves."""

    def state(self) -> Parts:
        return tuple(map(copied, self._state))

    def go_to(self, state: Parts) -> None:
        self._state = tuple(map(copied, state))


def _no_compiled_call(x: Array, y: Array) -> bool:
    return False


def open_stack(
    links: Sequence[Link], inputs: int, weights: list[Array], batch: int | None, precision: str
) -> tuple[Any, list[int]]:
    """A stack for weights like these, or why there is none; and which of its rows is the first of each link."""
    steps: list[cpu.Step] = []
    firsts, width = [], inputs
    for link in links:
        found = link.kernels(width)
        if isinstance(found, str):
            return found, []
        firsts.append(len(steps))
        steps += found
        width = link.outputs or width
    if any(step.int8 for step in steps):
        return int8.open_stack(steps, weights, batch), firsts
    with use_precision(precision):
        return cpu.open_stack(steps, weights, batch), firsts
