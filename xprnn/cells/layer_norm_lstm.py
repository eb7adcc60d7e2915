"""LSTM with layer normalisation (Ba, Kiros, Hinton 2016, arXiv 1607.06450, supplement, equations 20 to 22)."""

from __future__ import annotations

from collections.abc import Mapping

from xprnn.backend import Array, namespace
from xprnn.cells.cell import CANDIDATE, Saved, State, Weights, masked, outer_sum, sigmoid, split
from xprnn.cells.layer_norm import LayerNormCell, affine, affine_vjp, normalised, normalised_vjp
from xprnn.cells.lstm import gate_cotangents


class LayerNormLSTM(LayerNormCell):
    """i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o);  g = tanh(z_g);  c' = f c + i g;  h' = o tanh(s).

    z = N(W_ih x) gain_ih + bias_ih + N(W_hh h) gain_hh + bias_hh, in blocks i, f, g, o;  s = N(c') gain_c + bias_c.
    N(v) = (v - mean) / sqrt(variance + 1e-5), over all four blocks together, and over the units of c'. The paper's b
    is part of bias_ih. Gains and biases (4H), those of c (H).
    """

    gate_names = ("i", "f", "g", "o")
    state_names = ("h", "c")
    masks = ("mask_h", CANDIDATE)
    groups = (4,)
    initial: Mapping[str, float] = {**LayerNormCell.initial, "gain_c": 1.0, "bias_c": 0.0}

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        return super().weight_shapes(input_size, hidden_size) | {"gain_c": (hidden_size,), "bias_c": (hidden_size,)}

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        h, c = state
        xp = namespace(zx)
        yh, (scale_h,) = normalised(masked(w, h) @ w["weight_hh"].T, self.groups)
        zi, zf, zg, zo = split(zx + affine(w, "hh", yh), 4)
        i, f, g, o = sigmoid(zi), sigmoid(zf), xp.tanh(zg), sigmoid(zo)
        c_new = f * c + i * masked(w, g, CANDIDATE)
        yc, (scale_c,) = normalised(c_new, (1,))
        tanh_c = xp.tanh(affine(w, "c", yc))
        return (o * tanh_c, c_new), (i, f, g, o, tanh_c, yh, scale_h, yc, scale_c)

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        (dh, dc), (i, f, g, o, tanh_c, yh, scale_h, yc, scale_c), (_, c) = dstate, saved, state
        ds = dh * o * (1.0 - tanh_c * tanh_c)
        dc = dc + normalised_vjp(ds * w["gain_c"], yc, (scale_c,), (1,))
        dz = gate_cotangents(w, dc, i, f, g, c, dh * tanh_c * o * (1.0 - o))
        dproduct = normalised_vjp(dz * w["gain_hh"], yh, (scale_h,), self.groups)
        return dz, (masked(w, dproduct @ w["weight_hh"]), dc * f), (dproduct, yh, ds, yc)

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        dproduct, yh, ds, yc = terms
        gradients = {"weight_hh": outer_sum(dproduct, masked(w, states[0]))}
        return gradients | affine_vjp(w, "hh", dzx, yh) | affine_vjp(w, "c", ds, yc)
