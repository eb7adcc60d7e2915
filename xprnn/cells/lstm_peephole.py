"""LSTM whose gates see their own cell (Gers and Schmidhuber 2000, "Recurrent nets that time and count")."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.cell import (
    CANDIDATE,
    PointwiseCell,
    Saved,
    State,
    Weights,
    masked,
    recurrent_vjp,
    sigmoid,
    split,
    total,
)
from xprnn.cells.lstm import gate_cotangents


class PeepholeLSTM(PointwiseCell):
    """The LSTM with p_i c added to z_i, p_f c to z_f, and p_o c' to z_o.

    weight_ch (3, H) holds the diagonals p_i, p_f, p_o.
    """

    gate_names = ("i", "f", "g", "o")
    state_names = ("h", "c")
    masks = ("mask_h", CANDIDATE)

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        return super().weight_shapes(input_size, hidden_size) | {"weight_ch": (3, hidden_size)}

    def forward(self, w: Weights, zx: Array, zh: Array, state: State) -> tuple[State, Saved]:
        _, c = state
        p = w["weight_ch"]
        zi, zf, zg, zo = split(zx + zh, 4)
        i, f, g = sigmoid(zi + p[0, ...] * c), sigmoid(zf + p[1, ...] * c), namespace(zg).tanh(zg)
        c_new = f * c + i * masked(w, g, CANDIDATE)
        o = sigmoid(zo + p[2, ...] * c_new)
        tanh_c = namespace(c_new).tanh(c_new)
        return (o * tanh_c, c_new), (i, f, g, o, tanh_c)

    def backward(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, Array, State]:
        (dh, dc), (i, f, g, o, tanh_c), (_, c) = dstate, saved, state
        p = w["weight_ch"]
        dzo = dh * tanh_c * o * (1.0 - o)
        dc = dc + dh * o * (1.0 - tanh_c * tanh_c) + dzo * p[2, ...]
        dz = gate_cotangents(w, dc, i, f, g, c, dzo)
        dzi, dzf, _, _ = split(dz, 4)
        return dz, dz, (0.0, dc * f + dzi * p[0, ...] + dzf * p[1, ...])

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        dzi, dzf, _, dzo = split(dzx, 4)
        (h, c), (_, c_new) = states, new_states
        dp = namespace(dzx).stack([total(dzi * c), total(dzf * c), total(dzo * c_new)])
        return recurrent_vjp(w, dzx, h) | {"weight_ch": dp}
