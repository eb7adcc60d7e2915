"""LSTM with any activations, clipped, with input and forget gate coupled: the ONNX operator LSTM (version 22).

Coupled gates: Greff et al. 2015, arXiv 1503.04069, where they are called CIFG.
"""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.activations import Activation, activation
from xprnn.cells.cell import CANDIDATE, PointwiseCell, Saved, State, Weights, masked, recurrent_vjp, split, total
from xprnn.flags import true_or_false


class GeneralLSTM(PointwiseCell):
    """i, f, o = a(z_i), a(z_f), a(z_o);  g = b(z_g);  c' = f c + i g;  h' = o d(c').

    z = zx + zh, with its blocks in the order i, f, g, o. Coupled, f = 1 - i, and z has no block f. With peepholes p_i c
    is added to z_i, p_f c to z_f, and p_o c' to z_o; weight_ch (3, H), coupled (2, H), holds p_i, p_f, p_o.

    Parameters
    ----------
    gate, candidate, output
        a, b, d: each an :class:`Activation`, or its name.
    clip
        Every z is cut to -clip ... clip before its activation; c' is not. So ONNX Runtime reads the specification.
    """

    state_names = ("h", "c")
    masks = ("mask_h", CANDIDATE)

    def __init__(
        self,
        gate: str | Activation = "sigmoid",
        candidate: str | Activation = "tanh",
        output: str | Activation = "tanh",
        *,
        clip: float | None = None,
        coupled: bool = False,
        peephole: bool = False,
    ) -> None:
        self.coupled = true_or_false("GeneralLSTM", "coupled", coupled)
        self.peephole = true_or_false("GeneralLSTM", "peephole", peephole)
        self.gate_names = ("i", "g", "o") if coupled else ("i", "f", "g", "o")
        self.gates = len(self.gate_names)
        of = {name: activation(candidate if name == "g" else gate, clip) for name in self.gate_names}
        self.activations = of | {"output": activation(output)}

    @property
    def name(self) -> str:
        f = self.activations
        kind = ("coupled " if self.coupled else "") + ("peephole " if self.peephole else "")
        return f"{kind}LSTM ({f['i']!r} gates, {f['g']!r} candidate, {f['output']!r} output)"

    @property
    def peepholes(self) -> tuple[str, ...]:
        """The gates that see the cell, in the order of the rows of weight_ch."""
        return tuple(gate for gate in self.gate_names if gate != "g") if self.peephole else ()

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        shapes = super().weight_shapes(input_size, hidden_size)
        return shapes | {"weight_ch": (len(self.peepholes), hidden_size)} if self.peephole else shapes

    def _rows(self, w: Weights) -> dict[str, Array]:
        """The peepholes by gate."""
        return {gate: w["weight_ch"][row, ...] for row, gate in enumerate(self.peepholes)}

    def forward(self, w: Weights, zx: Array, zh: Array, state: State) -> tuple[State, Saved]:
        _, c = state
        z, p, a = dict(zip(self.gate_names, split(zx + zh, self.gates), strict=True)), self._rows(w), self.activations
        y = {}
        for gate in self.gate_names[:-1]:
            z[gate] = z[gate] + p[gate] * c if gate in p else z[gate]
            y[gate] = a[gate](z[gate])
        c_new = (1.0 - y["i"] if self.coupled else y["f"]) * c + y["i"] * masked(w, y["g"], CANDIDATE)
        z["o"] = z["o"] + p["o"] * c_new if p else z["o"]
        y["o"], output = a["o"](z["o"]), a["output"](c_new)
        return (y["o"] * output, c_new), (*y.values(), output, *z.values())

    def backward(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, Array, State]:
        (dh, dc), (_, c), p = dstate, state, self._rows(w)
        y, output, z = saved[: self.gates], saved[self.gates], saved[self.gates + 1 :]
        slope = {gate: self.activations[gate].slope(*at) for gate, *at in zip(self.gate_names, z, y, strict=True)}
        (i, g, o), f = (y[0], *y[-2:]), 1.0 - y[0] if self.coupled else y[1]
        dzo = dh * output * slope["o"]
        dc = dc + dh * o * self.activations["output"].slope(new_state[1], output)
        dc = dc + dzo * p["o"] if p else dc
        g = masked(w, g, CANDIDATE)
        dz = {"i": dc * (g - c if self.coupled else g) * slope["i"]}
        if not self.coupled:
            dz["f"] = dc * c * slope["f"]
        dz |= {"g": masked(w, dc, CANDIDATE) * i * slope["g"], "o": dzo}
        dc_old = dc * f
        for gate in self.peepholes[:-1]:
            dc_old = dc_old + dz[gate] * p[gate]
        dz_all = namespace(dh).concat(list(dz.values()), axis=-1)
        return dz_all, dz_all, (0.0, dc_old)

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        (h, c), (_, c_new) = states, new_states
        gradients = recurrent_vjp(w, dzx, h)
        if not self.peephole:
            return gradients
        dz = dict(zip(self.gate_names, split(dzx, self.gates), strict=True))
        rows = [total(dz[gate] * (c_new if gate == "o" else c)) for gate in self.peepholes]
        return gradients | {"weight_ch": namespace(dzx).stack(rows)}
