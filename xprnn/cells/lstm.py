"""Long short-term memory (Hochreiter and Schmidhuber 1997), with the forget gate of Gers, Schmidhuber, Cummins 2000."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.cell import CANDIDATE, PointwiseCell, Saved, State, Weights, masked, sigmoid, split


class LSTM(PointwiseCell):
    """i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o);  g = tanh(z_g);  c' = f c + i g;  h' = o tanh(c').

    z = zx + zh, with its blocks in the order i, f, g, o.
    """

    gate_names = ("i", "f", "g", "o")
    state_names = ("h", "c")
    masks = ("mask_h", CANDIDATE)

    def forward(self, w: Weights, zx: Array, zh: Array, state: State) -> tuple[State, Saved]:
        _, c = state
        zi, zf, zg, zo = split(zx + zh, 4)
        i, f, g, o = sigmoid(zi), sigmoid(zf), namespace(zg).tanh(zg), sigmoid(zo)
        c_new = f * c + i * masked(w, g, CANDIDATE)
        tanh_c = namespace(c_new).tanh(c_new)
        return (o * tanh_c, c_new), (i, f, g, o, tanh_c)

    def backward(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, Array, State]:
        (dh, dc), (i, f, g, o, tanh_c), (_, c) = dstate, saved, state
        dc = dc + dh * o * (1.0 - tanh_c * tanh_c)
        dz = gate_cotangents(w, dc, i, f, g, c, dh * tanh_c * o * (1.0 - o))
        return dz, dz, (0.0, dc * f)


def gate_cotangents(w: Weights, dc: Array, i: Array, f: Array, g: Array, c: Array, dzo: Array) -> Array:
    """dz of all four gates, from the complete cotangent of c' and that of z_o."""
    dcandidate = masked(w, dc, CANDIDATE)
    dzi = dcandidate * g * i * (1.0 - i)
    dzf = dc * c * f * (1.0 - f)
    dzg = dcandidate * i * (1.0 - g * g)
    return namespace(dc).concat([dzi, dzf, dzg, dzo], axis=-1)
