"""Layers of any cell: stacked, in one or both directions, with dropout between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from xprnn import ops
from xprnn.arguments import affordable, each_true_or_false, float_dtype, probability, size, sizes
from xprnn.backend import default_backend, dtype_name, shared_namespace
from xprnn.cells import Cell
from xprnn.engine.control import Control
from xprnn.engine.dispatch import use_kernels
from xprnn.nn import init
from xprnn.nn.dropout import Dropout
from xprnn.nn.linear import Linear
from xprnn.nn.recurrent.regularisation import Regularisation
from xprnn.nn.recurrent.sequence_layer import Parts, SequenceLayer, zero_state
from xprnn.nn.recurrent.tape_node import run
from xprnn.nn.weights import Declared
from xprnn.randomness import Rng, generator
from xprnn.tensor import Parameter, Tensor

if TYPE_CHECKING:
    from xprnn.nn.recurrent.stream import Stream


class RecurrentLayer(SequenceLayer):
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
    cell
        The cell, or with ``bidirectional`` one for each direction, of the same gates and states.
    bias
        Whether there are bias_ih and bias_hh.
    dropout
        Probability of a zero between layers while training. Needs at least two layers.
    reverse
        Walk from the last step to the first, within each length, and in no other direction. No stream can do that.
    zero_masked
        Outputs, and all states, are zero at masked steps as past the end, and not those of the step before. The state
        is held as ever: the final one is the same.
    zoneout
        Probability that a unit of the state stays as it was (Krueger et al. 2017, arXiv 1606.01305), anew for each step
        and sequence; of each part one, or the same of all. In evaluation the state is the expected one.
    recurrent_dropout
        Probability of a zero in the mask that h is multiplied by before each product: one mask for all steps of a
        sequence (Gal and Ghahramani 2016, arXiv 1512.05287).
    candidate_dropout
        Probability of a zero in the candidate, g of an LSTM and n of a GRU, anew for each step (Semeniuta et al. 2016,
        arXiv 1603.05118).
    weight_dropout
        Probability of a zero in weight_hh, one mask for a call (DropConnect; Merity et al. 2017, arXiv 1708.02182).

        These four act while training, in each layer and direction by itself; what a dropout keeps is divided by the
        probability of being kept. On NumPy the kernels of all cells but IndRNN have them; where there is no kernel,
        the reference runs.
    dtype
        "float32" or "float64". Inputs must have it.
    rng
        Seed or NumPy generator, for the initial parameters and for dropout.
    """

    input_size: int
    dtype: str
    cell: Cell
    reverse_cell: Cell | None
    """The cell of the reverse direction, where it differs."""

    _fixed = frozenset(
        {
            *("reverse_cell", "num_layers", "input_size", "hidden_size", "bias", "bidirectional", "dtype"),
            *("directions", "state_names", "state_sizes", "state_lead", "declared", "regularisation"),
        }
    )

    def __init__(
        self,
        cell: Cell | tuple[Cell, Cell],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        reverse: bool = False,
        zero_masked: bool = False,
        zoneout: float | tuple[float, ...] = 0.0,
        recurrent_dropout: float = 0.0,
        candidate_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        owner = type(self).__name__
        cells = cell if isinstance(cell, tuple) else (cell,)
        if len(cells) not in (1, 2) or not all(isinstance(one, Cell) for one in cells):
            raise TypeError(f"{owner}: cell is {cell!r}; expected one of xprnn.cells, or a pair of them")
        self.cell, self.reverse_cell = cells[0], cells[1] if len(cells) == 2 else None
        self.num_layers = num_layers = size(owner, "num_layers", num_layers)
        input_size, hidden_size = sizes(owner, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size = input_size, hidden_size
        shapes = self.cell.weight_shapes(input_size, hidden_size)
        affordable(owner, shapes, input_size=input_size, hidden_size=hidden_size)
        if probability(owner, "dropout", dropout) > 0.0 and num_layers == 1:
            raise ValueError(f"{owner}: dropout is {dropout}, but it acts between layers and num_layers is 1")
        self.bias, self.batch_first, self.bidirectional, self.reverse, self.zero_masked = each_true_or_false(
            owner, bias=bias, batch_first=batch_first, bidirectional=bidirectional, reverse=reverse,
            zero_masked=zero_masked,
        )  # fmt: skip
        if reverse and bidirectional:
            raise ValueError(
                f"{owner}: reverse=True is one direction, and bidirectional=True both; expected one of them"
            )
        if self.reverse_cell is not None and not (bidirectional and _alike(self.cell, self.reverse_cell, hidden_size)):
            raise ValueError(f"{owner}: two cells need bidirectional=True, and weights and states of the same shapes")
        self.regularisation = Regularisation.of(
            owner, cells, hidden_size, zoneout, recurrent_dropout, candidate_dropout, weight_dropout
        )
        self.dtype, self.rng = float_dtype(owner, dtype), generator(rng)
        self.dropout = Dropout(dropout, rng=self.rng)
        self.directions = 2 if bidirectional else 1
        self.state_names, self.state_sizes = self.cell.state_names, self.cell.state_sizes(hidden_size)
        self.state_lead = (num_layers * self.directions,)
        self.declared: list[Declared] = []  # for each layer and direction
        for layer in range(num_layers):
            inputs = input_size + self.extra_inputs if layer == 0 else self.directions * self.state_sizes[0]
            for own, suffix in zip((cells[0], cells[-1]), ("", "_reverse")[: self.directions], strict=False):
                weights = initial_weights(own, inputs, hidden_size, bias, dtype, self.rng)
                self.declared.append(Declared.of(self, weights, f"_l{layer}{suffix}"))

    def _walk(self, x: Tensor, state: Parts | None, control: Control, every: bool) -> tuple[Tensor, Parts, Parts]:
        owner, weights = type(self).__name__, self.weights()
        shared_namespace(owner, ("x", "its parameters"), x.data, weights[0]["weight_ih"].data)
        control = control.zero_where_held() if self.zero_masked else control
        cells, rates, noise = (self.cell, self.reverse_cell or self.cell), self.regularisation, None
        start = zero_state(x, self.state_sizes) if state is None else ()
        finals, sequences = [], []
        alone = len(weights) == 1
        for layer in range(self.num_layers):
            if layer > 0:
                x = self.dropout(x)
            outputs = []
            for direction in range(self.directions):
                k = layer * self.directions + direction
                before = start if state is None else tuple(part[k] for part in state)
                reverse = self.reverse or direction == 1
                own, seen = self._with_noise(self.effective_weights(weights[k]), x)
                if rates is not None:
                    noise = rates.noise(self.rng, x.data, self.state_sizes, self.hidden_size, self.training)
                    own = rates.connected(self.rng, own, self.training)
                given = cells[direction], own, seen, before, control, reverse, self, k, noise, alone, every
                sequence, final = run(*given, state is None)
                outputs.append(sequence[0])
                if every:
                    sequences.append(_whole(sequence, partial(run, *given, state is None)))
                finals.append(final)
            x = outputs[0] if self.directions == 1 else ops.concat(outputs, axis=-1)
        last = finals[0] if alone else side_by_side(finals, 0)
        return x, last, side_by_side(sequences, 1) if every else ()

    def weights(self) -> list[dict[str, Parameter]]:
        """The parameters of each layer and direction by the cell's names, in the order of the state.

        Raises ValueError for one that was replaced by a Parameter of another shape, TypeError for one of another dtype
        and for what is no Tensor.
        """
        return [declared.present(self) for declared in self.declared]

    def _with_noise(self, weights: dict[str, Any], x: Tensor) -> tuple[dict[str, Any], Tensor]:
        """The weights and x (T, B, I) of one layer and direction, with what noise a layer has as further inputs."""
        return weights, x

    @property
    def zoned(self) -> bool:
        """Whether there is zoneout, which acts in evaluation too."""
        return self.regularisation is not None and any(self.regularisation.zoneout)

    def attributes(self) -> list[str]:
        """The attribute of each parameter, in the order of :meth:`weights`."""
        return [attribute for declared in self.declared for attribute, *_ in declared.attributes.values()]

    def stream(self, batch: int | None = 1, head: Linear | None = None) -> Stream:
        """Open a :class:`Stream`: the layer step by step or block by block, with its state kept."""
        from xprnn.nn.recurrent.stream import Stream  # with its parts, which few programs need

        return Stream(self, batch, head)

    def describe(self) -> str:
        options = f", num_layers={self.num_layers}" * (self.num_layers > 1) + ", bidirectional" * self.bidirectional
        options += ", reverse" * self.reverse
        return f"{self.input_size}, {self.hidden_size}{options}"


def begin_with(weights: Mapping[str, Parameter], **values: np.ndarray) -> None:
    """Give parameters of one layer and direction initial values in the place of those drawn."""
    for name, array in values.items():
        weights[name].data = default_backend().asarray(array.astype(dtype_name(weights[name].data)))


def _whole(sequence: Parts, call: Callable[[], tuple[Parts, Parts]]) -> Parts:
    """All parts of the state after every step of a call, which the reference runs again where some were not kept."""
    if all(part is not None for part in sequence):
        return sequence
    with use_kernels("reference"):
        return call()[0]


def side_by_side(layers: list[Parts], axis: int) -> Parts:
    """The states of all layers and directions, each part stacked along an axis."""
    if len(layers) == 1:
        return tuple(ops.expand_dims(part, axis) for part in layers[0])
    return tuple(ops.stack(part, axis=axis) for part in zip(*layers, strict=True))


def _alike(one: Cell, other: Cell, size: int) -> bool:
    """Whether two cells have weights and states by the same names, of the same shapes."""
    return one.weight_shapes(2, size) == other.weight_shapes(2, size) and one.state_names == other.state_names


def initial_weights(
    cell: Cell, input_size: int, hidden_size: int, bias: bool, dtype: str, rng: np.random.Generator
) -> dict[str, Parameter]:
    """The parameters of one cell by name, from U(+-1/sqrt(H)), or the numbers that the cell itself starts from."""
    bound = 1.0 / math.sqrt(hidden_size)
    return {
        name: Parameter(
            init.constant(shape, cell.initial[name], dtype=dtype)
            if name in cell.initial
            else init.uniform(shape, bound, rng=rng, dtype=dtype)
        )
        for name, shape in cell.weight_shapes(input_size, hidden_size).items()
        if bias or not name.startswith("bias")
    }
