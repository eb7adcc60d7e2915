"""Legendre memory unit (Voelker, Kajic, Eliasmith 2019, "Legendre memory units ...", NeurIPS 32)."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn.backend import Array, Backend, namespace
from xprnn.cells.cell import Saved, State, Weights, outer_sum
from xprnn.cells.composed import ManyStepCell
from xprnn.counts import sizes

CHUNK = 32
"""Steps taken by one product."""


class LMU(ManyStepCell):
    """u = zx_u + E_h h + E_m m;  m' = A m + B u;  h' = tanh(zx_h + W_h h + W_m m').

    m holds ``order`` numbers for each of ``channels`` values u: the Legendre polynomials' coefficients of u over the
    window of the last steps, of which A and B (:func:`legendre_memory`) make the next ones. zx_u (C) and zx_h (H) are
    the rows of weight_ih (C + H, I) and bias_ih; E_h and W_h those of weight_hh (C + H, H); E_m is weight_mu (C, C d),
    W_m weight_mh (H, C d). memory_a (d, d), memory_b (d,).

    Without ``feedback`` there are no E_h, E_m and W_h (Chilkuri and Eliasmith 2021, arXiv 2102.11417). m is linear in u
    then, and :meth:`steps` takes 32 steps by one product with powers of A; A's eigenvectors are no way to do it, for
    their condition is 1e8 at order 16. The result is the loop's to 1e-12, in float32 1e-4, of its largest number.
    """

    state_names = ("h", "m")

    def __init__(self, order: int, channels: int = 1, feedback: bool = True) -> None:
        self.order, self.channels = sizes("LMU", order=order, channels=channels)
        self.feedback = feedback
        self.composed = not feedback

    @property
    def many(self) -> bool:  # type: ignore[override] # of each
        return not self.feedback

    @property
    def name(self) -> str:
        return "LMU" if self.feedback else "LMU without feedback"

    def state_sizes(self, hidden_size: int) -> tuple[int, ...]:
        return hidden_size, self.channels * self.order

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        rows, memory = self.channels + hidden_size, self.channels * self.order
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, input_size), "bias_ih": (rows,)}
        shapes["weight_mh"] = (hidden_size, memory)
        if self.feedback:
            shapes |= {"weight_hh": (rows, hidden_size), "weight_mu": (self.channels, memory)}
        return shapes | {"memory_a": (self.order, self.order), "memory_b": (self.order,)}

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        (h, m), xp, channels = state, namespace(zx), self.channels
        if self.feedback:
            zx = zx + h @ w["weight_hh"].T
        u, z = zx[..., :channels], zx[..., channels:]
        if self.feedback:
            u = u + m @ w["weight_mu"].T
        by_channel = xp.reshape(m, (-1, self.order)) @ w["memory_a"].T + xp.reshape(u, (-1, 1)) * w["memory_b"]
        m = xp.reshape(by_channel, m.shape)
        return (xp.tanh(z + m @ w["weight_mh"].T), m), (u,)

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        (dh, dm), (h, _), xp = dstate, new_state, namespace(dstate[0])
        dz = dh * (1.0 - h * h)
        dm = dm + dz @ w["weight_mh"]
        by_channel = xp.reshape(dm, (-1, self.order))
        du = xp.reshape(by_channel @ w["memory_b"], saved[0].shape)
        dbefore = xp.reshape(by_channel @ w["memory_a"], dm.shape) + du @ w["weight_mu"]
        dzx = xp.concat([du, dz], axis=-1)
        return dzx, (dzx @ w["weight_hh"], dbefore), (dm, saved[0])

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        (h, m), (dm, u), xp, channels = states, terms, namespace(dzx), self.channels
        before, after = (xp.reshape(each, (-1, self.order)) for each in (m, dm))  # a row for each channel
        return {
            "weight_hh": outer_sum(dzx, h),
            "weight_mu": outer_sum(dzx[..., :channels], m),
            "weight_mh": outer_sum(dzx[..., channels:], new_states[1]),
            "memory_a": after.T @ before,
            "memory_b": xp.sum(after * xp.reshape(u, (-1, 1)), axis=0),
        }

    def steps(self, w: Weights, zx: Array, state: State, live: Array | None, home: Backend) -> State:
        xp, (total, batch, _), channels, order = namespace(zx), zx.shape, self.channels, self.order
        length = min(CHUNK, total)
        chunks = -(-total // length)
        u = zx[..., :channels]
        if missing := chunks * length - total:  # steps that nobody asks for
            u = xp.concat([u, xp.zeros_like(u[:missing, ...])], axis=0)
        powers, pulses = self._powers(w, length)
        # What a value of a chunk leaves in the memory at each of its steps: (L, L d), zero before it came.
        since = np.subtract.outer(np.arange(length), np.arange(length)).T
        known = xp.stack([*pulses, xp.zeros_like(pulses[0])])
        response = xp.take(known, home.asarray(np.where(since < 0, length, since).ravel()), axis=0)
        response = xp.reshape(response, (length, length * order))
        by_chunk = xp.permute_dims(xp.reshape(u, (chunks, length, batch * channels)), (0, 2, 1))
        own = xp.reshape(xp.reshape(by_chunk, (-1, length)) @ response, (chunks, -1, length, order))
        memory, entered = xp.reshape(state[1], (-1, order)), []
        for n in range(chunks):
            entered.append(memory)
            memory = memory @ powers[-1].T + own[n, :, length - 1, :]
        carried = xp.reshape(xp.stack(entered), (-1, order)) @ xp.concat([power.T for power in powers], axis=1)
        m = xp.reshape(own, (chunks, batch * channels, length, order)) + xp.reshape(carried, own.shape)
        m = xp.reshape(xp.permute_dims(m, (0, 2, 1, 3)), (chunks * length, batch, channels * order))[:total, ...]
        rows = xp.reshape(m, (total * batch, channels * order)) @ w["weight_mh"].T
        return xp.tanh(zx[..., channels:] + xp.reshape(rows, (total, batch, -1))), m

    def _powers(self, w: Weights, length: int) -> tuple[list[Any], list[Any]]:
        """A, A^2, ... A^L, and B, A B, ... A^(L-1) B."""
        powers, pulses = [w["memory_a"]], [w["memory_b"]]
        for _ in range(length - 1):
            powers.append(powers[-1] @ w["memory_a"])
            pulses.append(w["memory_a"] @ pulses[-1])
        return powers, pulses


def legendre_memory(order: int, window: float) -> tuple[np.ndarray, np.ndarray]:
    """A (d, d) and B (d,) of one step, in float64: window dm/dt = A m + B u, with u held for the step.

    A[i, j] = (2i + 1) (-1 where i < j, else (-1)^(i-j+1)), B[i] = (2i + 1) (-1)^i. After the step,
    u(t - s) is about the sum over i of P_i(2 s / window - 1) m[i], with Legendre's polynomials P_i.
    """
    i = np.arange(order)
    below = np.subtract.outer(i, i)
    a = np.where(below < 0, -1.0, -((-1.0) ** np.abs(below))) * (2.0 * i + 1.0)[:, None]
    b = (2.0 * i + 1.0) * (-1.0) ** i
    both = np.zeros((order + 1, order + 1))
    both[:order, :order], both[:order, order] = a / window, b / window
    both = _exponential(both)
    return both[:order, :order], both[:order, order]


def _exponential(a: np.ndarray) -> np.ndarray:
    """The exponential of a matrix: of a 2^k-th part of it by Taylor's series, squared k times."""
    halvings = max(0, int(np.ceil(np.log2(np.abs(a).sum(axis=0).max()))) + 2)
    a = a / 2.0**halvings
    term = result = np.eye(len(a))
    for n in range(1, 14):
        term = term @ a / n
        result = result + term
    for _ in range(halvings):
        result = result @ result
    return result
