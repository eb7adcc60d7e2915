"""LSTM with full-matrix peepholes: every gate sees every cell, as Graves 2013 (arXiv 1308.0850) writes it."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.cell import (
    CANDIDATE,
    Cell,
    Saved,
    State,
    Weights,
    masked,
    outer_sum,
    recurrent_product,
    recurrent_vjp,
    sigmoid,
    split,
)
from xprnn.cells.lstm import gate_cotangents


class FullPeepholeLSTM(Cell):
    """The LSTM with P_i c added to z_i, P_f c to z_f, and P_o c' to z_o.

    weight_ch (3H, H) holds P_i, P_f, P_o, one below the other. The product with c' can only start when c' is known, so
    a step has three products.
    """

    gate_names = ("i", "f", "g", "o")
    state_names = ("h", "c")
    masks = ("mask_h", CANDIDATE)

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        return super().weight_shapes(input_size, hidden_size) | {"weight_ch": (3 * hidden_size, hidden_size)}

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        h, c = state
        p_if, p_o = peepholes(w)
        zi, zf, zg, zo = split(zx + recurrent_product(w, h), 4)
        pi, pf = split(c @ p_if.T, 2)
        i, f, g = sigmoid(zi + pi), sigmoid(zf + pf), namespace(zg).tanh(zg)
        c_new = f * c + i * masked(w, g, CANDIDATE)
        o = sigmoid(zo + c_new @ p_o.T)
        tanh_c = namespace(c_new).tanh(c_new)
        return (o * tanh_c, c_new), (i, f, g, o, tanh_c)

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        (dh, dc), (i, f, g, o, tanh_c), (_, c) = dstate, saved, state
        p_if, p_o = peepholes(w)
        dzo = dh * tanh_c * o * (1.0 - o)
        dc = dc + dh * o * (1.0 - tanh_c * tanh_c) + dzo @ p_o
        dz = gate_cotangents(w, dc, i, f, g, c, dzo)
        dz_if = dz[..., : 2 * c.shape[-1]]
        return dz, (masked(w, dz @ w["weight_hh"]), dc * f + dz_if @ p_if), ()

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        (h, c), (_, c_new) = states, new_states
        size = c.shape[-1]
        dp = [outer_sum(dzx[..., : 2 * size], c), outer_sum(dzx[..., 3 * size :], c_new)]
        return recurrent_vjp(w, dzx, h) | {"weight_ch": namespace(dzx).concat(dp, axis=0)}


def peepholes(w: Weights) -> tuple[Array, Array]:
    """The blocks that see c (2H, H), and the one that sees c' (H, H)."""
    size = w["weight_ch"].shape[1]
    return w["weight_ch"][: 2 * size, :], w["weight_ch"][2 * size :, :]
