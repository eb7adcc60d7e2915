"""Recurrent: any step a user can write with differentiable operations, run over a sequence."""

from __future__ import annotations

from typing import Any, Protocol

from xprnn import ops
from xprnn.arguments import each_true_or_false, several
from xprnn.engine import dispatch, reference
from xprnn.engine.control import Control
from xprnn.engine.observer import observing
from xprnn.nn.recurrent.sequence_layer import Parts, SequenceLayer, zero_state
from xprnn.tensor import Tensor


class StepCell(Protocol):
    """What :class:`Recurrent` needs: the widths of the state's parts, and a step built from xprnn.ops."""

    state_sizes: tuple[int, ...]

    def step(self, x: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        """x (B, I) and the parts of a state (B, H) to the parts of the next state, the output first."""


class Recurrent(SequenceLayer):
    """A layer from a step of your own; lengths, masks, resets, reversal and carried state work as in ``LSTM``.

    ``cell`` has ``state_sizes`` and ``step(x, state) -> state`` (:class:`StepCell`); where it is a Module, its
    parameters are this layer's. Every step is recorded on the tape: correct and differentiable at once, to any order,
    and slow. Write the explicit backward as a :class:`xprnn.cells.Cell` for the fast engine, and check it with
    xprnn.testing.

    x (T, B, I), or (B, T, I) with ``batch_first``, or (T, I) without a batch; output (T, B, H) likewise, with H the
    first of the state sizes; state parts (B, H), or (H,). Raises TypeError and ValueError for wrong types and shapes,
    also of what the step returns.
    """

    _fixed = frozenset({"state_sizes", "state_names"})

    def __init__(self, cell: StepCell, *, batch_first: bool = False, reverse: bool = False) -> None:
        if not callable(getattr(cell, "step", None)) or not hasattr(cell, "state_sizes"):
            raise TypeError(
                f"Recurrent: cell is a {type(cell).__name__}; expected an object with state_sizes and step(x, state)"
            )
        self.cell = cell
        self.batch_first, self.reverse = each_true_or_false("Recurrent", batch_first=batch_first, reverse=reverse)
        self.state_sizes = tuple(several("Recurrent", "the cell's state_sizes", cell.state_sizes))
        self.state_names = tuple("h" if k == 0 else f"state part {k}" for k in range(len(self.state_sizes)))

    def _walk(self, x: Tensor, state: Parts | None, control: Control, every: bool) -> tuple[Tensor, Parts, Parts]:
        if state is None:  # not shared: a step of somebody else may write to a part, or hand it on
            state = tuple([part for size in self.state_sizes for part in zero_state(x, [size])])
        shapes, dtypes = [part.shape for part in state], [part.dtype for part in state]
        if control.advance is not None:
            x = ops.where(control.advance, x, ops.zeros_like(x))

        observer = observing()

        def step(xt: Any, old: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[()]]:
            new = self.cell.step(xt, old)
            came = [*map(_shape, new)] if isinstance(new, tuple) else type(new).__name__
            if came != shapes:
                raise ValueError(f"Recurrent: step returned {came}; expected a tuple of shapes {shapes}")
            if [part.dtype for part in new] != dtypes:
                raise TypeError(
                    f"Recurrent: step returned {[part.dtype for part in new]}; expected {dtypes}, as before"
                )
            return new if observer is None else observer.stepped(self, xt, old, new), ()

        dispatch.note(f"{type(self.cell).__name__}: composed of primitives, step by step")
        result, _ = reference.scan(step, x, state, control, self.reverse)
        if observer is not None:
            observer.walked(self, x.shape[0], control)
        return result.sequences[0], result.final, result.sequences


def _shape(part: Any) -> Any:
    """The shape of a Tensor; of anything else, through which no gradient would flow, its type."""
    return part.shape if isinstance(part, Tensor) else type(part).__name__
