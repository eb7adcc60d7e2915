"""Gradient clipping: a training that diverges without it and converges with it, by global norm and by value.

A relu RNN that starts from the identity (Le, Jaitly and Hinton 2015, arXiv 1504.00941) learns to add two marked numbers
of 30. Where its recurrent weights pass 1 gradients explode, and one step along such a gradient destroys what was
learned (Pascanu, Mikolov and Bengio 2013, arXiv 1211.5063): the loss overflows, or the output gets
stuck at the mean. A limit must be tight enough: with clip_norm=1 and clip_value=0.005 all of 14 seeds converge, with
clip_value=0.05 some still diverge.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, example, plot, save, table

from xprnn import nn
from xprnn.data.memory_tasks import adding_problem
from xprnn.nn import init
from xprnn.train import SGD, Callback, Cosine, History, evaluate, fit, mse

STEPS, BATCH = 30, 32
RUNS: dict[str, tuple[float, dict[str, float]]] = {
    "no clipping": (0.03, {}),
    "no clipping, lr / 30": (0.001, {}),
    "clip_norm=1": (0.03, {"clip_norm": 1.0}),
    "clip_value=0.005": (0.03, {"clip_value": 0.005}),
}
BLUE, ORANGE, GREEN, VERMILION, PURPLE, *_ = COLOURS


class Adder(nn.Module):
    def __init__(self, seed: int) -> None:
        self.rnn, self.head = nn.RNN(2, 32, nonlinearity="relu", rng=seed), nn.Linear(32, 1, rng=seed)
        init.redraw(self.rnn, weight_ih=init.xavier_uniform, weight_hh=init.identity, rng=seed)
        for bias in (self.rnn.bias_ih_l0, self.rnn.bias_hh_l0):
            bias.data = 0.0 * bias.data

    def forward(self, x: Any) -> Any:
        return self.head(self.rnn(x)[0][-1])


def error(model: Adder, batch: tuple[Any, Any]) -> Any:
    return mse(model(batch[0]), batch[1])


class Fresh:
    """A new batch in each epoch: the history then has every step, and a training loss is one on numbers never seen."""

    def __init__(self, seed: int) -> None:
        self.draws = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[Any]:
        yield adding_problem(STEPS, BATCH, rng=self.draws)


class Keep(Callback):
    """The history of a run, also of one that ends in an exception."""

    def on_fit_start(self, run: Any) -> None:
        self.history = run.history


def train(lr: float, clip: dict[str, float], seed: int, steps: int) -> tuple[History, float]:
    """The history, and the mean squared error on 1000 other sequences: infinite where fit gave up."""
    model, keep = Adder(seed), Keep()
    optimizer = SGD(model.parameters(), lr, momentum=0.9)
    schedule = Cosine(optimizer, total=steps)
    options: dict[str, Any] = {"callbacks": [keep], "schedule": schedule, "progress": False, **clip}
    try:
        fit(model, Fresh(seed), error, optimizer, epochs=steps, **options)
    except FloatingPointError:  # fit stops before a loss or gradient that is not finite reaches the parameters
        return keep.history, np.inf
    return keep.history, evaluate(model, [adding_problem(STEPS, 1000, rng=99)], error)


@example
def main(quick: bool, output: Path) -> None:
    """Train with and without clipping; record the norms of the gradients before and after it."""
    steps, seeds = (20, 1) if quick else (4000, 3)
    rows, first = [], {}
    for name, (lr, clip) in RUNS.items():
        with np.errstate(over="ignore", invalid="ignore"):
            found = [train(lr, clip, seed, steps) for seed in range(seeds)]
        histories, errors = zip(*found, strict=True)
        first[name] = histories[0]
        largest = [max(max(h[key]) for h in histories) for key in ("gradient_norm", "clipped_norm")]
        lasted = min(map(len, histories))
        rows.append((name, lr, lasted, *largest, *(float(f(errors)) for f in (np.mean, np.min, np.max))))
    print(f"Adding problem, T = {STEPS}, relu RNN with 32 units, SGD for {steps} steps, {seeds} seed(s).")
    print("Always to say the mean has a squared error of 0.167; inf: the loss left the numbers and fit stopped.")
    table(rows, ["", "lr", "fewest steps", "largest norm", "after clipping", "held-out MSE", "best seed", "worst seed"])
    save(picture(first), output, "gradient_clipping")


def picture(histories: dict[str, History]) -> Any:
    """Left, the losses; right, what clipping does to the norms."""
    figure, axes = plot(1, 3, (14, 4.6))
    colours = dict(zip(RUNS, (VERMILION, ORANGE, BLUE, GREEN), strict=True))
    for name, history in histories.items():
        loss, lr, colour = smooth(history["loss"]), RUNS[name][0], colours[name]
        axes[0].plot(*loss, color=colour, linewidth=1.4, label=f"{name}, lr {lr:g}")
        if len(history) < max(map(len, histories.values())):
            axes[0].plot(loss[0][-1], loss[1][-1], "X", color=colour, markersize=10)
            axes[0].annotate(f"  stopped after step {len(history)}", (loss[0][-1], loss[1][-1]), color=colour)
    axes[0].axhline(1 / 6, color="black", linestyle=":", linewidth=1.2, label="always the mean: 0.167")
    axes[0].set_title("Loss, mean of 25 steps (seed 0)")
    axes[0].set_ylabel("mean squared error")
    for ax, name in zip(axes[1:], list(RUNS)[2:], strict=True):
        history = histories[name]
        ax.plot(history["gradient_norm"], color=VERMILION, linewidth=0.7, label="before clipping")
        ax.plot(history["clipped_norm"], color=colours[name], linewidth=0.9, label="after clipping")
        ax.set_title(f"Gradient norm, {name} (seed 0)")
        ax.set_ylabel("norm of all gradients together")
    for ax in axes:
        ax.set_yscale("log")
        ax.set_xlabel("training step")
        ax.grid(alpha=0.25)
        ax.legend(frameon=False, loc="upper right")
    return figure


def smooth(values: list[float], width: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Means over windows, and the steps in their middles; a short run stays as it is."""
    width = width if len(values) > 2 * width else 1
    return np.arange(len(values) - width + 1) + width / 2, np.convolve(values, np.full(width, 1 / width), "valid")


if __name__ == "__main__":
    main()
