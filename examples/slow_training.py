"""Slow training: is the sum of 50 normal numbers above zero? 1000 sequences, 32 hidden units.

The loss stays at ln 2 = 0.693, a coin's, where only the output layer is trained, by plain gradient descent, as
introductions do it. What helps, one after the other: training the recurrent weights too, with Adam and clipping; cells
with gates, through which the sum can flow unharmed; weight decay against learning 1000 sequences by heart, and a
learning rate that falls to zero.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, example, plot, save, table

import xprnn
from xprnn import nn
from xprnn.data import Batches, sum_sign
from xprnn.train import SGD, Adam, AdamW, Callback, Cosine, Run, bce_with_logits, fit

STEPS, HIDDEN, SEQUENCES, HELD_OUT, GOAL = 50, 32, 1000, 4000, 0.97
OUTPUT_ONLY, ALL, GATES, DECAY = (
    "RNN, output layer only, SGD",
    "RNN, all weights, Adam",
    "LSTM, all weights, Adam",
    "LSTM, AdamW, falling rate",
)
WAYS = {OUTPUT_ONLY: COLOURS[7], ALL: COLOURS[3], GATES: COLOURS[5], DECAY: COLOURS[0]}
WAYS["GRU, AdamW, falling rate"] = COLOURS[1]


class HeldOut(Callback):
    """The accuracy on held-out sequences after each epoch."""

    def __init__(self, seed: int) -> None:
        self.x, self.y = sum_sign(STEPS, HELD_OUT, rng=10_000 + seed)
        self.accuracy: list[float] = []

    def on_epoch_end(self, run: Run) -> None:
        with xprnn.no_grad():
            right = (run.model(self.x).data > 0) == (self.y > 0.5)
        self.accuracy.append(float(xprnn.to_numpy(right).mean()))


class LastStep(nn.Module):
    """A recurrent layer, and a linear layer that reads its last output."""

    def __init__(self, recurrent: nn.RecurrentLayer, seed: int) -> None:
        self.recurrent, self.head = recurrent, nn.Linear(recurrent.hidden_size, 1, rng=seed)

    def forward(self, x: Any) -> Any:
        return self.head(self.recurrent(x)[0][-1])


def learn(way: str, seed: int, epochs: int) -> dict[str, Any]:
    """Train in one of the ways; losses and held-out accuracies, epoch by epoch."""
    kinds = {"RNN": nn.RNN, "LSTM": lambda *args, rng: nn.LSTM(*args, forget_bias=1.0, rng=rng), "GRU": nn.GRU}
    model, held_out = LastStep(kinds[way.split(",")[0]](1, HIDDEN, rng=seed), seed), HeldOut(seed)
    x, y = sum_sign(STEPS, SEQUENCES, rng=seed)
    parameters, falling = model.parameters(), "AdamW" in way
    if way == OUTPUT_ONLY:
        optimizer: Any = SGD(model.head.parameters(), lr=1e-2)
    else:
        optimizer = AdamW(parameters, lr=1e-2, weight_decay=1.0) if falling else Adam(parameters, lr=1e-2)
    history = fit(
        model,
        Batches(x, y[None, ...], batch_size=125, shuffle=True, rng=seed, axis=1),
        lambda model, batch: bce_with_logits(model(batch[0]), batch[1][0, ...]),
        optimizer,
        epochs=epochs,
        clip_norm=1.0,
        schedule=Cosine(optimizer, total=epochs) if falling else None,
        callbacks=[held_out],
        progress=False,
    )
    return {"loss": history["loss"], "accuracy": held_out.accuracy, "seconds": sum(history["seconds"])}


def row(way: str, runs: list[dict[str, Any]]) -> list[Any]:
    last = np.array([run["accuracy"][-1] for run in runs])
    loss, seconds = np.mean([run["loss"][-1] for run in runs]), np.mean([run["seconds"] for run in runs])
    reached = sum(accuracy >= GOAL for accuracy in last)
    return [
        way,
        float(loss),
        f"{last.mean():.1%}",
        f"{last.min():.1%}",
        f"{reached} of {len(runs)}",
        f"{seconds:.1f} s",
    ]


def draw(runs: dict[str, list[dict[str, Any]]]) -> Any:
    figure, (losses, accuracies) = plot(1, 2, size=(12, 5))
    for way, colour in WAYS.items():
        for axes, name in ((losses, "loss"), (accuracies, "accuracy")):
            curves = np.array([run[name] for run in runs[way]])
            epochs = np.arange(1, curves.shape[1] + 1)
            axes.plot(epochs, curves.mean(axis=0), color=colour, label=way, linewidth=1.2)
            axes.fill_between(epochs, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    losses.axhline(math.log(2), color="#888888", linestyle="--", linewidth=1, label="a coin: ln 2")
    accuracies.axhline(GOAL, color="#888888", linestyle=":", linewidth=1, label=f"goal: {GOAL:.0%}")
    losses.set(title="Training loss", xlabel="epochs", ylabel="cross-entropy (nats)", yscale="log")
    accuracies.set(title="Held-out accuracy", xlabel="epochs", ylabel="accuracy")
    for axes in (losses, accuracies):
        axes.grid(alpha=0.25)
    losses.legend(frameon=False, loc="lower left", fontsize=9)
    figure.suptitle(f"Is the sum of {STEPS} numbers above zero? Mean of the seeds, and from the lowest to the highest")
    return figure


@example
def main(quick: bool, output: Path) -> None:
    """Train a network that does not learn, and say why; then one that does."""
    epochs, seeds = (1, 1) if quick else (80, 3)
    runs = {way: [learn(way, seed, epochs) for seed in range(seeds)] for way in WAYS}
    header = ("training", "final loss", "held-out mean", "worst seed", f"at least {GOAL:.0%}", "time")
    table([row(way, runs[way]) for way in WAYS], header)
    save(draw(runs), output, "slow_training")


if __name__ == "__main__":
    main()
