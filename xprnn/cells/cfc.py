"""Closed-form continuous-time network (Hasani, Lechner, Amini et al. 2022, Nature Machine Intelligence 4, 992)."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.cell import Saved, State, Weights, outer_sum, sigmoid, split, total
from xprnn.cells.timed import TimedCell
from xprnn.counts import size

MODES = ("default", "no_gate", "pure")


class CfC(TimedCell):
    """h' = (1 - s) f + s g, with s = sigmoid(a t + b), f = tanh(z_f), g = tanh(z_g), after t of time.

    z_f, z_g, a, b = the blocks of V y + c, where y = 1.7159 tanh(0.666 (zx + W_hh h)) is a backbone of U units; with
    none (``backbone_units`` 0) they are those of zx + W_hh h. ``mode`` "no_gate": h' = f + s g; "pure":
    h' = A - A exp(-t (|w| + |z_f|)) z_f, with one block alone, and A and w (H,).

    weight_ih (U, I), weight_hh (U, H), bias_ih (U), weight_uh (4H, U) and bias_uh (4H) are V and c; without a backbone
    weight_ih (4H, I), weight_hh (4H, H), bias_ih (4H). One block in the place of four in "pure".
    """

    def __init__(self, mode: str = "default", backbone_units: int = 128) -> None:
        self.mode, self.backbone_units = mode, size("CfC", "backbone_units", backbone_units, 0)
        self.initial = {"amplitude": 1.0, "rate": 0.0} if mode == "pure" else {}

    @property
    def name(self) -> str:
        return f"CfC ({self.mode})"

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        heads = (1 if self.mode == "pure" else 4) * hidden_size
        rows = self.backbone_units or heads
        shapes = {"weight_ih": (rows, input_size - 1), "weight_hh": (rows, hidden_size), "bias_ih": (rows,)}
        if self.backbone_units:
            shapes |= {"weight_uh": (heads, rows), "bias_uh": (heads,)}
        return shapes | ({"amplitude": (hidden_size,), "rate": (hidden_size,)} if self.mode == "pure" else {})

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        xp, rows = namespace(zx), w["weight_ih"].shape[0]
        z, t = zx[..., :rows] + state[0] @ w["weight_hh"].T, zx[..., -1:]
        backbone: Saved = ()
        if self.backbone_units:
            y = xp.tanh(0.666 * z)
            backbone = (y,)
            z = (1.7159 * y) @ w["weight_uh"].T
            z = z + w["bias_uh"] if "bias_uh" in w else z
        if self.mode == "pure":
            fade = xp.exp(-t * (xp.abs(w["rate"]) + xp.abs(z)))
            return (w["amplitude"] - w["amplitude"] * fade * z,), (zx, t, z, fade, *backbone)
        f, g, a, b = split(z, 4)
        f, g, s = xp.tanh(f), xp.tanh(g), sigmoid(a * t + b)
        new = (f if self.mode == "no_gate" else (1.0 - s) * f) + s * g
        return (new,), (zx, t, f, g, a, s, *backbone)

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        (dh,), xp = dstate, namespace(dstate[0])
        own: Saved = ()
        zx, t, *parts = saved
        if self.mode == "pure":
            z, fade = parts[:2]
            dfall = dh * w["amplitude"] * z * fade  # of the exponent, which falls with time
            dz, dt = dfall * t * xp.sign(z) - dh * w["amplitude"] * fade, dfall * (xp.abs(w["rate"]) + xp.abs(z))
            own = (dh * (1.0 - fade * z), dfall * t * xp.sign(w["rate"]))
        else:
            f, g, a, s = parts[:4]
            gated = self.mode != "no_gate"
            df = dh * (1.0 - s) if gated else dh
            dq = dh * (g - f if gated else g) * s * (1.0 - s)
            dz = xp.concat([df * (1.0 - f * f), dh * s * (1.0 - g * g), dq * t, dq], axis=-1)
            dt = dq * a
        if self.backbone_units:
            y = parts[-1]
            own = (*own, dz, y)
            dz = (dz @ w["weight_uh"]) * (1.7159 * 0.666) * (1.0 - y * y)
        beside = xp.zeros_like(zx[..., dz.shape[-1] : -1])
        dzx = xp.concat([dz, beside, xp.sum(dt, axis=-1, keepdims=True)], axis=-1)
        return dzx, (dz @ w["weight_hh"],), own

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        gradients = {"weight_hh": outer_sum(dzx[..., : w["weight_ih"].shape[0]], states[0])}
        if self.backbone_units:
            dz, y = terms[-2:]
            gradients["weight_uh"] = outer_sum(dz, 1.7159 * y)
            gradients |= {"bias_uh": total(dz)} if "bias_uh" in w else {}
        if self.mode == "pure":
            gradients |= {"amplitude": total(terms[0]), "rate": total(terms[1])}
        return gradients
