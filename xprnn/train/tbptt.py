"""Truncated backpropagation through time: gradients over long sequences in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import function, input_tensor, whole_number
from xprnn.backend import dtype_name, to_numpy
from xprnn.tensor import Tensor


@dataclass(frozen=True)
class Chunk:
    """Steps start to stop of a sequence: their output, and the state after them, cut off from the graph."""

    output: Tensor
    state: Any
    start: int
    stop: int


def truncated_bptt(
    layer: Callable[..., Any],
    x: Any,
    *,
    k1: int,
    k2: int | None = None,
    state: Any = None,
    lengths: Any = None,
    mask: Any = None,
    reset: Any = None,
) -> Iterator[Chunk]:
    """Walk through time k1 steps at a time, with gradients that reach k2 steps back: BPTT(k2; k1).

    >>> for chunk in truncated_bptt(lstm, x, k1=20, k2=60):  # doctest: +SKIP
    ...     optimizer.zero_grad()
    ...     mse(readout(chunk.output), targets[chunk.start : chunk.stop]).backward()
    ...     optimizer.step()

    Each chunk is computed when it is asked for, from the window max(0, stop - k2) to stop. The state that enters the
    window comes from earlier chunks and is a constant; nothing of an old window is kept but that state. Williams and
    Peng 1990, "An efficient gradient-based algorithm for on-line training of recurrent network trajectories".

    Parameters
    ----------
    layer
        ``layer(x, state, **control) -> output, state``, one direction. What comes before it, such as an embedding,
        belongs inside: each chunk runs its own graph. Time is axis 1 where ``layer.batch_first``, else axis 0.
    x
        Array or Tensor, (T, B, ...) or (B, T, ...).
    k1, k2
        New steps in each chunk; steps of the window, at least k1, which is also the default.
    state
        Before step 0: None, or a Tensor or tuple of them; not cut off, so that a Parameter there is trained.
    lengths, mask, reset
        As in the layer, for all T steps; handed on, in parts, where given.

    Raises
    ------
    ValueError
        k1 or k2 is too small, the layer looks into the future, x or a control array has no time axis or another T.
    TypeError
        x is no array, or lengths are not integers.
    """
    function("truncated_bptt", "layer", layer)
    k1 = whole_number("truncated_bptt", "k1", k1, 0)
    k2 = k1 if k2 is None else whole_number("truncated_bptt", "k2", k2, 0)
    if k1 < 1 or k2 < k1:
        raise ValueError(f"truncated_bptt: k1 is {k1} and k2 {k2}; expected 1 <= k1 <= k2")
    if getattr(layer, "bidirectional", False) or getattr(layer, "reverse", False):
        raise ValueError("truncated_bptt: the layer runs backward in time too, but the future is not there yet")
    x = input_tensor("truncated_bptt", "x", x)
    axis = 1 if getattr(layer, "batch_first", False) else 0
    if x.ndim < 2 or (axis == 1 and x.ndim == 2 and dtype_name(x.data).startswith("float")):
        raise ValueError(f"truncated_bptt: x has shape {x.shape}; expected {'(B, T, I)' if axis else '(T, B, I)'}")
    control = _Control(axis, x.shape[axis], lengths, {"mask": mask, "reset": reset})
    return _chunks(layer, x, k1, k2, state, control)


def _chunks(layer: Callable[..., Any], x: Tensor, k1: int, k2: int, state: Any, control: _Control) -> Iterator[Chunk]:
    steps = control.steps
    for start in range(0, steps, k1):
        stop = min(start + k1, steps)
        begin, following = max(0, stop - k2), max(0, min(stop + k1, steps) - k2)  # this window and the next one
        # Cut where the new steps begin, and where the next window will: its state is then seen in passing.
        cuts = sorted({begin, following, start, stop})
        inner, new = state, []
        for a, b in pairwise(cuts):
            output, inner, *_ = layer(control.part(x, a, b), inner, **control.between(a, b))
            if b == following:
                state = detached(inner)
            if a >= start:
                new.append(output)
        yield Chunk(new[0] if len(new) == 1 else ops.concat(new, axis=control.axis), detached(inner), start, stop)
        del output, inner, new  # before the next window is computed, so that two are never held at once


class _Control:
    """The control arrays of a whole sequence, checked, and what a part of the sequence gets of them."""

    def __init__(self, axis: int, steps: int, lengths: Any, flags: dict[str, Any]) -> None:
        self.axis, self.steps, self.lengths = axis, steps, None
        if lengths is not None:
            self.lengths = np.asarray(to_numpy(lengths) if hasattr(lengths, "shape") else lengths)
            if self.lengths.dtype.kind not in "iu":
                raise TypeError(f"truncated_bptt: lengths has dtype {self.lengths.dtype}; expected integers")
            if self.lengths.size and not 0 <= self.lengths.min() <= self.lengths.max() <= steps:
                low, high = self.lengths.min(), self.lengths.max()
                raise ValueError(f"truncated_bptt: lengths go from {low} to {high}; expected 0 to T = {steps}")
        self.flags = {
            name: array if hasattr(array, "shape") else np.asarray(array)
            for name, array in flags.items()
            if array is not None
        }
        for name, array in self.flags.items():
            shape = tuple(array.shape)
            if len(shape) <= axis or shape[axis] != steps:
                raise ValueError(f"truncated_bptt: {name} has shape {shape}; expected T = {steps} on axis {axis}")

    def part(self, array: Any, start: int, stop: int) -> Any:
        return array[(*[slice(None)] * self.axis, slice(start, stop), ...)]

    def between(self, start: int, stop: int) -> dict[str, Any]:
        control = {name: self.part(array, start, stop) for name, array in self.flags.items()}
        if self.lengths is not None:
            control["lengths"] = np.clip(self.lengths.astype(np.int64) - start, 0, stop - start)
        return control


def detached(state: Any) -> Any:
    """A state cut off from the graph, in the same form."""
    return tuple(detached(part) for part in state) if isinstance(state, tuple) else state.detach()
