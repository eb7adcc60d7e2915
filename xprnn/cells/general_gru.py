"""GRU with any activations, clipped, with the reset gate on either side of the product: the ONNX operator GRU (22)."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.activations import Activation, activation
from xprnn.cells.cell import CANDIDATE, PointwiseCell, Saved, State, Weights, masked, split
from xprnn.cells.gru_reset_before import ResetBeforeGRU, blocks


class _Activations:
    """What both have: the gates' activation a and the candidate's b, each an :class:`Activation` or its name.

    What they are taken of is cut to -clip ... clip first, where there is a clip.
    """

    def __init__(
        self, gate: str | Activation = "sigmoid", candidate: str | Activation = "tanh", *, clip: float | None = None
    ) -> None:
        self.activations = {"r": activation(gate, clip), "z": activation(gate, clip), "n": activation(candidate, clip)}

    @property
    def options(self) -> str:
        return f"({self.activations['z']!r} gates, {self.activations['n']!r} candidate)"

    def slopes(self, z: Saved, y: Saved) -> list[Array]:
        """Of r, z and n."""
        return [f.slope(before, after) for f, before, after in zip(self.activations.values(), z, y, strict=True)]


class GeneralGRU(_Activations, PointwiseCell):
    """r, z = a(zx_r + zh_r), a(zx_z + zh_z);  n = b(zx_n + r zh_n);  h' = (1 - z) n + z h."""

    gate_names = ("r", "z", "n")
    masks = ("mask_h", CANDIDATE)

    @property
    def name(self) -> str:
        return f"GRU {self.options}"

    def forward(self, w: Weights, zx: Array, zh: Array, state: State) -> tuple[State, Saved]:
        (h,), a = state, self.activations
        (xr, xz, xn), (hr, hz, hn) = split(zx, 3), split(zh, 3)
        zr, zz = xr + hr, xz + hz
        r, z = a["r"](zr), a["z"](zz)
        zn = xn + r * hn
        n = a["n"](zn)
        return ((1.0 - z) * masked(w, n, CANDIDATE) + z * h,), (r, z, n, zr, zz, zn, hn)

    def backward(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, Array, State]:
        (dh,), (r, z, n, *zs, hn), (h,) = dstate, saved, state
        slope_r, slope_z, slope_n = self.slopes(tuple(zs), (r, z, n))
        dn = masked(w, dh, CANDIDATE) * (1.0 - z) * slope_n
        dz = dh * (h - masked(w, n, CANDIDATE)) * slope_z
        dr = dn * hn * slope_r
        concat = namespace(dh).concat
        return concat([dr, dz, dn], axis=-1), concat([dr, dz, dn * r], axis=-1), (dh * z,)


class GeneralResetBeforeGRU(_Activations, ResetBeforeGRU):
    """r, z = a(z_r), a(z_z);  n = b(zx_n + W_n (r h) + b_n);  h' = (1 - z) n + z h."""

    masks = ("mask_h", CANDIDATE)

    @property
    def name(self) -> str:
        return f"ResetBeforeGRU {self.options}"

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        (h,), a = state, self.activations
        xr, xz, xn = split(zx, 3)
        w_rz, w_n = blocks(w["weight_hh"])
        zh_rz = masked(w, h) @ w_rz.T
        if "bias_hh" in w:
            b_rz, b_n = blocks(w["bias_hh"])
            zh_rz, xn = zh_rz + b_rz, xn + b_n
        hr, hz = split(zh_rz, 2)
        zr, zz = xr + hr, xz + hz
        r, z = a["r"](zr), a["z"](zz)
        rh = r * masked(w, h)
        zn = xn + rh @ w_n.T
        n = a["n"](zn)
        return ((1.0 - z) * masked(w, n, CANDIDATE) + z * h,), (r, z, n, zr, zz, zn, rh)

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        (dh,), (r, z, n, *zs, rh), (h,) = dstate, saved, state
        w_rz, w_n = blocks(w["weight_hh"])
        slope_r, slope_z, slope_n = self.slopes(tuple(zs), (r, z, n))
        concat = namespace(dh).concat
        dn = masked(w, dh, CANDIDATE) * (1.0 - z) * slope_n
        drh = dn @ w_n
        d_rz = concat([drh * masked(w, h) * slope_r, dh * (h - masked(w, n, CANDIDATE)) * slope_z], axis=-1)
        return concat([d_rz, dn], axis=-1), (dh * z + masked(w, drh * r + d_rz @ w_rz),), (rh,)
