"""Gated recurrent unit with the reset gate before the product, as Cho et al. 2014 (arXiv 1406.1078) write it."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.cell import CANDIDATE, Cell, Saved, State, Weights, masked, outer_sum, sigmoid, split, total


class ResetBeforeGRU(Cell):
    """r, z = sigmoid(z_r), sigmoid(z_z);  n = tanh(zx_n + W_n (r h) + b_n);  h' = (1 - z) n + z h.

    Blocks in the order r, z, n, as in the GRU. The last product can only start when r is known, so a step has two.
    """

    gate_names = ("r", "z", "n")
    masks = ("mask_h", CANDIDATE)

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        (h,) = state
        xr, xz, xn = split(zx, 3)
        w_rz, w_n = blocks(w["weight_hh"])
        zh_rz, zh_n = masked(w, h) @ w_rz.T, None
        if "bias_hh" in w:
            b_rz, zh_n = blocks(w["bias_hh"])
            zh_rz = zh_rz + b_rz
        hr, hz = split(zh_rz, 2)
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        rh = r * masked(w, h)
        zn = xn + rh @ w_n.T
        n = namespace(zn).tanh(zn if zh_n is None else zn + zh_n)
        return ((1.0 - z) * masked(w, n, CANDIDATE) + z * h,), (r, z, n, rh)

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        (dh,), (r, z, n, rh), (h,) = dstate, saved, state
        w_rz, w_n = blocks(w["weight_hh"])
        concat = namespace(dh).concat
        dn = masked(w, dh, CANDIDATE) * (1.0 - z) * (1.0 - n * n)
        dz = dh * (h - masked(w, n, CANDIDATE)) * z * (1.0 - z)
        drh = dn @ w_n
        dr = drh * masked(w, h) * r * (1.0 - r)
        d_rz = concat([dr, dz], axis=-1)
        return concat([d_rz, dn], axis=-1), (dh * z + masked(w, drh * r + d_rz @ w_rz),), (rh,)

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        (rh,), (h,) = terms, states
        size = h.shape[-1]
        dw = [outer_sum(dzx[..., : 2 * size], masked(w, h)), outer_sum(dzx[..., 2 * size :], rh)]
        gradients = {"weight_hh": namespace(dzx).concat(dw, axis=0)}
        return gradients | {"bias_hh": total(dzx)} if "bias_hh" in w else gradients


def blocks(a: Array) -> tuple[Array, Array]:
    """The rows of r and z together, and those of n."""
    size = a.shape[0] // 3
    return a[: 2 * size, ...], a[2 * size :, ...]
