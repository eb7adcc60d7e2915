"""The network of estimators of texts: embeddings, a recurrent layer, pooling over time, and scores of classes."""

from __future__ import annotations

from typing import Any

from xprnn import ops
from xprnn.arguments import probability
from xprnn.backend import backend_of, namespace
from xprnn.data.padding import lengths_to_mask
from xprnn.estimators.cells import Shapes, layer_of, pooling_of, pooling_shapes, recurrent_shapes
from xprnn.nn import Dropout, Embedding, Linear, Module
from xprnn.nn.pooling import AttentionPooling
from xprnn.randomness import Rng, generator
from xprnn.tensor import Tensor

SPREAD = 0.1  # deviation of the first embeddings


class TextNetwork(Module):
    """logits = W pool(h) + b, with h the states of a recurrent layer, in one direction or both, over embedded tokens.

    Without pooling each token has logits of its own, W h[t] + b.

    ids (T, B) int64, lengths (B,) on the host, logits (B, C) or (T, B, C). While training, ``word_dropout`` is the
    probability that a token is replaced by the one of number ``unknown`` (Iyyer et al. 2015), which so learns what a
    word that nobody knows says; ``dropout`` acts on embeddings and on what the head sees.
    """

    def __init__(
        self,
        tokens: int,
        classes: int,
        unknown: int,
        *,
        cell: str,
        embedding: int,
        hidden: int,
        layers: int,
        bidirectional: bool,
        pooling: str | None = None,
        dropout: float,
        word_dropout: float,
        dtype: str,
        rng: Rng,
    ) -> None:
        draws, features = generator(rng), hidden * (1 + bidirectional)
        self.unknown, self.rng = unknown, draws
        self.word_dropout = probability("TextNetwork", "word_dropout", word_dropout)
        self.embedding = Embedding(tokens, embedding, check=False, dtype=dtype, rng=draws)
        self.embedding.weight.data = self.embedding.weight.data * SPREAD
        self.recurrent = layer_of(cell)(
            embedding,
            hidden,
            layers,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=bidirectional,
            dtype=dtype,
            rng=draws,
        )
        self.pooling = None if pooling is None else pooling_of(pooling, features, bidirectional, dtype, draws)
        self.dropout = Dropout(dropout, rng=draws)
        self.head = Linear(features, classes, dtype=dtype, rng=draws)

    @staticmethod
    def shapes(
        tokens: int,
        classes: int,
        *,
        cell: str,
        embedding: int,
        hidden: int,
        layers: int,
        bidirectional: bool,
        pooling: str | None = None,
    ) -> Shapes:
        """The parameters of such a network, without building it."""
        features = hidden * (1 + bidirectional)
        yield "embedding.weight", (tokens, embedding)
        yield from recurrent_shapes("recurrent.", cell, embedding, hidden, layers, 1 + bidirectional)
        if pooling is not None:
            yield from pooling_shapes("pooling.", pooling, features)
        yield from (("head.weight", (classes, features)), ("head.bias", (classes,)))

    def seen(self, ids: Any, lengths: Any) -> Tensor:
        """What the head sees of each text (B, S), or of each token (T, B, S)."""
        states, mask = self._states(ids, lengths)
        return states if self.pooling is None else self.pooling(states, mask)

    def forward(self, ids: Any, lengths: Any) -> Tensor:
        """The logits of texts (T, B)."""
        return self.head(self.dropout(self.seen(ids, lengths)))

    def begin_with(self, columns: Any) -> None:
        """Put host numbers (V, K) in the place of the first K of each embedding, as many as there are."""
        weight = self.embedding.weight
        count = min(columns.shape[1], self.embedding.embedding_dim)
        whole = weight.numpy().copy()
        whole[:, :count] = columns[:, :count]
        weight.data = backend_of(weight.data).asarray(whole)

    def attention(self, ids: Any, lengths: Any) -> Tensor:
        """How much each token counted (T, B). Raises TypeError where the pooling is not attention."""
        if not isinstance(self.pooling, AttentionPooling):
            raise TypeError(f"TextNetwork: the pooling is {type(self.pooling).__name__}; expected AttentionPooling")
        return self.pooling.weights(*self._states(ids, lengths))

    def _states(self, ids: Any, lengths: Any) -> tuple[Tensor, Any]:
        """The recurrent layer's outputs (T, B, F), and which of them are real (T, B), for lengths (B,) on the host."""
        ids = ops.value(ids)
        xp, home = namespace(ids), backend_of(ids)
        if self.training and self.word_dropout:
            dropped = home.asarray(self.rng.random(tuple(ids.shape)) < self.word_dropout)
            ids = xp.where(dropped, xp.full_like(ids, self.unknown), ids)
        mask = home.asarray(lengths_to_mask(lengths, ids.shape[0]))
        states, _ = self.recurrent(self.dropout(self.embedding(ids)), lengths=lengths)
        return states, mask
