"""SLSTM and MGU layers: exponential gates, and a single one."""

from __future__ import annotations

from xprnn.arguments import one_of, probability
from xprnn.cells import MGU as MGUSpec
from xprnn.cells import SLSTM as SLSTMSpec
from xprnn.nn.recurrent.layers import set_forget_biases
from xprnn.nn.recurrent.stacked import RecurrentLayer
from xprnn.randomness import Rng


class SLSTM(RecurrentLayer):
    """sLSTM of xLSTM (Beck et al. 2024, arXiv 2405.04517): an LSTM with exponential gates, in heads.

    i = exp(z_i);  f = sigmoid(z_f) or exp(z_f);  c' = f c + i tanh(z_g);  n' = f n + i;  h' = sigmoid(z_o) c' / n',
    with z = W_ih x + b_ih + W_hh h + b_hh in blocks i, f, g, o. So much is said with numbers that may be too large for
    any computer: as :class:`xprnn.cells.SLSTM` writes it, c and n are kept small by a fourth part of the state, m.

    Shapes, calling and the other arguments: :class:`RecurrentLayer`. The state is a tuple (h, c, n, m). On NumPy
    kernels run, and a product by heads costs as much less as it has numbers less; for CUDA there is no kernel.

    Parameters
    ----------
    num_heads
        Equal groups of neighbouring units, of which each sees itself alone: weight_hh (4H, H/num_heads).
    forget
        "sigmoid" or "exp": the forget gate.
    forget_bias
        Starts the forget gate with this total bias; None leaves it random. The paper's package starts from 3 to 6.
    zoneout
        Of h alone, since c, n and m are one number in three.

    Raises ValueError also for a ``hidden_size`` that is no multiple of ``num_heads``.
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
        num_heads: int = 1,
        forget: str = "sigmoid",
        forget_bias: float | None = None,
        reverse: bool = False,
        zero_masked: bool = False,
        zoneout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        cell = SLSTMSpec(num_heads, one_of("SLSTM", "forget", forget, ("sigmoid", "exp")))
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, reverse=reverse,
            zero_masked=zero_masked, zoneout=(probability("SLSTM", "zoneout", zoneout), 0.0, 0.0, 0.0),
            recurrent_dropout=recurrent_dropout, weight_dropout=weight_dropout, dtype=dtype, rng=rng,
        )  # fmt: skip
        set_forget_biases(self, forget_bias)


class MGU(RecurrentLayer):
    """Minimal gated unit (Zhou et al. 2016, arXiv 1603.09420): a GRU with one gate in the place of two.

    f = sigmoid(z_f);  n = tanh(W_in x + b_in + W_hn (f h) + b_hn);  h' = (1 - f) h + f n, in blocks f, n.

    Shapes, calling and the other arguments: :class:`RecurrentLayer`. The state is one part, h. There are kernels for
    the host, and none for CUDA.
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
        reverse: bool = False,
        zero_masked: bool = False,
        zoneout: float | tuple[float, ...] = 0.0,
        recurrent_dropout: float = 0.0,
        candidate_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        super().__init__(
            MGUSpec(), input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, reverse=reverse,
            zero_masked=zero_masked, zoneout=zoneout, recurrent_dropout=recurrent_dropout,
            candidate_dropout=candidate_dropout, weight_dropout=weight_dropout, dtype=dtype, rng=rng,
        )  # fmt: skip
