"""Attention of queries over a source: scores against its keys, weights, and the weighted mean of its values."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xprnn import ops
from xprnn.arguments import float_dtype, floating_input, input_tensor, size, true_or_false
from xprnn.backend import Array, dtype_name, shared_namespace
from xprnn.engine.control import Control
from xprnn.nn import init
from xprnn.nn.attention.additive import additive_scores
from xprnn.nn.attention.weights import masked_softmax
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.nn.weights import weight_of
from xprnn.randomness import Rng, generator
from xprnn.tensor import Parameter, Tensor


@dataclass(frozen=True)
class Memory:
    """A source made ready by :meth:`Attention.prepare`: all that depends on it and not on the queries.

    Attributes
    ----------
    keys
        (B, S, D): the keys as queries meet them, projected where the score function projects them.
    values
        (B, S, V).
    mask
        (B, 1, S) booleans, True where a query may look; None for everywhere.
    """

    keys: Tensor
    values: Tensor
    mask: Array | None


class Attention(Module):
    """Base of the score functions: c_t = sum over s of w_ts v_s, w_t = softmax over s of score(q_t, k_s).

    >>> memory = attention.prepare(keys, values, lengths=lengths)  # doctest: +SKIP
    >>> context, weights = attention(queries, memory)              # doctest: +SKIP

    The source is prepared once, then any number of queries look at it: a decoder's loop repeats nothing that it need
    not. A subclass defines ``score``, and ``project`` where keys are transformed first.
    """

    query_size: int | None = None
    """Q; None where it is the length of the prepared keys."""
    key_size: int | None = None
    """K; None where any will do."""
    dtype: str | None = None
    """What keys, values and queries must have; None for float32 or float64."""

    def prepare(self, keys: Any, values: Any = None, *, lengths: Any = None, mask: Any = None) -> Memory:
        """Make a source ready for queries.

        Parameters
        ----------
        keys, values
            (S, B, K) and (S, B, V); values default to the keys.
        lengths
            (B,) integers from 0 to S. What stands past the end, NaN included, counts as absent.
        mask
            (S, B) booleans, True where a query may look. Where none may, weights and context are exactly zero, and so
            are the gradients.

        Raises TypeError and ValueError for wrong types and shapes.
        """
        owner = type(self).__name__
        keys = floating_input(owner, "keys", keys, self.dtype)
        if keys.ndim != 3 or self.key_size not in (None, keys.shape[-1]):
            raise ValueError(f"{owner}: keys has shape {keys.shape}; expected (S, B, {self.key_size or 'K'})")
        values = keys if values is None else input_tensor(owner, "values", values, dtype_name(keys.data))
        if values.ndim != 3 or values.shape[:2] != keys.shape[:2]:
            steps, batch = keys.shape[:2]
            raise ValueError(f"{owner}: values has shape {values.shape}; expected ({steps}, {batch}, V), as keys")
        xp = shared_namespace(owner, ("keys", "values"), keys.data, values.data)
        seen = Control.build(owner, keys.data, ops.value(lengths), ops.value(mask)).advance
        if seen is not None:  # absent content is replaced before anything is computed from it: 0 * NaN would be NaN
            same = values is keys
            keys = ops.where(seen, keys, 0.0)
            values = keys if same else ops.where(seen, values, 0.0)
            seen = xp.permute_dims(seen, (1, 2, 0))
        projected = self.project(keys)
        return Memory(ops.permute_dims(projected, (1, 0, 2)), ops.permute_dims(values, (1, 0, 2)), seen)

    def forward(self, query: Any, memory: Memory) -> tuple[Tensor, Tensor]:
        """Context (L, B, V) and weights (B, L, S) of queries (L, B, Q); or, of one query (B, Q), (B, V) and (B, S).

        Each line of the weights sums to 1, or is zero where nothing may be looked at. Raises TypeError and ValueError
        for a query that does not fit the memory.
        """
        owner = type(self).__name__
        if not isinstance(memory, Memory):
            raise TypeError(f"{owner}: memory is a {type(memory).__name__}; expected what prepare() returned")
        query = input_tensor(owner, "query", query, dtype_name(memory.keys.data))
        batch, size = memory.keys.shape[0], self.query_size or memory.keys.shape[-1]
        if query.ndim not in (2, 3) or query.shape[-2:] != (batch, size):
            raise ValueError(f"{owner}: query has shape {query.shape}; expected (L, {batch}, {size})")
        shared_namespace(owner, ("query", "keys"), query.data, memory.keys.data)
        single = query.ndim == 2
        if single:
            query = ops.expand_dims(query, 0)
        weights = masked_softmax(self.score(query, memory.keys), memory.mask)
        context = ops.permute_dims(weights @ memory.values, (1, 0, 2))
        return (ops.squeeze(context, 0), ops.squeeze(weights, 1)) if single else (context, weights)

    def project(self, keys: Tensor) -> Tensor:
        """What happens to keys (S, B, K) before any query comes."""
        return keys

    @abstractmethod
    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores (B, L, S) of queries (L, B, Q) against prepared keys (B, S, D)."""


class DotAttention(Attention):
    """score(q, k) = q . k, or q . k / sqrt(Q) with ``scaled`` (Vaswani et al. 2017, arXiv 1706.03762).

    Queries and keys have one length, Q = K; there are no parameters.
    """

    def __init__(self, scaled: bool = False) -> None:
        self.scaled = true_or_false("DotAttention", "scaled", scaled)

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        if self.scaled:
            query = query * (1.0 / math.sqrt(query.shape[-1]))
        return ops.permute_dims(query, (1, 0, 2)) @ ops.matrix_transpose(keys)

    def describe(self) -> str:
        return "scaled" if self.scaled else ""


class GeneralAttention(DotAttention):
    """score(q, k) = q . (W k), with W (Q, K) (Luong et al. 2015, arXiv 1508.04025).

    The parameter is key_projection.weight, from U(+-1/sqrt(K)).
    """

    _fixed = frozenset({"query_size", "key_size"})

    def __init__(self, query_size: int, key_size: int, *, dtype: str = "float32", rng: Rng = None) -> None:
        super().__init__()
        self.query_size = size("GeneralAttention", "query_size", query_size)
        self.key_size = size("GeneralAttention", "key_size", key_size)
        self.dtype = float_dtype("GeneralAttention", dtype)
        self.key_projection = Linear(key_size, query_size, bias=False, dtype=dtype, rng=rng)

    def project(self, keys: Tensor) -> Tensor:
        return self.key_projection(keys)

    def describe(self) -> str:
        return f"{self.query_size}, {self.key_size}"


class AdditiveAttention(Attention):
    """score(q, k) = v . tanh(W_q q + b + W_k k), with W_q (D, Q), W_k (D, K), b and v (D,).

    Bahdanau et al. 2014, arXiv 1409.0473. Parameters query_projection.weight and .bias, key_projection.weight, and v,
    from U(+-1/sqrt(fan in)). On a device, and for second gradients, it needs memory for B L S D numbers.
    """

    _fixed = frozenset({"query_size", "key_size", "hidden_size"})

    def __init__(
        self, query_size: int, key_size: int, hidden_size: int, *, dtype: str = "float32", rng: Rng = None
    ) -> None:
        owner, draws = "AdditiveAttention", generator(rng)
        self.query_size = size(owner, "query_size", query_size)
        self.key_size = size(owner, "key_size", key_size)
        self.hidden_size = size(owner, "hidden_size", hidden_size)
        self.dtype = float_dtype(owner, dtype)
        self.query_projection = Linear(query_size, hidden_size, dtype=dtype, rng=draws)
        self.key_projection = Linear(key_size, hidden_size, bias=False, dtype=dtype, rng=draws)
        self.v = Parameter(init.uniform((hidden_size,), 1.0 / math.sqrt(hidden_size), rng=draws, dtype=dtype))

    def project(self, keys: Tensor) -> Tensor:
        return self.key_projection(keys)

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        v = weight_of(self, "v", (self.hidden_size,), dtype_name(keys.data))
        return additive_scores(ops.permute_dims(self.query_projection(query), (1, 0, 2)), keys, v)

    def describe(self) -> str:
        return f"{self.query_size}, {self.key_size}, {self.hidden_size}"


def named_attention(
    owner: str, name: str, query_size: int, key_size: int, *, dtype: str = "float32", rng: Rng = None
) -> Attention:
    """The score function of a name: "dot", "scaled_dot", "general" or "additive" (with D = Q)."""
    makers: dict[str, Callable[[], Attention]] = {
        "dot": DotAttention,
        "scaled_dot": lambda: DotAttention(scaled=True),
        "general": lambda: GeneralAttention(query_size, key_size, dtype=dtype, rng=rng),
        "additive": lambda: AdditiveAttention(query_size, key_size, query_size, dtype=dtype, rng=rng),
    }
    if name not in makers:
        raise ValueError(f"{owner}: attention is {name!r}; expected None or one of {', '.join(map(repr, makers))}")
    if name.endswith("dot") and query_size != key_size:
        raise ValueError(
            f"{owner}: attention {name!r} needs queries and keys of one length; they have {query_size} and {key_size}: "
            "take 'general' or 'additive'"
        )
    return makers[name]()
