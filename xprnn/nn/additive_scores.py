"""The scores of additive attention, as one operation: their (B, L, S, D) numbers are walked through in small blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from xprnn import ops
from xprnn.backend import Array, backend_of, dtype_name, namespace
from xprnn.tensor import Cotangents, Tensor, is_grad_enabled, record_joint

BLOCK = 1 << 16  # numbers of a block on the host: a few of them together stay in the cache of a core


def additive_scores(query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
    """e[b, l, s] = v . tanh(query[b, l] + keys[b, s]), for query (B, L, D), keys (B, S, D) and v (D,)."""
    xp, q, k = namespace(query=query.data, keys=keys.data, v=v.data), query.data, keys.data
    batch, length, size = q.shape
    shape = (batch, length, k.shape[1], size)
    blocks = list(_blocks(q, shape))
    keep = is_grad_enabled() and any(x.requires_grad for x in (query, keys, v))
    home, dtype = backend_of(q), dtype_name(q)
    bent = home.zeros(shape if keep else (0,), dtype)
    scores = home.zeros(shape[:3], dtype)
    for part in blocks:
        each = xp.tanh(xp.expand_dims(q[part, ...], axis=2) + xp.expand_dims(k[part, ...], axis=1))
        scores[part, ...] = xp.matmul(each, v.data)
        if keep:
            bent[part, ...] = each

    def pullback(cotangents: Cotangents, outputs: Sequence[Tensor | None]) -> Cotangents:
        (g,) = cotangents
        assert g is not None
        if is_grad_enabled():  # it will itself be differentiated
            t = ops.tanh(ops.expand_dims(query, 2) + ops.expand_dims(keys, 1))
            spread = ops.expand_dims(g, 3)
            slope = spread * v * (1.0 - t * t)
            return [ops.sum(slope, 2), ops.sum(slope, 1), ops.sum(spread * t, (0, 1, 2))]
        dq, dk = xp.zeros_like(q), xp.zeros_like(k)
        for part in blocks:
            slope = bent[part, ...] * bent[part, ...]
            slope -= 1.0
            slope *= xp.expand_dims(g.data[part, ...], axis=3)
            dq[part, ...] = xp.sum(slope, axis=2)
            dk[part, ...] = xp.sum(slope, axis=1)
        dv = xp.matmul(xp.reshape(g.data, (1, -1)), xp.reshape(bent, (-1, size))) if g.size else None
        return [Tensor(dq * -v.data), Tensor(dk * -v.data), None if dv is None else Tensor(dv[0, ...])]

    return record_joint("additive_scores", (scores,), (query, keys, v), pullback)[0]


def _blocks(like: Array, shape: tuple[int, ...]) -> Iterator[slice]:
    """Parts of the batch; on a device all of it at once."""
    batch, *rest = shape
    step = max(1, BLOCK // max(1, int(np.prod(rest)))) if type(like) is np.ndarray else max(1, batch)
    return (slice(start, min(start + step, batch)) for start in range(0, batch, step))
