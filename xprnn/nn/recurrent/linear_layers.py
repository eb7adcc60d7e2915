"""Layers that are linear in their state and gated by their input, scanned over time: minGRU, minLSTM, SRU and QRNN."""

from __future__ import annotations

from xprnn.cells import QRNN as QRNNSpec
from xprnn.cells import SRU as SRUSpec
from xprnn.cells import MinGRU as MinGRUSpec
from xprnn.cells import MinLSTM as MinLSTMSpec
from xprnn.nn.recurrent.stacked import RecurrentLayer
from xprnn.randomness import Rng


class MinGRU(RecurrentLayer):
    """minGRU (Feng et al. 2024, arXiv 2410.01201): a GRU whose gate and candidate see the input only.

    z = sigmoid(W_z x + b_z);  h' = (1 - z) h + z g(W_h x + b_h), with blocks z, h in weight_ih (2H, I).
    ``space="log"`` has g(v) = v + 1/2 for v >= 0, else sigmoid(v); ``space="linear"`` has g(v) = v.

    Shapes, calling and the other arguments: :class:`RecurrentLayer`. The state is one part, h. Steps do not wait for
    each other: on NumPy a compiled scan runs, elsewhere one of array operations. There is no CUDA kernel.
    Raises ValueError for another ``space``.
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
        space: str = "log",
        reverse: bool = False,
        zero_masked: bool = False,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        cell = MinGRUSpec(space)
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, reverse=reverse,
            zero_masked=zero_masked, dtype=dtype, rng=rng,
        )  # fmt: skip


class MinLSTM(RecurrentLayer):
    """minLSTM (Feng et al. 2024, arXiv 2410.01201): an LSTM whose gates see the input only, and share 1 between them.

    f, i = sigmoid(W_f x + b_f), sigmoid(W_i x + b_i);  h' = (f h + i g(W_h x + b_h)) / (f + i), with blocks f, i, h in
    weight_ih (3H, I). ``space`` and g, shapes, calling and errors as for :class:`MinGRU`. The state is one part, h.
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
        space: str = "log",
        reverse: bool = False,
        zero_masked: bool = False,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        cell = MinLSTMSpec(space)
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, reverse=reverse,
            zero_masked=zero_masked, dtype=dtype, rng=rng,
        )  # fmt: skip


class SRU(RecurrentLayer):
    """Simple recurrent unit (Lei et al. 2018, arXiv 1709.02755), with gates of the input only.

    f, r = sigmoid(W_f x + b_f), sigmoid(W_r x + b_r);  c' = f c + (1 - f) (W_c x + b_c);  h' = r c' + (1 - r) s.
    s is x where I = H, and else W_s x + b_s; blocks c, f, r and s in weight_ih (3H or 4H, I). As the ``sru`` package
    with ``v1=True, rescale=False``: without the paper's terms v c in the gates, and its constant before s.

    Shapes, calling and the other arguments: :class:`RecurrentLayer`; how it runs: :class:`MinGRU`. The state is a tuple
    (h, c), of which only c goes on: h is what held steps show.
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
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        cell = SRUSpec()
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, reverse=reverse,
            zero_masked=zero_masked, dtype=dtype, rng=rng,
        )  # fmt: skip


class QRNN(RecurrentLayer):
    """Quasi-recurrent network (Bradbury et al. 2017, arXiv 1611.01576) with fo-pooling.

    z, f, o = tanh(u_z), sigmoid(u_f), sigmoid(u_o);  c' = f c + (1 - f) z;  h' = o c';  u_t = W x_t + b, and with
    ``window=2`` W x_t + V x_{t-1} + b, where the reverse direction sees x_{t+1}. Blocks z, f, o in weight_ih
    (3H, I); with ``window=2`` it is (6H, I), W above V. bias_ih (3H).

    Shapes, calling and the other arguments: :class:`RecurrentLayer`; how it runs: :class:`MinGRU`. The state is a tuple
    (h, c), of which only c goes on; with ``window=2`` it is (h, c, v), where v (L*D, B, 3H) is V x of the last step.
    Raises ValueError for another ``window``.
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
        window: int = 1,
        reverse: bool = False,
        zero_masked: bool = False,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        cell = QRNNSpec(window)
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, reverse=reverse,
            zero_masked=zero_masked, dtype=dtype, rng=rng,
        )  # fmt: skip
