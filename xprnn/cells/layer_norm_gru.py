"""GRU with layer normalisation (Ba, Kiros, Hinton 2016, arXiv 1607.06450, supplement, equations 23 to 25)."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.cell import CANDIDATE, Saved, State, Weights, masked, outer_sum, sigmoid, split
from xprnn.cells.layer_norm import LayerNormCell, affine, affine_vjp, normalised, normalised_vjp


class LayerNormGRU(LayerNormCell):
    """r, z = sigmoid(zx_r + zh_r), sigmoid(zx_z + zh_z);  n = tanh(zx_n + r zh_n);  h' = (1 - z) n + z h.

    zx = N(W_ih x) gain_ih + bias_ih and zh = N(W_hh h) gain_hh + bias_hh, in blocks r, z, n.
    N(v) = (v - mean) / sqrt(variance + 1e-5), over r and z together, and over n. Gains and biases (3H).
    """

    gate_names = ("r", "z", "n")
    masks = ("mask_h", CANDIDATE)
    groups = (2, 1)

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        (h,) = state
        yh, scales = normalised(masked(w, h) @ w["weight_hh"].T, self.groups)
        (xr, xz, xn), (hr, hz, hn) = split(zx, 3), split(affine(w, "hh", yh), 3)
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        n = namespace(xn).tanh(xn + r * hn)
        return ((1.0 - z) * masked(w, n, CANDIDATE) + z * h,), (r, z, n, hn, yh, *scales)

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        (dh,), (r, z, n, hn, yh, *scales), (h,) = dstate, saved, state
        concat = namespace(dh).concat
        dn = masked(w, dh, CANDIDATE) * (1.0 - z) * (1.0 - n * n)
        dz = dh * (h - masked(w, n, CANDIDATE)) * z * (1.0 - z)
        dr = dn * hn * r * (1.0 - r)
        dzh = concat([dr, dz, dn * r], axis=-1)
        dproduct = normalised_vjp(dzh * w["gain_hh"], yh, tuple(scales), self.groups)
        return concat([dr, dz, dn], axis=-1), (masked(w, dproduct @ w["weight_hh"]) + dh * z,), (dproduct, dzh, yh)

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        dproduct, dzh, yh = terms
        return {"weight_hh": outer_sum(dproduct, masked(w, states[0]))} | affine_vjp(w, "hh", dzh, yh)
