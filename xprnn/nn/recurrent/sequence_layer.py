"""What all layers over time have in common: the forms of x, state and control that they take and give back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from xprnn.arguments import floating_input, input_tensor, true_or_false
from xprnn.backend import dtype_name, shared_namespace, zeros_beside
from xprnn.engine.control import FREE, Control
from xprnn.nn.form import Form
from xprnn.nn.module import Module
from xprnn.tensor import Tensor

Parts = tuple[Tensor, ...]


class SequenceLayer(Module):
    """Base of the layers over time. A subclass sets the attributes below and walks a time-major batch in ``_walk``."""

    batch_first: bool
    input_size: int | None = None
    """The length of x's last axis; None where any will do."""
    extra_inputs: int = 0
    """How many columns the cell is given behind x's own, such as times. ``forward`` joins them to x; a stream's x has
    them already.
    """
    dtype: str | None = None
    """What x must have; None for float32 or float64."""
    state_names: tuple[str, ...]
    state_sizes: tuple[int, ...]
    state_lead: tuple[int, ...] = ()
    """The axes of each part of the state before (B, H)."""

    @abstractmethod
    def _walk(self, x: Tensor, state: Parts | None, control: Control, every: bool) -> tuple[Tensor, Parts, Parts]:
        """For x (T, B, I): the output (T, B, ...), the final state, and the states after ``every`` step if asked for.

        ``state`` is None where none was given, and all layers start from :func:`zero_state`.
        """

    def effective_weights(self, weights: dict[str, Any]) -> dict[str, Any]:
        """The weights that the cell is given: the parameters of one layer and direction, or what is made of them."""
        return weights

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
        """Run over a batch of sequences, or over one.

        Parameters
        ----------
        x
            Array or Tensor (T, B, I), or (B, T, I) with ``batch_first``, or (T, I) without a batch.
        state
            Initial state: one array, or a tuple of one for each part (h, c). Default: zeros. Without a batch in x it
            has none either.
        lengths
            (B,) integers from 0 to T. Past a sequence's end outputs are exactly zero; the final state is the last
            valid one; the reverse direction starts at the end of each sequence.
        mask
            (T, B) booleans, in x's order of axes. Where False the state is held and the input is not looked at.
        reset
            (T, B) booleans, likewise. Where True a new sequence starts: the state before that step is zero.
        return_all_states
            Also return a tuple of each part of the state after every step, (T, L*D, B, H) or, of :class:`Recurrent`,
            (T, B, H).

        Returns
        -------
        output, state
            The final state in the form of the argument; and all states, if asked for.

        Raises
        ------
        TypeError, ValueError
            Wrong types, shapes, dtypes or libraries, with the argument's name.
        """
        owner = type(self).__name__
        x = floating_input(owner, "x", x, self.dtype)
        size = self.input_size + self.extra_inputs if self.input_size else None
        form, axis = Form.of(owner, "x", x, size, self.batch_first), len(self.state_lead)
        came, x = x, form.inward(x)
        control = FREE
        if lengths is not None or mask is not None or reset is not None:
            control = form.control(owner, "x", came, x, lengths=lengths, mask=mask, reset=reset)
        parts = None
        if state is not None:
            lead = self.state_lead if form is Form.SINGLE else (*self.state_lead, x.shape[1])
            shapes = [(*lead, size) for size in self.state_sizes]
            parts = form.batched(state_parts(owner, self.state_names, state, shapes, x), axis)
        every = true_or_false(owner, "return_all_states", return_all_states)
        output, final, sequences = self._walk(x, parts, control, every)
        output, final = form.outward(output), form.unbatched(final, axis)
        if not every:
            return output, outer_state(final)
        return output, outer_state(final), form.unbatched(sequences, axis + 1)


def state_parts(owner: str, names: tuple[str, ...], state: Any, shapes: Sequence[tuple[int, ...]], x: Tensor) -> Parts:
    """A state argument, one array or a tuple with one for each name, as a tuple of Tensors beside x."""
    dtype = dtype_name(x.data)
    parts = (state,) if len(names) == 1 and not isinstance(state, (tuple, list)) else state
    if not isinstance(parts, (tuple, list)) or len(parts) != len(names):
        if isinstance(parts, (tuple, list)):
            raise ValueError(f"{owner}: state has {len(parts)} parts; expected {len(names)}: ({', '.join(names)})")
        raise ValueError(f"{owner}: state is a {type(state).__name__}; expected a tuple ({', '.join(names)})")
    tensors = tuple(input_tensor(owner, f"{n}_0", part, dtype) for n, part in zip(names, parts, strict=True))
    for name, tensor, shape in zip(names, tensors, shapes, strict=True):
        if tensor.shape != shape:
            raise ValueError(f"{owner}: {name}_0 has shape {tensor.shape}; expected {shape}")
        shared_namespace(owner, ("x", f"{name}_0"), x.data, tensor.data)
    return tensors


def zero_state(x: Tensor, sizes: Sequence[int]) -> Parts:
    """Parts (B, H) of zeros for a batch x (..., B, I)."""
    batch = x.shape[-2]
    parts, first = [], None
    for size in sizes:  # nobody writes to them, so parts of one size share their zeros
        if first is None or first.data.shape[1] != size:
            first = Tensor(zeros_beside(x.data, (batch, size)))
        parts.append(first)
    return tuple(parts)


def outer_state(parts: Sequence[Tensor]) -> Any:
    """A state as users see it: one Tensor for a cell with one part, else a tuple."""
    return parts[0] if len(parts) == 1 else tuple(parts)
