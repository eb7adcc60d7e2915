"""Embedding: a table of vectors looked up by number."""

from __future__ import annotations

from typing import Any

from xprnn import ops
from xprnn.arguments import float_dtype, input_tensor, sizes, true_or_false, whole_number
from xprnn.backend import dtype_name, namespace
from xprnn.nn import init
from xprnn.nn.module import Module
from xprnn.nn.weights import weight_of
from xprnn.postponed import within
from xprnn.randomness import Rng
from xprnn.tensor import Parameter, Tensor


class Embedding(Module):
    """y = weight[x].

    x (...) integers from 0 to num_embeddings - 1, y (..., embedding_dim); weight (num_embeddings, embedding_dim) from
    N(0, 1). The row ``padding_idx`` is zero and stays zero: no gradient reaches it.

    Raises TypeError for x that is not integer; ValueError for a number outside the table (on a GPU this check waits for
    the device, but not inside ``fit``; ``check=False`` leaves it out, for input that is known to be good).
    """

    _fixed = frozenset({"num_embeddings", "embedding_dim", "padding_idx"})

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        check: bool = True,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        num_embeddings, embedding_dim = sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.check, self.dtype = true_or_false("Embedding", "check", check), float_dtype("Embedding", dtype)
        if padding_idx is not None:
            padding_idx = whole_number("Embedding", "padding_idx", padding_idx, -num_embeddings)
            if padding_idx >= num_embeddings:
                raise ValueError(f"Embedding: padding_idx is {padding_idx}; expected a row of {num_embeddings}")
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        weight = init.normal((num_embeddings, embedding_dim), rng=rng, dtype=dtype)
        if self.padding_idx is not None:
            weight[self.padding_idx, ...] = 0.0
        self.weight = Parameter(weight)

    def forward(self, x: Any) -> Tensor:
        x = input_tensor("Embedding", "x", x).data
        if not dtype_name(x).startswith(("int", "uint")):
            raise TypeError(f"Embedding: x has dtype {dtype_name(x)}; expected integers")
        weight = weight_of(self, "weight", (self.num_embeddings, self.embedding_dim), self.dtype)
        xp = namespace(x=x, weight=weight.data)
        if self.check:
            x = within(x, self.num_embeddings, self._outside)
        rows = ops.take(weight, x)
        if self.padding_idx is None:
            return rows
        return ops.where(xp.expand_dims(x == self.padding_idx, axis=-1), rows.detach(), rows)

    def _outside(self, number: int) -> ValueError:
        return ValueError(f"Embedding: x contains {number}; expected numbers from 0 to {self.num_embeddings - 1}")

    def describe(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
