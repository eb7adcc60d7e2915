"""Single steps of the recurrent cells, for loops of one's own: decoders, control, simulation."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import affordable, float_dtype, input_tensor, of_kind, sizes, true_or_false
from xprnn.backend import NATIVE, shared_namespace
from xprnn.cells import Cell
from xprnn.engine.control import FREE
from xprnn.engine.steps import new_state
from xprnn.grad_mode import is_grad_enabled
from xprnn.nn.module import Module
from xprnn.nn.recurrent.cell_options import ActivationLike, gru_cell, lstm_cell, rnn_cell
from xprnn.nn.recurrent.layers import set_forget_bias
from xprnn.nn.recurrent.regularisation import Regularisation
from xprnn.nn.recurrent.sequence_layer import outer_state, state_parts, zero_state
from xprnn.nn.recurrent.stacked import initial_weights
from xprnn.nn.recurrent.tape_node import run
from xprnn.nn.weights import Declared
from xprnn.randomness import Rng, generator
from xprnn.tensor import Parameter, Tensor


class CellModule(Module):
    """One step of a cell: ``state = cell(x, state)``.

    x (B, I) or (I,); each part of the state (B, H) or (H,), zeros by default; parameters weight_ih (G*H, I),
    weight_hh (G*H, H), bias_ih, bias_hh (G*H) and what the cell has of its own, from U(+-1/sqrt(H)). A state of one
    part is one Tensor, a state of two is a tuple. Raises TypeError and ValueError for wrong types and shapes.

    ``zoneout``, ``recurrent_dropout``, ``candidate_dropout`` and ``weight_dropout`` are those of
    :class:`RecurrentLayer`. A call is a sequence of one step, so that each call draws all masks anew, even those that a
    layer draws once for a sequence.
    """

    weight_ih: Parameter

    _fixed = frozenset({"input_size", "hidden_size", "dtype", "regularisation"})

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        zoneout: float | tuple[float, ...] = 0.0,
        recurrent_dropout: float = 0.0,
        candidate_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        owner = type(self).__name__
        self.cell = of_kind(owner, "cell", cell, Cell)
        input_size, hidden_size = sizes(owner, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size = input_size, hidden_size
        affordable(owner, cell.weight_shapes(input_size, hidden_size), input_size=input_size, hidden_size=hidden_size)
        self.dtype, bias = float_dtype(owner, dtype), true_or_false(owner, "bias", bias)
        self.regularisation = Regularisation.of(
            owner, (cell,), hidden_size, zoneout, recurrent_dropout, candidate_dropout, weight_dropout
        )
        self.rng = generator(rng)
        weights = initial_weights(cell, input_size, hidden_size, bias, dtype, self.rng)
        self._declared = Declared.of(self, weights)

    def forward(self, x: Any, state: Any = None) -> Any:
        if not is_grad_enabled() and (new := self._at_once(x, state)) is not None:
            return new
        owner = type(self).__name__
        x = input_tensor(owner, "x", x, self.dtype)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(f"{owner}: x has shape {x.shape}; expected (B, {self.input_size}) or ({self.input_size},)")
        weights: dict[str, Any] = self._declared.present(self)
        shared_namespace(owner, ("x", "its parameters"), x.data, weights["weight_ih"].data)
        single, sizes = x.ndim == 1, self.cell.state_sizes(self.hidden_size)
        if state is not None:
            shapes = [(*x.shape[:-1], size) for size in sizes]
            parts = state_parts(owner, self.cell.state_names, state, shapes, x)
            parts = tuple(part[None] for part in parts) if single else parts
        x = x[None] if single else x
        parts = zero_state(x, sizes) if state is None else parts
        x = x[None] if x.requires_grad else Tensor(x.data[None])  # Tensor(...) takes a fifth of the time
        rates, noise = self.regularisation, None
        if rates is not None:
            noise = rates.noise(self.rng, x.data, sizes, self.hidden_size, self.training)
            weights = rates.connected(self.rng, weights, self.training)
        _, final = run(self.cell, weights, x, parts, FREE, noise=noise)
        return outer_state([ops.squeeze(part, 0) for part in final] if single else final)

    def _at_once(self, x: Any, state: Any) -> Any:
        """The step without a way back in one call of kernels, where nothing about it is unusual; else None.

        Nothing is remembered from the last call: whatever could have changed since is asked again.
        """
        parts = state if state is None or isinstance(state, (tuple, list)) else (state,)
        x, *old = [a.data if isinstance(a, Tensor) else a for a in (x, *(parts or ()))]
        if self.regularisation is not None or type(x) is not np.ndarray or x.dtype is not NATIVE[self.dtype]:
            return None
        weights = {name: getattr(self, name) for name in self._declared.attributes}
        arrays = {name: w.data for name, w in weights.items() if isinstance(w, Tensor)}
        found = new_state(self.cell, arrays, x, None if parts is None else old, self.hidden_size)
        return None if found is None else outer_state([Tensor(part) for part in found])

    def describe(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


class RNNCell(CellModule):
    """One step of :class:`xprnn.nn.RNN`: h' = f(W_ih x + b_ih + W_hh h + b_hh); f = ``nonlinearity``, clip as there."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: ActivationLike = "tanh",
        *,
        clip: float | None = None,
        zoneout: float | tuple[float, ...] = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        super().__init__(
            rnn_cell("RNNCell", nonlinearity, clip), input_size, hidden_size, bias, zoneout=zoneout,
            recurrent_dropout=recurrent_dropout, weight_dropout=weight_dropout, dtype=dtype, rng=rng,
        )  # fmt: skip


class LSTMCell(CellModule):
    """One step of :class:`xprnn.nn.LSTM`: ``h, c = cell(x, (h, c))``; options as there."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        peephole: str | None = None,
        forget_bias: float | None = None,
        gate_activation: ActivationLike = "sigmoid",
        activation: ActivationLike = "tanh",
        output_activation: ActivationLike | None = None,
        clip: float | None = None,
        coupled: bool = False,
        layer_norm: bool = False,
        zoneout: float | tuple[float, ...] = 0.0,
        recurrent_dropout: float = 0.0,
        candidate_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        cell = lstm_cell(
            "LSTMCell", peephole, gate_activation, activation, output_activation, clip, coupled, layer_norm
        )
        super().__init__(
            cell, input_size, hidden_size, bias, zoneout=zoneout, recurrent_dropout=recurrent_dropout,
            candidate_dropout=candidate_dropout, weight_dropout=weight_dropout, dtype=dtype, rng=rng,
        )  # fmt: skip
        if forget_bias is not None:
            set_forget_bias(self, "", forget_bias)


class GRUCell(CellModule):
    """One step of :class:`xprnn.nn.GRU`; options as there."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        reset_after: bool = True,
        gate_activation: ActivationLike = "sigmoid",
        activation: ActivationLike = "tanh",
        clip: float | None = None,
        layer_norm: bool = False,
        zoneout: float | tuple[float, ...] = 0.0,
        recurrent_dropout: float = 0.0,
        candidate_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        cell = gru_cell("GRUCell", reset_after, gate_activation, activation, clip, layer_norm)
        super().__init__(
            cell, input_size, hidden_size, bias, zoneout=zoneout, recurrent_dropout=recurrent_dropout,
            candidate_dropout=candidate_dropout, weight_dropout=weight_dropout, dtype=dtype, rng=rng,
        )  # fmt: skip
