"""RNN, IndRNN, LSTM and GRU layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xprnn.arguments import true_or_false, whole_number
from xprnn.backend import Rng, default_backend
from xprnn.cells import GRU as GRUSpec
from xprnn.cells import LSTM as LSTMSpec
from xprnn.cells import Cell, Elman, FullPeepholeLSTM, PeepholeLSTM, Projected, ResetBeforeGRU
from xprnn.cells import IndRNN as IndRNNSpec
from xprnn.nn.recurrent.stacked import RecurrentLayer


class RNN(RecurrentLayer):
    """Elman's network: h' = f(W_ih x + b_ih + W_hh h + b_hh), f = tanh or relu.

    Shapes, calling and errors: :class:`RecurrentLayer`. The state is one part, h.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        cell = Elman(nonlinearity)
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype=dtype, rng=rng
        )


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
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        cell = IndRNNSpec(nonlinearity)
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype=dtype, rng=rng
        )
        for weights in self.weights():
            u = self.rng.uniform(0.0, 1.0, self.hidden_size)
            weights["weight_hh"].data = default_backend().asarray(u.astype(self.dtype))


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
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        hidden_size = whole_number("LSTM", "hidden_size", hidden_size)
        if whole_number("LSTM", "proj_size", proj_size, 0) >= hidden_size:
            raise ValueError(
                f"LSTM: proj_size is {proj_size}; expected at least 0 and less than hidden_size = {hidden_size}"
            )
        cell = lstm_cell("LSTM", peephole)
        cell = Projected(cell, proj_size) if proj_size else cell
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype=dtype, rng=rng
        )
        self.proj_size = proj_size
        if forget_bias is not None:
            for layer in range(num_layers):
                for suffix in ("", "_reverse")[: self.directions]:
                    set_forget_bias(self, f"_l{layer}{suffix}", forget_bias)


class GRU(RecurrentLayer):
    """Gated recurrent unit (Cho et al. 2014).

    r, z = sigmoid(z_r), sigmoid(z_z);  n = tanh(W_in x + b_in + r (W_hn h + b_hn));  h' = (1 - z) n + z h.
    With ``reset_after=False``, as first published: n = tanh(W_in x + b_in + W_hn (r h) + b_hn).

    Shapes, calling and the other arguments: :class:`RecurrentLayer`. The state is one part, h.
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
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        cell = GRUSpec() if true_or_false("GRU", "reset_after", reset_after) else ResetBeforeGRU()
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype=dtype, rng=rng
        )


LAYERS: dict[str, Callable[..., RecurrentLayer]] = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
"""The layers by name, where a ``cell`` is asked for."""


def lstm_cell(owner: str, peephole: str | None) -> Cell:
    """The LSTM with the peepholes asked for."""
    cells: dict[str | None, Callable[[], Cell]] = {None: LSTMSpec, "diagonal": PeepholeLSTM, "full": FullPeepholeLSTM}
    if peephole not in cells:
        raise ValueError(f"{owner}: peephole is {peephole!r}; expected None, 'diagonal' or 'full'")
    return cells[peephole]()


def set_forget_bias(module: Any, suffix: str, forget_bias: float) -> None:
    """Set the forget gate's two biases of an LSTM to (forget_bias, 0)."""
    if not hasattr(module, f"bias_ih{suffix}"):
        raise ValueError(f"{type(module).__name__}: forget_bias needs bias=True")
    for name, value in (("bias_ih", forget_bias), ("bias_hh", 0.0)):
        getattr(module, name + suffix).data[module.cell.gate_rows("f", module.hidden_size)] = value
