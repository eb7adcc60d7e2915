"""RNN, IndRNN, LSTM and GRU layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from xprnn.arguments import real_number, size
from xprnn.cells import Cell, Projected
from xprnn.cells import IndRNN as IndRNNSpec
from xprnn.nn.recurrent.cell_options import PerDirection, for_directions, gru_cell, lstm_cell, rnn_cell
from xprnn.nn.recurrent.stacked import RecurrentLayer, begin_with
from xprnn.randomness import Rng


class RNN(RecurrentLayer):
    """Elman's network: h' = f(W_ih x + b_ih + W_hh h + b_hh), f = tanh or relu.

    Shapes, calling and errors: :class:`RecurrentLayer`. The state is one part, h.

    Parameters
    ----------
    nonlinearity
        f: an :class:`xprnn.cells.Activation` or its name, or with ``bidirectional`` a pair of them. On the host there
        are kernels for tanh, relu, sigmoid and the hard sigmoid; with any other the reference runs.
    clip
        The argument of f is cut to -clip ... clip first.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: PerDirection = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        clip: float | None = None,
        reverse: bool = False,
        zero_masked: bool = False,
        zoneout: float | tuple[float, ...] = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        cell = for_directions(
            "RNN", bidirectional, lambda nonlinearity: rnn_cell("RNN", nonlinearity, clip), nonlinearity=nonlinearity
        )
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, reverse=reverse,
            zero_masked=zero_masked, zoneout=zoneout, recurrent_dropout=recurrent_dropout,
            weight_dropout=weight_dropout, dtype=dtype, rng=rng,
        )  # fmt: skip


class IndRNN(RecurrentLayer):
    """Independently recurrent network (Li et al. 2018, arXiv 1803.09831): each unit sees its own state and no other.

    h' = f(W_ih x + b_ih + u h + b_hh), f = relu or tanh; weight_hh is u (H,), multiplied element by element.

    Shapes, calling and the other arguments: :class:`RecurrentLayer`. The state is one part, h. u starts from U(0, 1),
    the limit for long sequences of the paper's U(0, 2^(1/T)): a unit remembers for about 1 / (1 - u) steps, and with
    relu none grows. Stack layers, since only they mix units. There is no CUDA kernel; on CuPy the reference runs.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "relu",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        reverse: bool = False,
        zero_masked: bool = False,
        zoneout: float | tuple[float, ...] = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        cell = IndRNNSpec(nonlinearity)
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, reverse=reverse,
            zero_masked=zero_masked, zoneout=zoneout, recurrent_dropout=recurrent_dropout,
            weight_dropout=weight_dropout, dtype=dtype, rng=rng,
        )  # fmt: skip
        for weights in self.weights():
            begin_with(weights, weight_hh=self.rng.uniform(0.0, 1.0, self.hidden_size))


class LSTM(RecurrentLayer):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o);  g = tanh(z_g);  c' = f c + i g;  h' = o tanh(c'),
    with z = W_ih x + b_ih + W_hh h + b_hh in blocks i, f, g, o.

    Shapes, calling and the other arguments: :class:`RecurrentLayer`. The state is a tuple (h, c).

    Parameters
    ----------
    proj_size
        P > 0 projects the hidden state to P units, h' = W_hr o tanh(c') (Sak et al. 2014); weight_hr (P, H).
    peephole
        None; "diagonal" (Gers and Schmidhuber 2000): each gate sees its own cell, weight_ch (3, H) for i, f, o;
        "full": every cell, weight_ch (3H, H). i and f see c, o sees c'.
    forget_bias
        Starts the forget gate with this total bias (Jozefowicz et al. 2015 recommend 1); None leaves it random.
    gate_activation, activation, output_activation
        In the place of sigmoid, of the tanh of z_g, and of the tanh of c': an :class:`xprnn.cells.Activation` or its
        name, or with ``bidirectional`` a pair of them. Default of the last: that of ``activation``.
    clip
        Every z is cut to -clip ... clip before its activation.
    coupled
        f = 1 - i (Greff et al. 2015, arXiv 1503.04069). There is no block f then: weight_ih (3H, I) has i, g, o.

    layer_norm
        Normalise both products of a step, and c' in h' (Ba et al. 2016, arXiv 1607.06450), as
        :class:`xprnn.cells.LayerNormLSTM` writes it: gain_ih and gain_hh (4H), gain_c and bias_c (H). Gains start from
        1, biases from 0.

    With coupled gates, a clip, and activations out of tanh, relu, sigmoid and the hard sigmoid there are kernels for
    the host, but not beside peepholes; for ``layer_norm`` there is one too. With other activations, and on CuPy with
    any of these, the reference runs.
    """

    _fixed = RecurrentLayer._fixed | {"proj_size"}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        peephole: str | None = None,
        forget_bias: float | None = None,
        gate_activation: PerDirection = "sigmoid",
        activation: PerDirection = "tanh",
        output_activation: PerDirection | None = None,
        clip: float | None = None,
        coupled: bool = False,
        layer_norm: bool = False,
        reverse: bool = False,
        zero_masked: bool = False,
        zoneout: float | tuple[float, ...] = 0.0,
        recurrent_dropout: float = 0.0,
        candidate_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        hidden_size = size("LSTM", "hidden_size", hidden_size)
        proj_size = size("LSTM", "proj_size", proj_size, 0)
        if proj_size >= hidden_size:
            raise ValueError(
                f"LSTM: proj_size is {proj_size}; expected at least 0 and less than hidden_size = {hidden_size}"
            )

        def make(**activations: Any) -> Cell:
            cell = lstm_cell("LSTM", peephole, clip=clip, coupled=coupled, layer_norm=layer_norm, **activations)
            return Projected(cell, proj_size) if proj_size else cell

        cell = for_directions(
            "LSTM", bidirectional, make, gate_activation=gate_activation, activation=activation,
            output_activation=output_activation,
        )  # fmt: skip
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, reverse=reverse,
            zero_masked=zero_masked, zoneout=zoneout, recurrent_dropout=recurrent_dropout,
            candidate_dropout=candidate_dropout, weight_dropout=weight_dropout, dtype=dtype, rng=rng,
        )  # fmt: skip
        self.proj_size = proj_size
        set_forget_biases(self, forget_bias)


class GRU(RecurrentLayer):
    """Gated recurrent unit (Cho et al. 2014).

    r, z = sigmoid(z_r), sigmoid(z_z);  n = tanh(W_in x + b_in + r (W_hn h + b_hn));  h' = (1 - z) n + z h.
    With ``reset_after=False``, as first published: n = tanh(W_in x + b_in + W_hn (r h) + b_hn).

    Shapes, calling and the other arguments: :class:`RecurrentLayer`. The state is one part, h.

    Parameters
    ----------
    gate_activation, activation
        In the place of sigmoid and tanh: an :class:`xprnn.cells.Activation` or its name, or with ``bidirectional`` a
        pair of them. For tanh, relu, sigmoid and the hard sigmoid, with a clip or without, there are kernels for the
        host; with any other, and on CuPy, the reference runs.
    clip
        The argument of each activation is cut to -clip ... clip first.
    layer_norm
        Normalise both products of a step (Ba et al. 2016, arXiv 1607.06450), as :class:`xprnn.cells.LayerNormGRU`
        writes it: gain_ih and gain_hh (3H) start from 1, biases from 0. There is a kernel for the host, none for CUDA.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        reset_after: bool = True,
        gate_activation: PerDirection = "sigmoid",
        activation: PerDirection = "tanh",
        clip: float | None = None,
        layer_norm: bool = False,
        reverse: bool = False,
        zero_masked: bool = False,
        zoneout: float | tuple[float, ...] = 0.0,
        recurrent_dropout: float = 0.0,
        candidate_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:

        def make(**activations: Any) -> Cell:
            return gru_cell("GRU", reset_after, clip=clip, layer_norm=layer_norm, **activations)

        cell = for_directions("GRU", bidirectional, make, gate_activation=gate_activation, activation=activation)
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, reverse=reverse,
            zero_masked=zero_masked, zoneout=zoneout, recurrent_dropout=recurrent_dropout,
            candidate_dropout=candidate_dropout, weight_dropout=weight_dropout, dtype=dtype, rng=rng,
        )  # fmt: skip


LAYERS: dict[str, Callable[..., RecurrentLayer]] = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
"""The layers by name, where a ``cell`` is asked for."""


def set_forget_bias(module: Any, suffix: str, forget_bias: float) -> None:
    """Set the forget gate's two biases of an LSTM to (forget_bias, 0). Raises ValueError where it has none."""
    if "f" not in module.cell.gate_names:
        kind = type(module).__name__
        raise ValueError(f"{kind}: forget_bias is {forget_bias}, but with coupled=True there is no forget gate")
    if not hasattr(module, f"bias_ih{suffix}"):
        raise ValueError(f"{type(module).__name__}: forget_bias needs bias=True")
    forget_bias = real_number(type(module).__name__, "forget_bias", forget_bias, "a number", -math.inf)
    for name, value in (("bias_ih", forget_bias), ("bias_hh", 0.0)):
        getattr(module, name + suffix).data[module.cell.gate_rows("f", module.hidden_size)] = value


def set_forget_biases(layer: RecurrentLayer, forget_bias: float | None) -> None:
    """The same for all layers and directions; None leaves them as they are."""
    if forget_bias is not None:
        for number in range(layer.num_layers):
            for suffix in ("", "_reverse")[: layer.directions]:
                set_forget_bias(layer, f"_l{number}{suffix}", forget_bias)
