"""The scores of additive attention as one operation: compiled for the host, or composed of primitives."""

from __future__ import annotations

from collections.abc import Sequence

from xprnn import host_kernels, ops
from xprnn.backend import namespace
from xprnn.grad_mode import is_grad_enabled
from xprnn.tape import record_joint, replayed
from xprnn.tensor import Cotangents, Tensor

LEAST_WORK = 2**15  # pairs times units: below, a call of the kernels is not worth their import


def additive_scores(query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
    """e[b, l, s] = v . tanh(query[b, l] + keys[b, s]), for query (B, L, D), keys (B, S, D) and v (D,).

    Composed, its tanh of (B, L, S, D) numbers is kept for the way back; the kernels compute it again instead. Raises
    ValueError for other shapes, of which the kernels would read what is not there.
    """
    arrays = q, k, w = query.data, keys.data, v.data
    namespace(query=q, keys=k, v=w)
    if query.ndim != 3 or keys.ndim != 3 or query.shape[::2] != keys.shape[::2] or v.shape != query.shape[2:]:
        raise ValueError(
            f"AdditiveAttention: the projected query has shape {query.shape}, keys {keys.shape} and v {v.shape}; "
            "expected (B, L, D), (B, S, D) and (D,): keys are what prepare() of this layer made"
        )
    kernels = host_kernels.kernels_for(*arrays) if query.size * keys.shape[1] >= LEAST_WORK else None
    if kernels is None:
        return _composed(query, keys, v)

    def pullback(cotangents: Cotangents, outputs: Sequence[Tensor | None]) -> Cotangents:
        (g,) = cotangents
        assert g is not None
        if g.shape != scores.shape or g.dtype != scores.dtype:
            came, expected = f"{g.shape} and dtype {g.dtype}", f"{scores.shape} and {scores.dtype}"
            raise ValueError(f"additive_scores: the cotangent has shape {came}; expected {expected}")
        if is_grad_enabled():  # it will itself be differentiated
            return replayed([_composed(query, keys, v)], (query, keys, v), [g])
        return [Tensor(d) for d in kernels.additive.gradients(*arrays, g.data)]

    scores = kernels.additive.scores(*arrays)
    inputs = query, keys, v
    return record_joint("additive_scores", (scores,), inputs, pullback, inputs, ("query", "keys", "v"))[0]


def _composed(query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
    return ops.matmul(ops.tanh(ops.expand_dims(query, 2) + ops.expand_dims(keys, 1)), v)
