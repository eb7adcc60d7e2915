"""A layer that is told which values are missing, and for how long: GRU-D."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import size
from xprnn.cells.gru_d import GRUD as GRUDSpec
from xprnn.engine.control import booleans
from xprnn.nn.recurrent.sequence_layer import SequenceLayer
from xprnn.nn.recurrent.stacked import begin_with
from xprnn.nn.recurrent.timed_layers import Timed
from xprnn.randomness import Rng


class GRUD(Timed):
    """GRU-D (Che et al. 2018, arXiv 1606.01865): a GRU for values that are missing, and told how long.

    x^ = m x + (1 - m) (mean + exp(-max(0, w d + b)) (last - mean)), where d is the time since the last value and m what
    was observed; h^ = exp(-max(0, W d + c)) h; then a GRU of x^ and m from h^, its reset gate before the product:
    r, z = sigmoid(z_r), sigmoid(z_z), n = tanh(W_in x^ + V_in m + b_in + W_hn (r h^)), h' = (1 - z) n + z h^.

    Shapes, calling and the other arguments: :class:`RecurrentLayer`, of one layer, and :meth:`forward`. On NumPy it is
    compiled: what is filled in is computed for all steps at once, and a GRU walks behind it. Streams, and other
    libraries, step by array code. The state is a tuple (h, last, since): the last values less their means, and the time
    since they came, both (D, B, I), so that a series may be cut anywhere. From zero state a value that never came is
    its mean.

    =================================  ===============================================================
    weight_ih, weight_oh               (3H, I): of x^, and V of m; blocks r, z, n
    weight_hh, bias_ih                 (3H, H), (3H)
    decay_x, bias_decay_x              (I,): w and b
    decay_h, bias_decay_h              (H, I), (H,): W and c
    mean                               (I,): those of the argument, or zeros; not trained
    =================================  ===============================================================

    Raises ValueError for a ``mean``, ``observed`` or ``elapsed`` of another shape, and for times below 0; TypeError for
    another dtype.
    """

    extra_inputs = 2  # at the least: what was observed of each input, and the time
    times = "elapsed"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        *,
        mean: Any = None,
        reverse: bool = False,
        zero_masked: bool = False,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        inputs = size("GRUD", "input_size", input_size)
        self.extra_inputs = inputs + 1
        means = np.zeros(inputs) if mean is None else np.asarray(mean)
        if means.dtype.kind not in "fiu" or means.shape != (inputs,):
            raise ValueError(
                f"GRUD: mean has shape {means.shape} and dtype {means.dtype}; expected ({inputs},) numbers"
            )
        super().__init__(
            GRUDSpec(inputs), inputs, hidden_size, bias, batch_first, bidirectional, reverse=reverse,
            zero_masked=zero_masked, dtype=dtype, rng=rng,
        )  # fmt: skip
        for weights in self.weights():
            begin_with(weights, mean=means)
            weights["mean"].requires_grad = False

    def forward(  # type: ignore[override]
        self,
        x: Any,
        state: Any = None,
        *,
        observed: Any = None,
        elapsed: Any = 1.0,
        lengths: Any = None,
        mask: Any = None,
        reset: Any = None,
        return_all_states: bool = False,
    ) -> tuple[Any, ...]:
        """Run over a batch of sequences, or over one, as :meth:`SequenceLayer.forward`.

        Parameters
        ----------
        observed
            Booleans of x's shape, False where a value is missing, and x, which may be NaN there, is not looked at.
            ``~np.isnan(x)``, for example. Default: nothing is missing, and NaN gives NaN.
        elapsed
            The time since the step before: a number, or an array or Tensor (T, B), with ``batch_first`` (B, T). How
            long each value has been missing is counted from it. That of held steps is not looked at.
        x, state, lengths, mask, reset, return_all_states
            As for every layer. A stream's x has ``observed`` as ones and zeros behind x, and ``elapsed`` behind that.
        """
        owner, x = type(self).__name__, self._input(x)
        ones = ops.ones_like(x)
        if observed is not None:
            observed = booleans(owner, "observed", ops.value(observed), x.data)
            if tuple(observed.shape) != x.shape:
                raise ValueError(f"{owner}: observed has shape {tuple(observed.shape)}; expected {x.shape}, as x has")
            x, ones = ops.where(observed, x, ops.zeros_like(x)), ops.where(observed, ones, ops.zeros_like(x))
        joined = ops.concat([x, ones, self._column(elapsed, x, lengths=lengths, mask=mask)], axis=-1)
        return SequenceLayer.forward(
            self, joined, state, lengths=lengths, mask=mask, reset=reset, return_all_states=return_all_states
        )
