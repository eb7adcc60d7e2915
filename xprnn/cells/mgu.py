"""Minimal gated unit (Zhou, Wu, Zhang, Zhou 2016, arXiv 1603.09420): a GRU with one gate."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.cell import CANDIDATE, Cell, Saved, State, Weights, masked, outer_sum, sigmoid, split, total


class MGU(Cell):
    """f = sigmoid(z_f);  n = tanh(zx_n + W_n (f h) + b_n);  h' = (1 - f) h + f n.

    Blocks in the order f, n. The second product can only start when f is known, so a step has two.
    """

    gate_names = ("f", "n")
    masks = ("mask_h", CANDIDATE)

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        (h,), (w_f, w_n), (xf, xn) = state, _halves(w["weight_hh"]), split(zx, 2)
        zf = xf + masked(w, h) @ w_f.T
        if "bias_hh" in w:
            b_f, b_n = _halves(w["bias_hh"])
            zf, xn = zf + b_f, xn + b_n
        f = sigmoid(zf)
        fh = f * masked(w, h)
        n = namespace(zx).tanh(xn + fh @ w_n.T)
        return ((1.0 - f) * h + f * masked(w, n, CANDIDATE),), (f, n, fh)

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        (dh,), (f, n, fh), (h,), (w_f, w_n) = dstate, saved, state, _halves(w["weight_hh"])
        dn = masked(w, dh, CANDIDATE) * f * (1.0 - n * n)
        dfh = dn @ w_n
        df = (dh * (masked(w, n, CANDIDATE) - h) + dfh * masked(w, h)) * f * (1.0 - f)
        dz = namespace(dh).concat([df, dn], axis=-1)
        return dz, (dh * (1.0 - f) + masked(w, dfh * f + df @ w_f),), (fh,)

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        (fh,), (h,), (df, dn) = terms, states, split(dzx, 2)
        dw = [outer_sum(df, masked(w, h)), outer_sum(dn, fh)]
        gradients = {"weight_hh": namespace(dzx).concat(dw, axis=0)}
        return gradients | {"bias_hh": total(dzx)} if "bias_hh" in w else gradients


def _halves(a: Array) -> tuple[Array, Array]:
    """The rows of f, and those of n."""
    size = a.shape[0] // 2
    return a[:size, ...], a[size:, ...]
