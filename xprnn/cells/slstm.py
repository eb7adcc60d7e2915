"""sLSTM of xLSTM (Beck, Pöppel, Spanring et al. 2024, arXiv 2405.04517, equations 8 to 17)."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.activations import Activation
from xprnn.cells.cell import PointwiseCell, Saved, State, Weights, sigmoid, split
from xprnn.cells.heads import headed_product, headed_product_vjp, headed_weight_vjp
from xprnn.counts import size

SOFTPLUS = Activation("softplus")


class SLSTM(PointwiseCell):
    """An LSTM whose gates may grow without end, kept in range by a state that holds the logarithm of its scale.

    a = log sigmoid(z_f) + m, or z_f + m with ``forget="exp"``;  m' = max(a, z_i);  i = exp(z_i - m');  f = exp(a - m');
    c' = f c + i tanh(z_g);  n' = max(f n + i, 1);  h' = sigmoid(z_o) c' / n'.

    z = zx + zh, in blocks i, f, g, o; the paper calls g z. Where n = 0 nothing has been seen yet, and a = z_i. From
    zero state f n + i is never below 1, so that the 1 changes nothing there; it is a guard for states of one's own.
    Units are in ``num_heads`` equal groups of neighbours, of which each sees itself alone: weight_hh (4H, H/num_heads).
    """

    gate_names = ("i", "f", "g", "o")
    state_names = ("h", "c", "n", "m")

    def __init__(self, num_heads: int = 1, forget: str = "sigmoid") -> None:
        if forget not in ("sigmoid", "exp"):
            raise ValueError(f"SLSTM: forget is {forget!r}; expected 'sigmoid' or 'exp'")
        self.num_heads, self.forget = size("SLSTM", "num_heads", num_heads), forget

    @property
    def name(self) -> str:
        options = [f"{self.num_heads} heads"] * (self.num_heads > 1) + ["exponential forget gate"] * (
            self.forget == "exp"
        )
        return f"SLSTM ({', '.join(options)})" if options else "SLSTM"

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        if hidden_size % self.num_heads:
            raise ValueError(
                f"SLSTM: hidden_size is {hidden_size}; expected a multiple of num_heads = {self.num_heads}"
            )
        shapes = super().weight_shapes(input_size, hidden_size)
        return shapes | {"weight_hh": (4 * hidden_size, hidden_size // self.num_heads)}

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        return self.forward(w, zx, headed_product(w, state[0], self.gates), state)

    def forward(self, w: Weights, zx: Array, zh: Array, state: State) -> tuple[State, Saved]:
        (_, c, n, m), (zi, zf, zg, zo) = state, split(zx + zh, 4)
        xp = namespace(zx)
        a = m + (zf if self.forget == "exp" else -SOFTPLUS(-zf))
        a = xp.where(n == 0, zi, a)
        m_new = xp.maximum(a, zi)
        i, f, g, o = xp.exp(zi - m_new), xp.exp(a - m_new), xp.tanh(zg), sigmoid(zo)
        c_new = f * c + i * g
        n_new = f * n + i
        n_new = xp.maximum(n_new, xp.ones_like(n_new))
        return (o * c_new / n_new, c_new, n_new, m_new), (i, f, g, o, zf)

    def backward(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, Array, State]:
        (dh, dc, dn, dm), (i, f, g, o, zf), (_, c, n, _), (h, _, n_new, _) = dstate, saved, state, new_state
        xp = namespace(dh)
        dzo = dh * h * (1.0 - o)
        dc = dc + dh * o / n_new
        dn = xp.where(n_new > 1, dn - dh * h / n_new, xp.zeros_like(dn))
        da, dzi = f * (dc * c + dn * n), i * (dc * g + dn)
        dm = dm - da - dzi
        first = i >= 1  # then m' is z_i, and else a
        da, dzi = xp.where(first, da, da + dm), xp.where(first, dzi + dm, dzi)
        da, dzi = xp.where(n == 0, xp.zeros_like(da), da), xp.where(n == 0, dzi + da, dzi)
        dzf = da if self.forget == "exp" else da * sigmoid(-zf)
        dz = xp.concat([dzi, dzf, dc * i * (1.0 - g * g), dzo], axis=-1)
        return dz, dz, (0.0, dc * f, dn * f, da)

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        dzx, dzh, (_, *rest) = self.backward(w, dstate, saved, state, new_state)
        return dzx, (headed_product_vjp(w, dzh, self.gates), *rest), ()

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        return headed_weight_vjp(w, dzx, states[0], self.gates)
