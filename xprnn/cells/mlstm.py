"""mLSTM (Beck, Poeppel, Spanring et al. 2024, "xLSTM", arXiv 2405.04517): a matrix as memory, and exponential gates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xprnn.backend import Array, Backend, dtype_name, namespace
from xprnn.cells.cell import Saved, State, Weights, sigmoid
from xprnn.cells.composed import ManyStepCell
from xprnn.counts import size

CHUNK = 32
"""Steps that see each other directly."""

NEVER = -1e30
"""The logarithm of a gate that is shut."""


class MLSTM(ManyStepCell):
    """C' = f C + i k v^T;  n' = f n + i k;  h' = o (q^T C') / max(|q^T n'|, 1), in every head of D = H / N units.

    q, k and v (H) are blocks of zx, k divided by sqrt(D); o = sigmoid(zx_o) (H); f = sigmoid(zx_f) and i = exp(zx_i)
    are one number for each of N heads. So that i cannot overflow, the state holds C and n times exp(-m), with
    m' = max(log f + m, zx_i) of the head (the paper's section 2.3). weight_ih (4H + 2N, I), rows q, k, v, o, i, f.

    Nothing but m enters a step that is not linear in the state, so that :meth:`steps` takes 32 steps at once, which see
    each other as in attention, and what came before them by C. The loop's result to 1e-12, in float32 1e-4, of its
    largest number; a NaN is seen by the whole chunk that it stands in.
    """

    state_names = ("h", "C", "n", "m")

    def __init__(self, heads: int = 4) -> None:
        self.heads = size("MLSTM", "heads", heads)

    def state_sizes(self, hidden_size: int) -> tuple[int, ...]:
        return hidden_size, hidden_size * hidden_size // self.heads, hidden_size, self.heads

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        rows = 4 * hidden_size + 2 * self.heads
        return {"weight_ih": (rows, input_size), "bias_ih": (rows,)}

    @property
    def kept(self) -> tuple[bool, ...]:
        return True, False, False, False

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        xp, (h, memory, n, m) = namespace(zx), state
        q, k, v, o, i, log_f = self._parts(zx)
        m_new = xp.maximum(log_f + m, i)
        f, i = (xp.expand_dims(xp.exp(part - m_new), axis=-1) for part in (log_f + m, i))
        n_new = f * xp.reshape(n, k.shape) + i * k
        outer = xp.expand_dims(k, axis=-1) * xp.expand_dims(v, axis=-2)
        shape = outer.shape
        new = xp.expand_dims(f, axis=-1) * xp.reshape(memory, shape) + xp.expand_dims(i, axis=-1) * outer
        above = xp.sum(xp.expand_dims(q, axis=-1) * new, axis=-2)
        below = xp.maximum(xp.abs(xp.sum(q * n_new, axis=-1)), xp.exp(-m_new))
        h_new = xp.reshape(above / xp.expand_dims(below, axis=-1), h.shape)
        return (o * h_new, xp.reshape(new, memory.shape), xp.reshape(n_new, n.shape), m_new), ()

    def steps(self, w: Weights, zx: Array, state: State, live: Array | None, home: Backend) -> State:
        xp, (total, batch, _) = namespace(zx), zx.shape
        q, k, v, o, i, log_f = self._parts(zx)
        if live is not None:
            i = xp.where(live, i, NEVER * xp.ones_like(i))
            log_f = xp.where(live, log_f, xp.zeros_like(log_f))
        size = q.shape[-1]
        memory = xp.reshape(state[1], (batch, self.heads, size, size))
        n, m = xp.reshape(state[2], (batch, self.heads, size, 1)), state[3]
        outputs = []
        for start in range(0, total, CHUNK):
            part = slice(start, min(start + CHUNK, total))
            rows = [xp.permute_dims(each[part, ...], (1, 2, 0, 3)) for each in (q, k, v)]
            gates = [xp.permute_dims(each[part, ...], (1, 2, 0)) for each in (i, log_f)]
            found, memory, n, m = _chunk(rows, gates, memory, n, m, home)
            outputs.append(xp.permute_dims(found, (2, 0, 1, 3)))
        h = o * xp.reshape(outputs[0] if len(outputs) == 1 else xp.concat(outputs, axis=0), o.shape)
        return h, xp.reshape(memory, state[1].shape), xp.reshape(n, state[2].shape), m

    def _parts(self, zx: Array) -> tuple[Any, ...]:
        """q, k, v (..., N, D), o (..., H), i and the logarithm of f (..., N)."""
        xp, heads = namespace(zx), self.heads
        width = (zx.shape[-1] - 2 * heads) // 4
        q, k, v = (
            xp.reshape(zx[..., b * width : (b + 1) * width], (*zx.shape[:-1], heads, width // heads)) for b in range(3)
        )
        i, f = zx[..., -2 * heads : -heads], zx[..., -heads:]
        log_f = -xp.logaddexp(-f, xp.zeros_like(f))
        return q, k * (1.0 / math.sqrt(width // heads)), v, sigmoid(zx[..., 3 * width : 4 * width]), i, log_f


def _chunk(rows: list[Any], gates: list[Any], memory: Any, n: Any, m: Any, home: Backend) -> tuple[Any, Any, Any, Any]:
    """The quotients of L steps (B, N, L, D), and C, n and m after them; from q, k, v, and i, log f (B, N, L)."""
    (q, k, v), (i, log_f), xp = rows, gates, namespace(rows[0])
    length = q.shape[2]
    before = np.tril(np.ones((length, length), bool))
    causal = home.asarray(before)
    fallen = log_f @ home.asarray(before.T.astype(dtype_name(log_f)))  # the sums up to each step
    entry = fallen + xp.expand_dims(m, axis=-1)
    passed = xp.expand_dims(fallen, axis=-1) - xp.expand_dims(fallen - i, axis=-2)
    passed = xp.where(causal, passed, NEVER * xp.ones_like(passed))  # from one step to another
    top = xp.maximum(xp.max(passed, axis=-1), entry)
    share, kept = xp.exp(passed - xp.expand_dims(top, axis=-1)), xp.expand_dims(xp.exp(entry - top), axis=-1)
    seen = (q @ xp.permute_dims(k, (0, 1, 3, 2))) * share
    above = seen @ v + kept * (q @ memory)
    below = xp.sum(seen, axis=-1, keepdims=True) + kept * (q @ n)
    found = above / xp.maximum(xp.abs(below), xp.expand_dims(xp.exp(-top), axis=-1))
    last, faded = xp.expand_dims(share[:, :, length - 1, :], axis=-1), kept[:, :, length - 1 :, :]
    memory = faded * memory + xp.permute_dims(k * last, (0, 1, 3, 2)) @ v
    n = faded * n + xp.expand_dims(xp.sum(k * last, axis=-2), axis=-1)
    return found, memory, n, top[:, :, length - 1]
