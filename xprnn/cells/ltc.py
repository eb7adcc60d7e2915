"""Liquid time-constant network (Hasani, Lechner, Amini, Rus, Grosu 2021, arXiv 2006.04439)."""

from __future__ import annotations

from typing import Any

from xprnn.backend import Array, namespace
from xprnn.cells.cell import Saved, State, Weights, sigmoid
from xprnn.cells.composed import ComposedCell
from xprnn.cells.timed import TimedCell
from xprnn.counts import size


class LTC(TimedCell, ComposedCell):
    """c dv/dt = g (e - v) + sum_j s_j (r_j - v), over all synapses j from inputs x and units v to a unit.

    A synapse's strength is s_j = w_j sigmoid(sigma_j (v_j - mu_j)), and r_j the potential that it pulls to. Over a span
    t it is solved by ``unfolds`` steps of the fused solver, with d = t / unfolds:

        v <- (c/d v + g e + sum_j s_j r_j) / (c/d + g + sum_j s_j)

    c, g and all w are softplus of the parameters capacity, leak (H,), weight_ih (H, I) and weight_hh (H, H); e is
    leak_potential (H,); mu, sigma, reversal of synapses are ..._ih (H, I) and ..._hh (H, H). x goes in as
    gain_x x + bias_x (I). wiring_ih and wiring_hh, of ones and zeros, say which synapses there are. The state is v.
    """

    def __init__(self, unfolds: int = 6) -> None:
        self.unfolds = size("LTC", "unfolds", unfolds)

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for end, sources in (("ih", input_size - 1), ("hh", hidden_size)):
            names = [f"{what}_{end}" for what in ("weight", "mu", "sigma", "reversal", "wiring")]
            shapes |= dict.fromkeys(names, (hidden_size, sources))
        shapes |= dict.fromkeys(("capacity", "leak", "leak_potential"), (hidden_size,))
        return shapes | dict.fromkeys(("gain_x", "bias_x"), (input_size - 1,))

    def input_weight(self, w: Weights) -> Array:
        return super().input_weight(w)[:0, :]  # no product: every synapse has a function of its own

    def input_weight_vjp(self, w: Weights, d: Array) -> Weights:
        return {}

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        (v,), x, t = state, zx[..., :-1], zx[..., -1:]
        x = x * w["gain_x"] + w["bias_x"] if "bias_x" in w else x * w["gain_x"]
        own, between = (_softplus(w[f"weight_{end}"]) * w[f"wiring_{end}"] for end in ("ih", "hh"))
        pulled, pulling = _synapses(w, "ih", own, x)
        held, leak = self.unfolds * _softplus(w["capacity"]), _softplus(w["leak"])
        for _ in range(self.unfolds):  # both sides of the quotient times t, which may be 0
            strong, strength = _synapses(w, "hh", between, v)
            above = held * v + t * (leak * w["leak_potential"] + pulled + strong)
            v = above / (held + t * (leak + pulling + strength))
        return (v,), ()


def _synapses(w: Weights, end: str, largest: Array, v: Array) -> tuple[Any, Any]:
    """Sums over the sources v (B, N) of s r and of s, (B, H), where s is at its largest (H, N)."""
    xp = namespace(v)
    strength = largest * sigmoid(w[f"sigma_{end}"] * (xp.expand_dims(v, axis=-2) - w[f"mu_{end}"]))
    return xp.sum(strength * w[f"reversal_{end}"], axis=-1), xp.sum(strength, axis=-1)


def _softplus(v: Array) -> Any:
    xp = namespace(v)
    return xp.logaddexp(v, xp.zeros_like(v))
