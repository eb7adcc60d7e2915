"""One sequence call on the tape: dispatch picks an implementation, and the whole call becomes one node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from xprnn.cells import Cell, Weights
from xprnn.engine import dispatch, reference
from xprnn.engine.call import SequenceCall
from xprnn.engine.control import Control
from xprnn.engine.noise import Noise
from xprnn.engine.observer import observing
from xprnn.grad_mode import is_grad_enabled
from xprnn.tape import handed, is_recorded, record_joint, replayed
from xprnn.tensor import Cotangents, Tensor

Parts = tuple[Tensor, ...]


def run(
    cell: Cell,
    weights: dict[str, Any],
    x: Tensor,
    state: Parts,
    control: Control,
    reverse: bool = False,
    layer: Any = None,
    number: int = 0,
    noise: Noise | None = None,
    alone: bool = False,
    every: bool = True,
    own_state: bool = False,
) -> tuple[Parts, Parts]:
    """Each part of the state after every step (T, B, H), and at the end (B, H), for x (T, B, I).

    ``alone`` says that the layer makes no other call; the state at the end then has the form of a layer's, (1, B, H).
    Without ``every`` only h is wanted after every step: other parts may be None there, as they may be of a cell that
    takes many steps at once. ``own_state`` says that the state is zeros of the layer's own, which nobody writes to.
    ``layer`` and ``number`` tell an observer whose call this is, and which of its calls.
    """
    observer = observing()
    if cell.linear or cell.composed:
        from xprnn.nn.recurrent.taped_cell import with_way_back

        cell = with_way_back(cell)
    if observer is not None and is_grad_enabled():  # it sees the way back, whoever wants gradients
        state = tuple(part if part.requires_grad else Tensor(part.data, requires_grad=True) for part in state)
    inputs = (x, *state, *weights.values())
    keep = is_recorded(inputs)
    arrays: Weights = {name: weight.data for name, weight in weights.items()}
    parts = tuple([part.data for part in state])
    from_start = keep and is_recorded(state)
    call = SequenceCall(cell, arrays, x.data, parts, control, reverse, keep, noise, every, from_start)
    impl, result, cache = dispatch.run_forward(call)
    if observer is not None:
        observer.called(layer, number, call)
    there, final = result.sequences, result.final
    if alone:
        final = tuple([part[None, ...] for part in final])
    if not keep:
        steps: Any = tuple([None if part is None else Tensor(part) for part in there])
        return steps, tuple(map(Tensor, final))
    if cell.many or not every:
        there = tuple(part for part in there if part is not None)

    def both(parts: Sequence[Any]) -> tuple[Any, Any]:
        """Parts after every step, with None for those that were not kept, and parts at the end."""
        if len(there) == len(state):
            return tuple(parts[: len(state)]), tuple(parts[len(state) :])
        first = iter(parts)
        return tuple(None if part is None else next(first) for part in result.sequences), tuple(first)

    def pullback(cotangents: Cotangents, outputs: Sequence[Tensor | None]) -> Cotangents:
        if alone:
            ends = [None if g is None else g[0] for g in cotangents[len(there) :]]
            cotangents = [*cotangents[: len(there)], *ends]
        if is_grad_enabled():  # gradients of gradients: compose the call of primitives, and let the tape differentiate
            replay, _ = reference.forward(replace(call, weights=weights, x=x, state=state))
            pairs = zip((*replay.sequences, *replay.final), (g for part in both(cotangents) for g in part), strict=True)
            flows = [(y, g) for y, g in pairs if g is not None and y.requires_grad]
            return replayed([y for y, _ in flows], inputs, [g for _, g in flows])
        arrays = [None if g is None else g.data for g in cotangents]
        dsequences, dfinal = both(arrays)
        if (looking := observing()) is not None:
            looking.came_back(call, dsequences, dfinal)
        gradients = impl.backward(call, cache, dsequences, dfinal, x.requires_grad)
        made: Any = handed if impl.gives_away else lambda leaf, array: Tensor(array)
        found = [None if gradients.x is None else made(x, gradients.x)]
        found += [None if g is None else Tensor(g) for g in gradients.state]
        return [*found, *[made(weight, gradients.weights[name]) for name, weight in weights.items()]]

    reads = (x, *([None] * len(state) if own_state else state), *weights.values(), control.advance, control.restart)
    labels = _labels(cell.state_names, *weights)
    return both(record_joint(cell.name, (*there, *final), inputs, pullback, reads, labels))


@cache
def _labels(state_names: tuple[str, ...], *weights: str) -> tuple[str, ...]:
    """The names by which errors call what the way back reads."""
    return ("x", *(f"the initial {name}" for name in state_names), *weights, "mask or lengths", "reset")
