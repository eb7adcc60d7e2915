"""Layers of any cell: stacked, in one or both directions, with dropout between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

from xprnn import ops
from xprnn.backend import Rng, backend_of, check_dtype, dtype_name, generator, namespace
from xprnn.cells import Cell
from xprnn.nn import init
from xprnn.nn.dropout import Dropout, check_probability
from xprnn.nn.module import Module, input_tensor
from xprnn.nn.recurrence import Parts, run
from xprnn.steps import Steps
from xprnn.tensor import Parameter, Tensor


class LayerOptions(TypedDict, total=False):
    """The options that every recurrent layer has; :class:`RecurrentLayer` says what they mean."""

    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    dtype: str
    rng: Rng


class RecurrentLayer(Module):
    """A stack of recurrent layers around a :class:`xprnn.cells.Cell`, with PyTorch's conventions.

    ======================  =======================================================================
    x                       (T, B, I), or (B, T, I) with ``batch_first``, or (T, I) without a batch
    output                  (T, B, D*H), axes as in x; both directions side by side
    each part of the state  (L*D, B, H): layer 0, its reverse, layer 1, its reverse, ...
    parameters              weight_ih_l0 (G*H, I), weight_hh_l0 (G*H, H), bias_ih_l0 and bias_hh_l0 (G*H),
                            ..._l0_reverse, ..._l1 (inputs D*H), and what the cell has of its own
    ======================  =======================================================================

    T steps, B sequences, I inputs, H hidden units (``proj_size`` in the first part of the state if the cell projects),
    G gate blocks of the cell, L layers, D directions. Parameters start from U(+-1/sqrt(H)).

    Parameters
    ----------
    bias
        Whether there are bias_ih and bias_hh.
    dropout
        Probability of a zero between layers while training. Needs at least two layers.
    dtype
        "float32" or "float64". Inputs must have it.
    rng
        Seed or NumPy generator, for the initial parameters and for dropout.
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        owner = type(self).__name__
        check_sizes(owner, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if check_probability(owner, dropout) > 0.0 and num_layers == 1:
            raise ValueError(f"{owner}: dropout is {dropout}, but it acts between layers and num_layers is 1")
        self.cell, self.input_size, self.hidden_size, self.num_layers = cell, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.dtype, self.rng = check_dtype(dtype), generator(rng)
        self.dropout = Dropout(dropout, rng=self.rng)
        self.directions = 2 if bidirectional else 1
        self.state_sizes = cell.state_sizes(hidden_size)
        self._names: list[dict[str, str]] = []  # for each layer and direction: the cell's weight name -> ours
        for layer in range(num_layers):
            inputs = input_size if layer == 0 else self.directions * self.state_sizes[0]
            for suffix in ("", "_reverse")[: self.directions]:
                weights = initial_weights(cell, inputs, hidden_size, bias, dtype, self.rng)
                self._names.append({name: f"{name}_l{layer}{suffix}" for name in weights})
                for name, weight in weights.items():
                    setattr(self, f"{name}_l{layer}{suffix}", weight)

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
        """Run over a batch of sequences.

        Parameters
        ----------
        x
            Array or Tensor, shapes above.
        state
            Initial state: one array, or a tuple of one for each part (h, c). Default: zeros.
        lengths
            (B,) integers from 0 to T. Past a sequence's end outputs are exactly zero; the final state is the last
            valid one; the reverse direction starts at the end of each sequence.
        mask
            (T, B) booleans, in x's order of axes. Where False the state is held and the input is not looked at.
        reset
            (T, B) booleans, likewise. Where True a new sequence starts: the state before that step is zero.
        return_all_states
            Also return a tuple of each part of the state after every step, (T, L*D, B, H).

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
        x = input_tensor(owner, "x", x, self.dtype)
        lengths, mask, reset = ops.value(lengths), ops.value(mask), ops.value(reset)
        if x.ndim == 2:
            return self._unbatched(x, state, lengths, mask, reset, return_all_states)
        if x.ndim != 3 or x.shape[2] != self.input_size:
            axes = "B, T" if self.batch_first else "T, B"
            raise ValueError(f"{owner}: x has shape {x.shape}; expected ({axes}, {self.input_size})")
        if self.batch_first:
            x = ops.permute_dims(x, (1, 0, 2))
        namespace(**{f"{owner}: x": x.data, f"{owner}: its parameters": self.parameters()[0].data})
        steps = Steps.build(owner, x.data, lengths, mask, reset, self.batch_first)
        output, finals, sequences = self._run(x, self._initial_state(x, state), steps)
        if self.batch_first:
            output = ops.permute_dims(output, (1, 0, 2))
        final = outer_state([ops.stack(part) for part in zip(*finals, strict=True)])
        if not return_all_states:
            return output, final
        return output, final, tuple(ops.stack(part, axis=1) for part in zip(*sequences, strict=True))

    def _run(self, x: Tensor, state: Parts, steps: Steps) -> tuple[Tensor, list[Parts], list[Parts]]:
        finals, sequences = [], []
        for layer in range(self.num_layers):
            if layer > 0:
                x = self.dropout(x)
            outputs = []
            for direction in range(self.directions):
                k = layer * self.directions + direction
                weights = {name: getattr(self, ours) for name, ours in self._names[k].items()}
                sequence, final = run(self.cell, weights, x, tuple(part[k] for part in state), steps, direction == 1)
                outputs.append(sequence[0])
                sequences.append(sequence)
                finals.append(final)
            x = outputs[0] if self.directions == 1 else ops.concat(outputs, axis=-1)
        return x, finals, sequences

    def _initial_state(self, x: Tensor, state: Any) -> Parts:
        lead = (self.num_layers * self.directions, x.shape[1])
        shapes = [(*lead, size) for size in self.state_sizes]
        return state_parts(type(self).__name__, self.cell.state_names, state, shapes, x)

    def _unbatched(self, x: Tensor, state: Any, *control: Any) -> tuple[Any, ...]:
        """One sequence (T, I), with state (L*D, H): run as a batch of one, and take the batch away again."""
        owner, (lengths, mask, reset, return_all_states) = type(self).__name__, control
        if any(c is not None for c in (lengths, mask, reset)):
            raise ValueError(f"{owner}: lengths, mask and reset need a batch; x has shape {x.shape}")
        if x.shape[1] != self.input_size:
            raise ValueError(
                f"{owner}: x has shape {x.shape}; expected (T, {self.input_size}), or three axes with a batch"
            )
        shapes = [(self.num_layers * self.directions, size) for size in self.state_sizes]
        parts = state_parts(owner, self.cell.state_names, state, shapes, x)
        state = tuple(ops.expand_dims(part, 1) for part in parts)
        axis = 0 if self.batch_first else 1
        output, final, *rest = self.forward(ops.expand_dims(x, axis), state, return_all_states=return_all_states)
        final = (final,) if isinstance(final, Tensor) else final
        squeezed = (ops.squeeze(output, axis), outer_state([ops.squeeze(part, 1) for part in final]))
        return (*squeezed, *(tuple(ops.squeeze(part, 2) for part in parts) for parts in rest))

    def describe(self) -> str:
        options = f", num_layers={self.num_layers}" * (self.num_layers > 1) + ", bidirectional" * self.bidirectional
        return f"{self.input_size}, {self.hidden_size}{options}"


def check_sizes(owner: str, **sizes: Any) -> None:
    """Raise ValueError unless each size is an integer of at least 1."""
    for name, number in sizes.items():
        if isinstance(number, bool) or not hasattr(number, "__index__") or number < 1:
            raise ValueError(f"{owner}: {name} is {number!r}; expected an integer of at least 1")


def initial_weights(
    cell: Cell, input_size: int, hidden_size: int, bias: bool, dtype: str, rng: np.random.Generator
) -> dict[str, Parameter]:
    """The parameters of one cell by name, from U(+-1/sqrt(H))."""
    bound = 1.0 / math.sqrt(hidden_size)
    return {
        name: Parameter(init.uniform(shape, bound, rng=rng, dtype=dtype))
        for name, shape in cell.weight_shapes(input_size, hidden_size).items()
        if bias or not name.startswith("bias")
    }


def state_parts(
    owner: str, names: tuple[str, ...], state: Any, shapes: Sequence[tuple[int, ...]], x: Tensor
) -> tuple[Tensor, ...]:
    """A state argument as a tuple of Tensors beside x: zeros for None, else an array or a tuple of one a name."""
    home, dtype = backend_of(x.data), dtype_name(x.data)
    if state is None:
        return tuple(Tensor(home.zeros(shape, dtype)) for shape in shapes)
    parts = (state,) if len(names) == 1 and not isinstance(state, (tuple, list)) else state
    if not isinstance(parts, (tuple, list)) or len(parts) != len(names):
        if isinstance(parts, (tuple, list)):
            raise ValueError(f"{owner}: state has {len(parts)} parts; expected {len(names)}: ({', '.join(names)})")
        raise ValueError(f"{owner}: state is a {type(state).__name__}; expected a tuple ({', '.join(names)})")
    tensors = tuple(input_tensor(owner, f"{n}_0", part, dtype) for n, part in zip(names, parts, strict=True))
    for name, tensor, shape in zip(names, tensors, shapes, strict=True):
        if tensor.shape != shape:
            raise ValueError(f"{owner}: {name}_0 has shape {tensor.shape}; expected {shape}")
        namespace(**{f"{owner}: x": x.data, f"{owner}: {name}_0": tensor.data})
    return tensors


def outer_state(parts: Sequence[Tensor]) -> Any:
    """A state as users see it: one Tensor for a cell with one part, else a tuple."""
    return parts[0] if len(parts) == 1 else tuple(parts)
