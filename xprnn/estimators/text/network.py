"""The network of estimators of texts: embeddings, a recurrent layer, pooling over time, and scores of classes."""

from __future__ import annotations

from typing import Any

from xprnn import ops
from xprnn.arguments import probability
from xprnn.backend import backend_of, namespace
from xprnn.data.padding import lengths_to_mask
from xprnn.estimators.cells import Shapes
from xprnn.estimators.sequences.network import SequenceNetwork
from xprnn.nn import Embedding
from xprnn.nn.pooling import AttentionPooling
from xprnn.randomness import Rng, generator
from xprnn.tensor import Tensor

SPREAD = 0.1  # deviation of the first embeddings


class TextNetwork(SequenceNetwork):
    """The logits of classes, by a :class:`SequenceNetwork` over embedded tokens.

    ids (T, B) int64, lengths (B,) on the host, logits (B, C) or (T, B, C). While training, ``word_dropout`` is the
    probability that a token is replaced by the one of number ``unknown`` (Iyyer et al. 2015), whose vector so comes to
    stand for unknown words; ``dropout`` acts on embeddings and on what the head sees.
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
        draws = generator(rng)
        self.unknown, self.rng = unknown, draws
        self.word_dropout = probability("TextNetwork", "word_dropout", word_dropout)
        self.embedding = Embedding(tokens, embedding, check=False, dtype=dtype, rng=draws)
        self.embedding.weight.data = self.embedding.weight.data * SPREAD
        super().__init__(
            embedding, classes, cell=cell, hidden=hidden, layers=layers, bidirectional=bidirectional, pooling=pooling,
            dropout=dropout, dtype=dtype, rng=draws,
        )  # fmt: skip

    @staticmethod
    def shapes(tokens: int, classes: int, *, embedding: int, **sizes: Any) -> Shapes:  # type: ignore[override]
        """The parameters of such a network, without building it."""
        yield "embedding.weight", (tokens, embedding)
        yield from SequenceNetwork.shapes(embedding, classes, **sizes)

    def seen(self, ids: Any, lengths: Any) -> Tensor:
        """What the head sees of each text (B, S), or of each token (T, B, S)."""
        states, mask = self._states(ids, lengths)
        return states if self.pooling is None else self.pooling(states, mask)

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
