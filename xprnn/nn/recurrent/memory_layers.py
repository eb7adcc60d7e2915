"""Layers with a memory beside their hidden state: LMU and mLSTM."""

from __future__ import annotations

import math

import numpy as np

from xprnn.arguments import above_zero, size, true_or_false
from xprnn.backend import to_numpy
from xprnn.cells.lmu import LMU as LMUSpec
from xprnn.cells.lmu import legendre_memory
from xprnn.cells.mlstm import MLSTM as MLSTMSpec
from xprnn.nn.recurrent.stacked import RecurrentLayer, begin_with
from xprnn.randomness import Rng


class LMU(RecurrentLayer):
    """Legendre memory unit (Voelker et al. 2019, NeurIPS 32): the last steps of its input, as Legendre polynomials.

    u = E_x x + b_u + E_h h + E_m m;  m' = A m + B u;  h' = tanh(W_x x + b_h + W_h h + W_m m'), where A and B are those
    of window dm/dt = A m + B u with u held for a step: u(t - s) is about sum_i P_i(2 s / window - 1) m_i.

    Shapes, calling and the other arguments: :class:`RecurrentLayer`. The state is a tuple (h, m), m (L*D, B, C d).

    ==================  ============================================================================
    weight_ih, bias_ih  (C + H, I), (C + H): E_x above W_x
    weight_hh           (C + H, H): E_h above W_h
    weight_mu           (C, C d): E_m, which starts from zero
    weight_mh           (H, C d): W_m
    memory_a, memory_b  (d, d), (d,): A and B, which are not trained
    ==================  ============================================================================

    Parameters
    ----------
    order
        d, the polynomials of a memory.
    window
        How many steps it reaches back.
    channels
        C, the values u that are remembered.
    feedback
        False leaves E_h, E_m and W_h out (Chilkuri and Eliasmith 2021, arXiv 2102.11417): then the memory does not wait
        for h, and many steps are taken at once, in array code. Else each waits for the one before, and array code
        steps. There is no compiled kernel for either.

    Raises ValueError for a ``window`` that is no number above 0 and for sizes below 1.
    """

    cell: LMUSpec

    _fixed = RecurrentLayer._fixed | {"window"}

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
        order: int = 16,
        window: float = 64.0,
        channels: int = 1,
        feedback: bool = True,
        reverse: bool = False,
        zero_masked: bool = False,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        self.window = above_zero("LMU", "window", window)
        cell = LMUSpec(order, channels, true_or_false("LMU", "feedback", feedback))
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, reverse=reverse,
            zero_masked=zero_masked, dtype=dtype, rng=rng,
        )  # fmt: skip
        memory = legendre_memory(order, self.window)
        for weights in self.weights():
            given = dict(zip(("memory_a", "memory_b"), memory, strict=True)) | self._draw(weights["weight_ih"].shape)
            begin_with(weights, **{name: values for name, values in given.items() if name in weights})
            weights["memory_a"].requires_grad = weights["memory_b"].requires_grad = False

    def _draw(self, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        """The paper's initial weights: E by LeCun's rule but for E_m, which is zero, W by Glorot's."""
        c, h, memory, draws = self.cell.channels, self.hidden_size, self.cell.channels * self.cell.order, self.rng

        def lecun(inputs: int) -> np.ndarray:
            return draws.uniform(-math.sqrt(3.0 / inputs), math.sqrt(3.0 / inputs), (c, inputs))

        def glorot(inputs: int) -> np.ndarray:
            return draws.normal(0.0, math.sqrt(2.0 / (inputs + h)), (h, inputs))

        return {
            "weight_ih": np.concatenate([lecun(shape[1]), glorot(shape[1])]),
            "weight_hh": np.concatenate([lecun(h), glorot(h)]),
            "weight_mu": np.zeros((c, memory)),
            "weight_mh": glorot(memory),
        }


class MLSTM(RecurrentLayer):
    """mLSTM (Beck et al. 2024, "xLSTM", arXiv 2405.04517): keys, values and queries, with a matrix as memory.

    C' = f C + i k v^T;  n' = f n + i k;  h' = o (q^T C') / max(|q^T n'|, 1), in every head of D = H / N units: q, k, v,
    o = sigmoid(z_o) are W x + b, k divided by sqrt(D); f = sigmoid(z_f), i = exp(z_i) one number a head. A number
    m of the head, m' = max(log f + m, z_i), keeps the exponential in range: the state holds C exp(-m) and n exp(-m).

    Shapes, calling and the other arguments: :class:`RecurrentLayer`. weight_ih (4H + 2N, I) and bias_ih have rows q, k,
    v, o, i, f. The state is a tuple (h, C, n, m) of (L*D, B, ...) H, H H/N, H and N numbers, of which h does not go on.
    No step waits for h, so 32 steps are taken at once, in array code that the tape goes back through; streams, resets
    and ``return_all_states`` step. There is no compiled kernel. The cell alone: the paper's block has projections, a
    convolution and normalisation around it.

    ``heads`` is N. Raises ValueError where H cannot be divided by it.
    """

    _fixed = RecurrentLayer._fixed | {"heads"}

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
        heads: int = 4,
        reverse: bool = False,
        zero_masked: bool = False,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        heads, hidden_size = size("MLSTM", "heads", heads), size("MLSTM", "hidden_size", hidden_size)
        if hidden_size % heads:
            raise ValueError(f"MLSTM: hidden_size is {hidden_size} and heads {heads}; expected equal parts")
        super().__init__(
            MLSTMSpec(heads), input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            reverse=reverse, zero_masked=zero_masked, dtype=dtype, rng=rng,
        )  # fmt: skip
        self.heads = heads
        if bias:  # from 3 to 6, as the authors' code has it, so that it starts with a long memory
            for weights in self.weights():
                b = to_numpy(weights["bias_ih"].data)
                begin_with(weights, bias_ih=np.concatenate([b[:-heads], np.linspace(3.0, 6.0, heads)]))
