"""From a vector at each step to one vector: the last, the mean, the maximum, or what attention picks."""

from __future__ import annotations

from typing import Any

from xprnn import ops
from xprnn.arguments import floating_input, input_tensor, size, true_or_false
from xprnn.backend import backend_of, dtype_name, namespace, shared_namespace
from xprnn.nn.attention.weights import masked_softmax
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.randomness import Rng, generator
from xprnn.tensor import Tensor


class Pooling(Module):
    """Base of the poolings: x (T, B, F) and mask (T, B) or None to y (B, F).

    Steps under a False mask count as absent: their content, NaN included, changes neither y nor a gradient. Of a
    sequence without steps y is 0. Raises TypeError and ValueError for other types and shapes.
    """

    def forward(self, x: Any, mask: Any = None) -> Tensor:
        x, mask = self._checked(x, mask)
        return self.pool(x, mask)

    def pool(self, x: Tensor, mask: Any) -> Tensor:
        """The pooled vectors, for arguments that have been checked."""
        raise NotImplementedError(f"{type(self).__name__} defines no pool")

    def _checked(self, x: Any, mask: Any) -> tuple[Tensor, Any]:
        owner = type(self).__name__
        x = floating_input(owner, "x", x)
        if x.ndim != 3:
            raise ValueError(f"{owner}: x has shape {x.shape}; expected (T, B, F)")
        if mask is None:
            xp = namespace(x.data)
            return x, xp.ones(x.shape[:2], dtype=xp.bool, device=backend_of(x.data).device)
        mask = input_tensor(owner, "mask", mask).data
        shared_namespace(owner, ("x", "mask"), x.data, mask)
        if dtype_name(mask) != "bool":
            raise TypeError(f"{owner}: mask has dtype {dtype_name(mask)}; expected bool")
        if tuple(mask.shape) != x.shape[:2]:
            raise ValueError(f"{owner}: mask has shape {tuple(mask.shape)}; expected (T, B) = {x.shape[:2]}")
        return x, mask


class LastPooling(Pooling):
    """y = x[t] for the last step t; with ``bidirectional`` the second half of the features is that of the first step.

    That is the state after a whole sequence: the reverse half of a bidirectional layer's output ends at the first step.
    """

    def __init__(self, bidirectional: bool = False) -> None:
        self.bidirectional = true_or_false("LastPooling", "bidirectional", bidirectional)

    def pool(self, x: Tensor, mask: Any) -> Tensor:
        xp, home = namespace(mask), backend_of(mask)
        steps, batch, features = x.shape
        if self.bidirectional and features % 2:
            raise ValueError(f"LastPooling: x has shape {x.shape}; expected an even F, two directions side by side")
        if steps == 0:
            return ops.sum(x, axis=0)
        half = features // 2 if self.bidirectional else features
        step, empty = xp.expand_dims(home.arange(steps), axis=1), ~xp.any(mask, axis=0)
        last = xp.max(xp.where(mask, step, xp.zeros_like(step)), axis=0)
        first = xp.min(xp.where(mask, step, xp.full_like(step, steps - 1)), axis=0)
        rows = ops.reshape(x, (steps * batch, features))
        parts = [ops.take(rows, last * batch + home.arange(batch))[:, :half]]
        if self.bidirectional:
            parts.append(ops.take(rows, first * batch + home.arange(batch))[:, half:])
        y = ops.concat(parts, axis=-1) if len(parts) > 1 else parts[0]
        return ops.where(xp.expand_dims(empty, axis=1), 0.0, y)


class MeanPooling(Pooling):
    """y = mean over the steps of x."""

    def pool(self, x: Tensor, mask: Any) -> Tensor:
        xp = namespace(mask)
        count = xp.sum(xp.astype(mask, x.dtype), axis=0)
        total = ops.sum(ops.where(xp.expand_dims(mask, axis=2), x, 0.0), axis=0)
        return total / xp.expand_dims(xp.where(count == 0, xp.ones_like(count), count), axis=1)


class MaxPooling(Pooling):
    """y[f] = max over the steps of x[f]."""

    def pool(self, x: Tensor, mask: Any) -> Tensor:
        if x.shape[0] == 0:
            return ops.sum(x, axis=0)
        xp = namespace(mask)
        top = ops.max(ops.where(xp.expand_dims(mask, axis=2), x, float("-inf")), axis=0)
        return ops.where(xp.expand_dims(xp.any(mask, axis=0), axis=1), top, 0.0)


class AttentionPooling(Pooling):
    """y = sum over t of w[t] x[t], with w = softmax over t of v . tanh(W x[t] + b).

    W (A, F), b (A,), v (A,); A is ``attention_size``, by default F. Lin et al. 2017, arXiv 1703.03130.
    """

    def __init__(
        self, features: int, attention_size: int | None = None, *, dtype: str = "float32", rng: Rng = None
    ) -> None:
        draws, owner = generator(rng), "AttentionPooling"
        features = size(owner, "features", features)
        inner = features if attention_size is None else size(owner, "attention_size", attention_size)
        self.hidden = Linear(features, inner, dtype=dtype, rng=draws)
        self.score = Linear(inner, 1, bias=False, dtype=dtype, rng=draws)

    def weights(self, x: Any, mask: Any = None) -> Tensor:
        """w (T, B): how much each step counts; 0 under a False mask, and the others of a sequence sum to 1."""
        x, mask = self._checked(x, mask)
        present = ops.where(namespace(mask).expand_dims(mask, axis=2), x, 0.0)
        return self._weights(present, mask)

    def pool(self, x: Tensor, mask: Any) -> Tensor:
        present = ops.where(namespace(mask).expand_dims(mask, axis=2), x, 0.0)
        return ops.sum(present * ops.expand_dims(self._weights(present, mask), 2), axis=0)

    def _weights(self, x: Tensor, mask: Any) -> Tensor:
        scores = self.score(ops.tanh(self.hidden(x)))
        return masked_softmax(ops.squeeze(scores, 2), mask, axis=0)

    def describe(self) -> str:
        return f"{self.hidden.in_features}, attention_size={self.hidden.out_features}"
