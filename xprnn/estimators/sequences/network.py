"""The networks of estimators of sequences."""

from __future__ import annotations

from typing import Any

from xprnn import ops
from xprnn.backend import backend_of, namespace
from xprnn.data.padding import lengths_to_mask
from xprnn.estimators.cells import Shapes, layer_of, pooling_of, pooling_shapes, recurrent_shapes
from xprnn.nn import Dropout, Linear, Module
from xprnn.nn.pooling import LastPooling
from xprnn.randomness import Rng, generator
from xprnn.tensor import Tensor


class SequenceNetwork(Module):
    """y = W pool(h) + b, with h the states of a recurrent layer; without pooling y[t] = W h[t] + b.

    x (T, B, F), lengths (B,) on the host; y (B, O) or (T, B, O). While training, dropout acts on what the head sees.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        cell: str,
        hidden: int,
        layers: int,
        bidirectional: bool = False,
        pooling: str | None = None,
        dropout: float = 0.0,
        dtype: str,
        rng: Rng,
    ) -> None:
        draws, states = generator(rng), hidden * (1 + bidirectional)
        between = dropout if layers > 1 else 0.0
        self.recurrent = layer_of(cell)(
            features, hidden, layers, dropout=between, bidirectional=bidirectional, dtype=dtype, rng=draws
        )
        self.pooling = None if pooling is None else pooling_of(pooling, states, bidirectional, dtype, draws)
        self.dropout = Dropout(dropout, rng=draws)
        self.head = Linear(states, outputs, dtype=dtype, rng=draws)

    @staticmethod
    def shapes(
        features: int,
        outputs: int,
        *,
        cell: str,
        hidden: int,
        layers: int,
        bidirectional: bool = False,
        pooling: str | None = None,
    ) -> Shapes:
        """The parameters of such a network, without building it."""
        states = hidden * (1 + bidirectional)
        yield from recurrent_shapes("recurrent.", cell, features, hidden, layers, 1 + bidirectional)
        if pooling is not None:
            yield from pooling_shapes("pooling.", pooling, states)
        yield from (("head.weight", (outputs, states)), ("head.bias", (outputs,)))

    def seen(self, x: Any, lengths: Any) -> Tensor:
        """What the head sees of each sequence (B, S), or of each step (T, B, S)."""
        states, _ = self.recurrent(x, lengths=lengths)
        if self.pooling is None:
            return states
        return self.pooling(states, backend_of(ops.value(x)).asarray(lengths_to_mask(lengths, x.shape[0])))

    def forward(self, x: Any, lengths: Any) -> Tensor:
        return self.head(self.dropout(self.seen(x, lengths)))


class NextStepNetwork(SequenceNetwork):
    """y[t] = W h[t] + b, with h of a step of zeros and x[0] to x[t - 1]: what step t is expected to be.

    x (T, B, F), y (T, B, F).
    """

    def seen(self, x: Any, lengths: Any) -> Tensor:
        xp = namespace(x)
        before = xp.concat([xp.zeros_like(x[:1, ...]), x[:-1, ...]], axis=0)
        return super().seen(before, lengths)


class ReconstructionNetwork(SequenceNetwork):
    """y[t] = W d[t] + b, with d a second recurrent layer that at each step sees the first one's last state only.

    x (T, B, F), y (T, B, F): the whole sequence has to go through that one vector (Malhotra et al. 2016, arXiv
    1607.00148).
    """

    def __init__(
        self, features: int, outputs: int, *, cell: str, hidden: int, layers: int, dtype: str, rng: Rng
    ) -> None:
        draws = generator(rng)
        super().__init__(features, outputs, cell=cell, hidden=hidden, layers=layers, dtype=dtype, rng=draws)
        self.last = LastPooling()
        self.decoder = layer_of(cell)(hidden, hidden, layers, dtype=dtype, rng=draws)

    @staticmethod
    def shapes(features: int, outputs: int, *, cell: str, hidden: int, layers: int, **_: Any) -> Shapes:
        """The parameters of such a network, without building it."""
        yield from SequenceNetwork.shapes(features, outputs, cell=cell, hidden=hidden, layers=layers)
        yield from recurrent_shapes("decoder.", cell, hidden, hidden, layers)

    def seen(self, x: Any, lengths: Any) -> Tensor:
        states, _ = self.recurrent(x, lengths=lengths)
        mask = backend_of(x).asarray(lengths_to_mask(lengths, x.shape[0]))
        code = ops.expand_dims(self.last(states, mask), 0)
        decoded, _ = self.decoder(ops.broadcast_to(code, (x.shape[0], *code.shape[1:])), lengths=lengths)
        return decoded
