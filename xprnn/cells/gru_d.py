"""GRU-D (Che, Purushotham, Cho, Sontag, Liu 2018, arXiv 1606.01865): missing values, and the time since they came."""

from __future__ import annotations

from typing import Any

from xprnn.backend import Array, namespace
from xprnn.cells.cell import Cell, Saved, State, Weights, outer_sum, sigmoid, split, total
from xprnn.cells.gru_reset_before import blocks


class GRUD(Cell):
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

    def multiplied(self) -> slice:
        return slice(self.input_size, 2 * self.input_size)

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
        return w["weight_oh"]

    def input_weight_vjp(self, w: Weights, d: Array) -> Weights:
        return {"weight_oh": d}

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        (h, last, since), xp, inputs = state, namespace(zx), self.input_size
        x, m, t = zx[..., -2 * inputs - 1 : -inputs - 1], zx[..., -inputs - 1 : -1], zx[..., -1:]
        passed, seen = since + t, m > 0.5
        last = xp.where(seen, x - w["mean"], last)
        at_x, fade_x = decay(w, "x", passed * w["decay_x"])
        input_ = w["mean"] + xp.where(seen, last, fade_x * last)
        at_h, fade_h = decay(w, "h", passed @ w["decay_h"].T)
        faded = fade_h * h
        w_rz, w_n = blocks(w["weight_hh"])
        xr, xz, xn = split(zx[..., : 3 * h.shape[-1]] + input_ @ w["weight_ih"].T, 3)
        hr, hz = split(faded @ w_rz.T, 2)
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        n = xp.tanh(xn + (r * faded) @ w_n.T)
        new = (1.0 - z) * n + z * faded, last, xp.where(seen, xp.zeros_like(passed), passed)
        return new, (passed, seen, at_x, fade_x, input_, at_h, fade_h, faded, r, z, n)

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        passed, seen, at_x, fade_x, input_, at_h, fade_h, faded, r, z, n = saved
        (dh, dlast, dsince), (_, last, _), xp = dstate, new_state, namespace(passed)
        zeros, (w_rz, w_n) = xp.zeros_like(passed), blocks(w["weight_hh"])
        dn, dz = dh * (1.0 - z) * (1.0 - n * n), dh * (faded - n) * z * (1.0 - z)
        drh = dn @ w_n
        d_rz = xp.concat([drh * faded * r * (1.0 - r), dz], axis=-1)
        dgates = xp.concat([d_rz, dn], axis=-1)
        dfaded = dh * z + drh * r + d_rz @ w_rz
        dinput = dgates @ w["weight_ih"]
        dlast = dlast + xp.where(seen, dinput, dinput * fade_x)
        dx = xp.where(seen, dlast, zeros)
        dat_x = xp.where(xp.logical_or(seen, at_x < 0.0), zeros, -dinput * last * fade_x)
        dat_h = xp.where(at_h < 0.0, xp.zeros_like(at_h), -dfaded * faded)
        dpassed = dat_x * w["decay_x"] + dat_h @ w["decay_h"] + xp.where(seen, zeros, dsince)
        dzx = xp.concat([dgates, dx, zeros, xp.sum(dpassed, axis=-1, keepdims=True)], axis=-1)
        dbefore = dfaded * fade_h, xp.where(seen, zeros, dlast), dpassed
        return dzx, dbefore, (passed, input_, faded, r * faded, dat_x, dat_h, dinput - dx)

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        passed, input_, faded, rh, dat_x, dat_h, dmean = terms
        size = faded.shape[-1]
        dgates = dzx[..., : 3 * size]
        of_state = [outer_sum(dgates[..., : 2 * size], faded), outer_sum(dgates[..., 2 * size :], rh)]
        gradients = {
            "weight_ih": outer_sum(dgates, input_),
            "weight_hh": namespace(dzx).concat(of_state, axis=0),
            "decay_x": total(dat_x * passed),
            "decay_h": outer_sum(dat_h, passed),
            "mean": total(dmean),
        }
        biases = {"bias_decay_x": dat_x, "bias_decay_h": dat_h}
        return gradients | {name: total(d) for name, d in biases.items() if name in w}


def decay(w: Weights, of: str, z: Array) -> tuple[Any, Any]:
    """z with its bias, and exp(-max(0, that))."""
    xp = namespace(z)
    z = z + w[f"bias_decay_{of}"] if f"bias_decay_{of}" in w else z
    return z, xp.exp(-xp.maximum(z, xp.zeros_like(z)))
