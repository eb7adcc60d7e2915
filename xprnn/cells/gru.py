"""Gated recurrent unit (Cho et al. 2014, arXiv 1406.1078), with the reset gate after the product, as in cuDNN."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.cell import CANDIDATE, PointwiseCell, Saved, State, Weights, masked, sigmoid, split


class GRU(PointwiseCell):
    """r, z = sigmoid(zx_r + zh_r), sigmoid(zx_z + zh_z);  n = tanh(zx_n + r zh_n);  h' = (1 - z) n + z h.

    Blocks in the order r, z, n. The reset gate multiplies the product, so that one product serves all three.
    """

    gate_names = ("r", "z", "n")
    masks = ("mask_h", CANDIDATE)

    def forward(self, w: Weights, zx: Array, zh: Array, state: State) -> tuple[State, Saved]:
        (h,) = state
        xr, xz, xn = split(zx, 3)
        hr, hz, hn = split(zh, 3)
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        n = namespace(xn).tanh(xn + r * hn)
        return ((1.0 - z) * masked(w, n, CANDIDATE) + z * h,), (r, z, n, hn)

    def backward(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, Array, State]:
        (dh,), (r, z, n, hn), (h,) = dstate, saved, state
        dn = masked(w, dh, CANDIDATE) * (1.0 - z) * (1.0 - n * n)
        dz = dh * (h - masked(w, n, CANDIDATE)) * z * (1.0 - z)
        dr = dn * hn * r * (1.0 - r)
        concat = namespace(dh).concat
        return concat([dr, dz, dn], axis=-1), concat([dr, dz, dn * r], axis=-1), (dh * z,)
