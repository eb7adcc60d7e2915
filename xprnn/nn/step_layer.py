"""Recurrent: any step a user can write with differentiable operations, run over a sequence."""

from __future__ import annotations

from typing import Any, Protocol

from xprnn import dispatch, ops, sequence
from xprnn.backend import dtype_name
from xprnn.nn.module import Module, input_tensor
from xprnn.nn.recurrent_layer import outer_state, state_parts
from xprnn.steps import Steps


class StepCell(Protocol):
    """What :class:`Recurrent` needs: the widths of the state's parts, and a step built from xprnn.ops."""

    state_sizes: tuple[int, ...]

    def step(self, x: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        """x (B, I) and the parts of a state (B, H) to the parts of the next state, the output first."""


class Recurrent(Module):
    """A layer from a step of your own; lengths, masks, resets, reversal and carried state work as in ``LSTM``.

    ``cell`` has ``state_sizes`` and ``step(x, state) -> state`` (:class:`StepCell`); where it is a Module, its
    parameters are this layer's. Every step is recorded on the tape: correct and differentiable at once, to any order,
    and slow. Write the explicit backward as a :class:`xprnn.cells.Cell` for the fast engine, and check it with
    xprnn.testing.

    x (T, B, I), or (B, T, I) with ``batch_first``; output (T, B, H) likewise, with H the first of the state sizes;
    state parts (B, H). Raises TypeError and ValueError for wrong types and shapes, also of what the step returns.
    """

    def __init__(self, cell: StepCell, *, batch_first: bool = False, reverse: bool = False) -> None:
        if not callable(getattr(cell, "step", None)) or not hasattr(cell, "state_sizes"):
            raise TypeError(
                f"Recurrent: cell is a {type(cell).__name__}; expected an object with state_sizes and step(x, state)"
            )
        self.cell, self.batch_first, self.reverse = cell, batch_first, reverse

    def forward(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        mask: Any = None,
        reset: Any = None,
        return_all_states: bool = False,
    ) -> tuple[Any, ...]:
        """Run over a batch of sequences; arguments and result as in :meth:`RecurrentLayer.forward`."""
        x = input_tensor("Recurrent", "x", x)
        lengths, mask, reset = ops.value(lengths), ops.value(mask), ops.value(reset)
        if x.ndim != 3 or dtype_name(x.data) not in ("float32", "float64"):
            raise ValueError(
                f"Recurrent: x has shape {x.shape} and dtype {dtype_name(x.data)}; expected (T, B, I), floating"
            )
        if self.batch_first:
            x = ops.permute_dims(x, (1, 0, 2))
        names = tuple("h" if k == 0 else f"state part {k}" for k in range(len(self.cell.state_sizes)))
        shapes = [(x.shape[1], size) for size in self.cell.state_sizes]
        parts = state_parts("Recurrent", names, state, shapes, x)
        steps = Steps.build("Recurrent", x.data, lengths, mask, reset, self.batch_first)
        if steps.advance is not None:
            x = ops.where(steps.advance, x, ops.zeros_like(x))

        def step(xt: Any, old: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[()]]:
            new = self.cell.step(xt, old)
            if not isinstance(new, tuple) or [tuple(part.shape) for part in new] != shapes:
                came = [tuple(part.shape) for part in new] if isinstance(new, tuple) else type(new).__name__
                raise ValueError(f"Recurrent: step returned {came}; expected a tuple of shapes {shapes}")
            return new, ()

        dispatch.note(f"{type(self.cell).__name__}: composed of primitives, step by step")
        result, _ = sequence.scan(step, x, parts, steps, self.reverse)
        output = ops.permute_dims(result.sequences[0], (1, 0, 2)) if self.batch_first else result.sequences[0]
        found = (output, outer_state(result.final))
        return (*found, result.sequences) if return_all_states else found
