"""Vanishing and exploding gradients: |dL/dh_t| over 200 steps of an RNN, an LSTM and a GRU, beside closed forms.

L is the sum of the last hidden state, steps are t = 0 ... T-1. For a linear chain h_t = w h_(t-1) the gradient is
exactly w^(T-1-t). For the chain h_t = sigmoid(w h_(t-1) + x_t) it is the product of w h (1 - h), which a large w does
not make explode: the sigmoid saturates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, example, plot, save, table

import xprnn
from xprnn import nn, ops
from xprnn.diagnose import GradientFlow, gradient_flow, saturation

BACK = (1, 10, 50, 100, 200)
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, _, BLACK = COLOURS


class Chain:
    """One unit: h_t = f(w h_(t-1) + x_t)."""

    state_sizes = (1,)

    def __init__(self, w: float, f: Any = lambda z: z) -> None:
        self.w, self.f = w, f

    def step(self, x: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self.f(self.w * state[0] + x),)


@example
def main(quick: bool, output: Path) -> None:
    """How fast gradients vanish or explode through many steps, for chains, RNN, LSTM and GRU."""
    size, steps = (16, 60) if quick else (64, 200)
    back = [k for k in BACK if k <= steps]
    home, draws = xprnn.default_backend(), np.random.default_rng(0)
    x = home.asarray(draws.standard_normal((steps, 1, 8)))
    options = {"dtype": "float64", "rng": 0}
    patient_lstm, patient_gru = nn.LSTM(8, size, **options), nn.GRU(8, size, **options)
    for layer in (patient_lstm, patient_gru):
        nn.chrono_init(layer, steps, rng=0)
    strong = nn.RNN(8, size, **options)
    strong.weight_hh_l0.data = strong.weight_hh_l0.data * 4.0
    chains = {f"closed form {w}^(T-1-t)": w ** np.arange(steps - 1.0, -1.0, -1.0) for w in (0.9, 1.0, 1.1)}
    layers = {
        "RNN": (nn.RNN(8, size, **options), VERMILION, "-"),
        "RNN, weights times 4": (strong, VERMILION, "--"),
        "LSTM": (nn.LSTM(8, size, **options), BLUE, "-"),
        "LSTM, forget bias 1": (nn.LSTM(8, size, forget_bias=1.0, **options), BLUE, "--"),
        "LSTM, chrono init": (patient_lstm, BLUE, "-."),
        "GRU": (nn.GRU(8, size, **options), GREEN, "-"),
        "GRU, chrono init": (patient_gru, GREEN, "-."),
    }
    flows = {name: gradient_flow(layer, x) for name, (layer, *_) in layers.items()}

    one = x[:, :, :1]
    for w in (0.9, 1.0, 1.1):
        found = gradient_flow(nn.Recurrent(Chain(w)), one).gradient_norms[:, 0]
        np.testing.assert_allclose(found, chains[f"closed form {w}^(T-1-t)"], rtol=1e-12)
    sigmoids = {f"sigmoid({w:g} h + x)": gradient_flow(nn.Recurrent(Chain(w, ops.sigmoid)), one) for w in (0.1, 10.0)}
    rows = [(name, *(values[-k] for k in back)) for name, values in chains.items()]
    rows += [(name, *(flow.gradient_norms[-k, 0] for k in back)) for name, flow in {**sigmoids, **flows}.items()]
    print(f"|dL/dh_t|, L = sum of the last h, T = {steps}, {size} units (chains have one)")
    table(rows, ["", *(f"t = T-{k}" for k in back)])
    print("gradient_flow equals the three closed forms to 1e-12. An LSTM or GRU alone helps little: as layers usually")
    print("start, gates are half open and the gradient is lost a little later. Gates that start open keep it.")
    save(picture(chains, layers, flows), output, "vanishing_gradients")
    show_saturation(layers, x, output)


def show_saturation(layers: dict[str, Any], x: Any, output: Path) -> None:
    """Which gates and tanh units are near their limits, and a map of one LSTM's."""
    found = {name: saturation(layer, x) for name, (layer, *_) in layers.items()}
    print("\nSaturation: % of units, over all steps, within 0.1 of the limits of sigmoid or tanh, where it is any")
    shares = [
        (name, gate.partition(" ")[2], *(f"{100 * share[:, k].mean():.1f}" for share in (each.low, each.high)))
        for name, each in found.items()
        for k, gate in enumerate(each.gates)
        if max(each.low[:, k].mean(), each.high[:, k].mean()) >= 0.001
    ]
    table(shares, ["", "gate", "low", "high"])
    ax = found["LSTM, chrono init"].plot()
    ax.set_title(f"LSTM, chrono init. {ax.get_title()}")
    save(ax.figure, output, "saturation")


def picture(chains: dict[str, np.ndarray], layers: dict[str, Any], flows: dict[str, GradientFlow]) -> Any:
    """Above, the gradients; below, what each step does to them at most."""
    figure, (above, below) = plot(2, 1, (10.5, 8), sharex=True, height_ratios=[2, 1])
    for (name, values), style in zip(chains.items(), (":", "-", "--"), strict=True):
        above.plot(values, color=BLACK, linestyle=style, linewidth=1.0, label=name)
    for name, (_, colour, style) in layers.items():
        above.plot(flows[name].gradient_norms[:, 0], color=colour, linestyle=style, linewidth=1.8, label=name)
        below.plot(flows[name].jacobian_norms[:, 0], color=colour, linestyle=style, linewidth=1.2)
    above.set_yscale("log")
    above.set_ylim(1e-30, 1e12)
    above.set_title("Gradient of the last step's output in each earlier hidden state")
    above.set_ylabel("|dL/dh_t|")
    above.legend(loc="upper left", bbox_to_anchor=(1.005, 1.0), frameon=False)
    below.axhline(1.0, color=BLACK, linewidth=1.0)
    below.set_title("Largest singular value of each step's Jacobian: above 1 a gradient can grow, below it must shrink")
    below.set_ylabel("|ds_t/ds_(t-1)|")
    below.set_xlabel("step t")
    for axes in (above, below):
        axes.grid(alpha=0.25)
    return figure


if __name__ == "__main__":
    main()
