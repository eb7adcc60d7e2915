"""Initialisation: what is left of a start state after 100 steps, and of a gradient after 100 steps back.

h_0 and the gradient in h_T are drawn from N(0, 1), and no input comes. Xavier's weights (Glorot and Bengio 2010) and
orthogonal ones with tanh lose part of the signal, the identity with relu loses only what the first relu cuts off. He's
(arXiv 1502.01852) with relu keep the mean square only on average over the draws, so wide layers are needed: of the
variance 0.005 is left after 100 steps with 128 units, and 4e-28 with the 32 units of --quick. N(0, 1) makes tanh
saturate and gradients explode; 0.01 N(0, 1) forgets at once. An LSTM remembers with its forget gate, so there the bias
of that gate decides.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, example, plot, save, table

import xprnn
from xprnn import nn, ops
from xprnn.diagnose import gradient_flow
from xprnn.nn import init

STEPS = 100
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, _, BLACK = COLOURS
# nonlinearity, recurrent weights, colour, line
RNNS: dict[str, tuple[str, Any, str, str]] = {
    "N(0, 1), tanh": ("tanh", init.normal, VERMILION, "-"),
    "0.01 N(0, 1), tanh": ("tanh", functools.partial(init.normal, std=0.01), VERMILION, ":"),
    "Xavier uniform, tanh": ("tanh", init.xavier_uniform, BLUE, "-"),
    "Xavier normal, tanh": ("tanh", init.xavier_normal, BLUE, "--"),
    "orthogonal, tanh": ("tanh", init.orthogonal, GREEN, "-"),
    "Xavier normal, relu": ("relu", init.xavier_normal, ORANGE, "--"),
    "He normal, relu": ("relu", init.he_normal, ORANGE, "-"),
    "identity, relu": ("relu", init.identity, BLACK, "-."),
}
FORGET = {0.0: (PURPLE, ":"), 1.0: (PURPLE, "--"), 3.0: (PURPLE, "-"), 5.0: (SKY, "-")}


def rnn(nonlinearity: str, draw: Any, size: int, seed: int) -> nn.RNN:
    layer = nn.RNN(1, size, nonlinearity=nonlinearity, bias=False, dtype="float64", rng=seed)
    init.redraw(layer, weight_hh=draw, rng=seed)
    return layer


def lstm(forget_bias: float, size: int, seed: int) -> nn.LSTM:
    layer = nn.LSTM(1, size, forget_bias=forget_bias, dtype="float64", rng=seed)
    init.redraw(layer, weight_hh=init.orthogonal, rng=seed)
    return layer


def variances(layer: Any, batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over the units: the variance of the state among sequences, 0 to STEPS, and dL/d(state) squared, 1 to STEPS.

    L = <g, s_T> with g from N(0, 1). Of an LSTM both are the cell's: that is where its memory is.
    """
    home, draws = xprnn.default_backend(), np.random.default_rng(seed)
    parts = len(layer.state_names)
    x = home.zeros((STEPS, batch, 1), "float64")
    start, g = (
        [home.asarray(draws.standard_normal((1, batch, layer.hidden_size))) for _ in range(parts)] for _ in "ab"
    )

    def loss(layer: Any, x: Any) -> Any:
        state = layer(x, tuple(start))[1]
        return ops.sum((state if parts == 1 else state[1]) * g[0])

    with xprnn.no_grad():
        states = layer(x, tuple(start), return_all_states=True)[2][-1].numpy()
    activation = np.concatenate([xprnn.to_numpy(start[-1])[None], states]).var(axis=2).mean(axis=(1, 2))
    flow = gradient_flow(layer, x, loss, jacobians=0)
    norms = flow.state_gradient_norms[:, 0]
    return activation, norms**2 / (batch * layer.hidden_size)


@example
def main(quick: bool, output: Path) -> None:
    """Variance of activations and gradients through 100 steps, for the usual initial weights."""
    size, batch, seeds = (32, 8, 1) if quick else (128, 32, 3)
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    with np.errstate(over="ignore"):
        for name, (nonlinearity, draw, *_) in RNNS.items():
            found[name] = mean_over(seeds, lambda k, f=nonlinearity, d=draw: variances(rnn(f, d, size, k), batch, k))
        for bias in FORGET:
            found[f"LSTM, forget bias {bias:g}"] = mean_over(
                seeds, lambda k, b=bias: variances(lstm(b, size, k), batch, k)
            )
    rows = [(name, *(a[t] for t in (1, 10, STEPS)), *(g[-t] for t in (1, 10, STEPS))) for name, (a, g) in found.items()]
    print(
        f"{size} units, {batch} sequences, geometric mean of {seeds} seed(s); from 0 to {STEPS} and back from {STEPS}:"
    )
    print("the variance of h (LSTM: c) among the sequences, and the mean square of dL/dh (LSTM: dL/d(h, c)).")
    table(rows, ["", *(f"var t={t}" for t in (1, 10, STEPS)), *(f"grad t={STEPS + 1 - k}" for k in (1, 10, STEPS))])
    save(picture(found), output, "initialisation")


def mean_over(seeds: int, measure: Any) -> tuple[np.ndarray, np.ndarray]:
    """Geometric means over seeds, since these numbers span many powers of ten."""
    runs = [measure(seed) for seed in range(seeds)]
    with np.errstate(divide="ignore"):
        activation, gradient = (np.exp(np.mean([np.log(run[k]) for run in runs], axis=0)) for k in (0, 1))
    return activation, gradient


def picture(found: dict[str, tuple[np.ndarray, np.ndarray]]) -> Any:
    """Above RNNs, below LSTMs; left activations, right gradients."""
    figure, axes = plot(2, 2, (13, 8.5), sharex=True)
    looks = {name: look[2:] for name, look in RNNS.items()}
    looks |= {f"LSTM, forget bias {bias:g}": look for bias, look in FORGET.items()}
    for name, (activation, gradient) in found.items():
        row, (colour, style) = axes[int(name.startswith("LSTM"))], looks[name]
        row[0].plot(np.maximum(activation, 1e-300), color=colour, linestyle=style, linewidth=1.8)
        row[1].plot(
            np.arange(1, STEPS + 1),
            np.maximum(gradient, 1e-300),
            color=colour,
            linestyle=style,
            linewidth=1.8,
            label=name,
        )
    titles = (
        ("RNN: variance of h_t among sequences", "RNN: mean square of dL/dh_t"),
        ("LSTM: variance of c_t among sequences", "LSTM: mean square of dL/d(h_t, c_t)"),
    )
    for row, (left, right) in zip(axes, titles, strict=True):
        for ax, title in zip(row, (left, right), strict=True):
            ax.set_yscale("log")
            ax.set_title(title)
            ax.set_ylabel("variance (start: 1)" if ax is row[0] else "mean square (at T: 1)")
            ax.grid(alpha=0.25)
        row[1].legend(loc="upper left", bbox_to_anchor=(1.005, 1.0), frameon=False)
    for row, low, high in ((axes[0], 1e-20, 1e12), (axes[1], 1e-20, 1e5)):
        for ax in row:
            ax.set_ylim(low, high)
    for ax in axes[1]:
        ax.set_xlabel("step t")
    figure.suptitle("What is left of a signal after t steps, and of a gradient on its way back from step T = 100")
    return figure


if __name__ == "__main__":
    main()
