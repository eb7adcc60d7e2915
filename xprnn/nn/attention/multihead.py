"""Multi-head attention (Vaswani et al. 2017, arXiv 1706.03762)."""

from __future__ import annotations

import math
from typing import Any

from xprnn import ops
from xprnn.arguments import affordable, each_true_or_false, float_dtype, input_tensor, size
from xprnn.backend import Array, shared_namespace
from xprnn.nn import init
from xprnn.nn.attention.weights import allowed, masked_softmax
from xprnn.nn.dropout import Dropout
from xprnn.nn.form import Form
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.nn.weights import weight_of
from xprnn.randomness import Rng, generator
from xprnn.tensor import Parameter, Tensor

OWNER = "MultiheadAttention"


class MultiheadAttention(Module):
    """Each of N heads looks from every query at all keys: A = softmax(Q K^T / sqrt(d)),  y = [A V of all heads] W_o^T.

    Q = q W_q^T + b_q, K and V likewise, split into N heads of d = E / N features.

    ==============  ===================================================================================================
    q, y            (T, B, E), or (B, T, E) with ``batch_first``, or (T, E) without a batch
    k, v            (S, B, kdim), (S, B, vdim), axes likewise
    weights A       (B, T, S), the mean over the heads, or (B, N, T, S)
    parameters      in_proj_weight (3E, E) for q, k, v or, where kdim or vdim is not E, q_proj_weight (E, E),
                    k_proj_weight (E, kdim), v_proj_weight (E, vdim), from U(+-sqrt(6 / (rows + columns)));
                    in_proj_bias (3E), out_proj.bias (E), zero; out_proj.weight (E, E) from U(+-1/sqrt(E))
    ==============  ===================================================================================================

    Names and numbers are PyTorch's, so its state_dict loads. Masks have the opposite sense, that of all layers here:
    True is what counts.

    Parameters
    ----------
    embed_dim, num_heads
        E, and N, which must divide it.
    dropout
        Probability with which a weight is zero while training. Returned weights are those before.
    kdim, vdim
        Features of keys and values; default E.
    """

    _fixed = frozenset({"embed_dim", "num_heads", "kdim", "vdim", "packed"})

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        self.embed_dim = E = size(OWNER, "embed_dim", embed_dim)
        affordable(OWNER, {"in_proj_weight": (3 * E, E)}, embed_dim=E)
        self.num_heads = size(OWNER, "num_heads", num_heads)
        if E % self.num_heads:
            raise ValueError(f"{OWNER}: embed_dim is {E}; expected a multiple of num_heads = {num_heads}")
        self.kdim = E if kdim is None else size(OWNER, "kdim", kdim)
        self.vdim = E if vdim is None else size(OWNER, "vdim", vdim)
        bias, self.batch_first = each_true_or_false(OWNER, bias=bias, batch_first=batch_first)
        self.dtype = float_dtype(OWNER, dtype)
        draws = generator(rng)

        def weight(*shape: int) -> Parameter:
            return Parameter(init.xavier_uniform(shape, rng=draws, dtype=dtype))

        self.packed = self.kdim == self.vdim == E
        if self.packed:
            self.in_proj_weight = weight(3 * E, E)
        else:
            self.q_proj_weight, self.k_proj_weight = weight(E, E), weight(E, self.kdim)
            self.v_proj_weight = weight(E, self.vdim)
        self.in_proj_bias = Parameter(init.constant((3 * E,), 0.0, dtype=dtype)) if bias else None
        self.out_proj = Linear(E, E, bias, dtype=dtype, rng=draws)
        if self.out_proj.bias is not None:
            self.out_proj.bias.data = init.constant((E,), 0.0, dtype=dtype)
        self.dropout = Dropout(dropout, rng=draws)

    def forward(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        *,
        lengths: Any = None,
        mask: Any = None,
        attention_mask: Any = None,
        causal: bool = False,
        need_weights: bool = True,
        average_attn_weights: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Parameters
        ----------
        query, key, value
            Arrays or Tensors. Without a key it is the query (self-attention), without a value the key.
        lengths
            (B,) integers from 0 to S: keys past a sequence's end are not there.
        mask
            (S, B) booleans, in the key's order of axes; keys where it is False are not there. What they and their
            values hold, NaN included, changes nothing; nor do, in self-attention, the queries in their places.
        attention_mask
            (T, S), (B, T, S) or (B, N, T, S) booleans: which query may look at which key.
        causal
            Query t may look at keys 0 to t only. There must be as many keys as queries.
        need_weights, average_attn_weights
            Whether to return the weights, and their mean over the heads instead of those of each.

        Returns
        -------
        y, weights
            weights is None where they are not needed. A query that may look at nothing has weights of exactly 0, so
            its y is out_proj.bias, and no gradient flows through it.

        Raises
        ------
        TypeError, ValueError
            Wrong types, shapes, dtypes or libraries, with the argument's name.
        """
        need_weights, average_attn_weights = each_true_or_false(
            OWNER, need_weights=need_weights, average_attn_weights=average_attn_weights
        )
        key = query if key is None else key
        value = key if value is None else value
        form, q, k, v = self._inputs(query, key, value)
        control = form.control(OWNER, "query", query, k, lengths=lengths, mask=mask)
        real = control.advance  # (S, B, 1), True at keys that are there
        if real is not None:  # a weight of zero is not enough: zero times NaN is NaN
            cleaned = ops.where(real, k, 0.0)
            q, v = cleaned if q is k else q, cleaned if v is k else ops.where(real, v, 0.0)
            k = cleaned
        shape = (q.shape[1], self.num_heads, q.shape[0], k.shape[0])
        y, weights = self.attend(q, k, v, allowed(OWNER, k.data, shape, real, attention_mask, causal))
        y = form.outward(y)
        if not need_weights:
            return y, None
        weights = ops.mean(weights, axis=1) if average_attn_weights else weights
        return y, form.unbatched((weights,), 0)[0]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Array | None) -> tuple[Tensor, Tensor]:
        """The layer without checks and forms: y (T, B, E) and the weights (B, N, T, S) before dropout.

        q, k, v (T, B, E), (S, B, kdim), (S, B, vdim); the mask, True where to look, is broadcast to (B, N, T, S).
        """
        heads_q, heads_k, heads_v = self._heads(q, k, v)
        scores = heads_q * (1.0 / math.sqrt(heads_q.shape[-1])) @ ops.matrix_transpose(heads_k)
        weights = masked_softmax(scores, mask)
        context = ops.permute_dims(self.dropout(weights) @ heads_v, (2, 0, 1, 3))  # (T, B, N, d)
        return self.out_proj(ops.reshape(context, (*context.shape[:2], self.embed_dim))), weights

    def _inputs(self, query: Any, key: Any, value: Any) -> tuple[Form, Tensor, Tensor, Tensor]:
        """Their form, and the three, checked, as (T, B, E), (S, B, kdim), (S, B, vdim); one Tensor for one argument."""
        form, q = self._input("query", query, self.embed_dim)
        k = q if key is query and self.kdim == self.embed_dim else self._input("key", key, self.kdim)[1]
        v = k if value is key and self.vdim == self.kdim else self._input("value", value, self.vdim)[1]
        parameter = self.out_proj.weight.data
        shared_namespace(OWNER, ("query", "key", "value", "its parameters"), q.data, k.data, v.data, parameter)
        for name, x, given in (("key", k, key), ("value", v, value)):
            if len(given.shape) != len(query.shape) or x.shape[1] != q.shape[1]:
                raise ValueError(
                    f"{OWNER}: {name} has shape {tuple(given.shape)}; expected the batch of query, which has shape "
                    f"{tuple(query.shape)}"
                )
        if v.shape[0] != k.shape[0]:
            shapes = f"{tuple(value.shape)}; expected as many steps as key, which has shape {tuple(key.shape)}"
            raise ValueError(f"{OWNER}: value has shape {shapes}")
        return form, q, k, v

    def _input(self, name: str, x: Any, features: int) -> tuple[Form, Tensor]:
        x = input_tensor(OWNER, name, x, self.dtype)
        form = Form.of(OWNER, name, x, features, self.batch_first)
        return form, form.inward(x)

    def _heads(self, *inputs: Tensor) -> list[Tensor]:
        """Queries, keys and values of each head, (B, N, T, d)."""
        E = self.embed_dim
        if self.packed:
            weights = ops.unstack(ops.reshape(self._weight("in_proj_weight", 3 * E, E), (3, E, E)))
        else:
            sizes = {"q_proj_weight": E, "k_proj_weight": self.kdim, "v_proj_weight": self.vdim}
            weights = tuple(self._weight(name, E, size) for name, size in sizes.items())
        projected = [x @ weight.T for x, weight in zip(inputs, weights, strict=True)]
        if self.in_proj_bias is not None:
            biases = ops.unstack(ops.reshape(self._weight("in_proj_bias", 3 * E), (3, E)))
            projected = [x + bias for x, bias in zip(projected, biases, strict=True)]
        split = (self.num_heads, E // self.num_heads)
        return [ops.permute_dims(ops.reshape(x, (*x.shape[:2], *split)), (1, 2, 0, 3)) for x in projected]

    def _weight(self, name: str, *shape: int) -> Parameter:
        return weight_of(self, name, shape, self.dtype)

    def describe(self) -> str:
        return f"{self.embed_dim}, {self.num_heads}"
