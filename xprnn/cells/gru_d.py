"""GRU-D (Che, Purushotham, Cho, Sontag, Liu 2018, arXiv 1606.01865): missing values, and the time since they came."""

from __future__ import annotations

from typing import Any

from xprnn.backend import Array, namespace
from xprnn.cells.cell import Saved, State, Weights, sigmoid, split
from xprnn.cells.composed import ComposedCell
from xprnn.cells.gru_reset_before import blocks


class GRUD(ComposedCell):
    """A GRU of x^ and the mask m of what was observed, whose last values and state fade while nothing comes.

        d' = t + (time since the last value)           x^ = m x + (1 - m) (mean + exp(-max(0, w d' + b)) (last - mean))
        h^ = exp(-max(0, W d' + c)) h                  r, z = sigmoid(zx_r + W_r h^), sigmoid(zx_z + W_z h^)
        n = tanh(zx_n + W_n (r h^))                    h' = (1 - z) n + z h^

    zx = W_ih x^ + V m + bias_ih; z is one minus the paper's, as in :class:`GRU`. x comes as x (I), m (I) and the time t
    since the step before (1), side by side. The state is h; last - mean (I), zero where no value has come yet; and the
    time since the last value (I).

    weight_ih, weight_oh (V) (3H, I), weight_hh (3H, H), bias_ih (3H); decay_x and bias_decay_x (I,) are w and b,
    decay_h (H, I) and bias_decay_h (H,) W and c; mean (I,).
    """

    state_names = ("h", "last", "since")

    def __init__(self, input_size: int) -> None:
        self.input_size = input_size

    def state_sizes(self, hidden_size: int) -> tuple[int, ...]:
        return hidden_size, self.input_size, self.input_size

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        inputs, rows = self.input_size, 3 * hidden_size
        shapes = dict.fromkeys(("weight_ih", "weight_oh"), (rows, inputs))
        shapes |= {"weight_hh": (rows, hidden_size), "decay_h": (hidden_size, inputs)}
        return shapes | {
            "decay_x": (inputs,),
            "mean": (inputs,),
            "bias_ih": (rows,),
            "bias_decay_x": (inputs,),
            "bias_decay_h": (hidden_size,),
        }

    def sees_x(self, w: Weights, hidden_size: int) -> bool:
        return True

    def input_weight(self, w: Weights) -> Array:
        weight = w["weight_oh"]
        xp = namespace(weight)
        zeros = xp.zeros_like(weight)
        return xp.concat([zeros, weight, zeros[:, :1]], axis=1)

    def input_weight_vjp(self, w: Weights, d: Array) -> Weights:
        return {"weight_oh": d[:, self.input_size : 2 * self.input_size]}

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        (h, last, since), xp, inputs = state, namespace(zx), self.input_size
        x, m, t = zx[..., -2 * inputs - 1 : -inputs - 1], zx[..., -inputs - 1 : -1], zx[..., -1:]
        since = since + t
        mean, seen = w["mean"], m > 0.5
        last = xp.where(seen, x - mean, last)
        faded = xp.where(seen, last, _decay(w, "x", since * w["decay_x"]) * last)
        z_in = zx[..., : 3 * h.shape[-1]] + (mean + faded) @ w["weight_ih"].T
        h = _decay(w, "h", since @ w["decay_h"].T) * h
        w_rz, w_n = blocks(w["weight_hh"])
        xr, xz, xn = split(z_in, 3)
        hr, hz = split(h @ w_rz.T, 2)
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        n = xp.tanh(xn + (r * h) @ w_n.T)
        return ((1.0 - z) * n + z * h, last, xp.where(seen, xp.zeros_like(since), since)), ()


def _decay(w: Weights, of: str, z: Array) -> Any:
    """exp(-max(0, z + its bias))."""
    xp = namespace(z)
    z = z + w[f"bias_decay_{of}"] if f"bias_decay_{of}" in w else z
    return xp.exp(-xp.maximum(z, xp.zeros_like(z)))
