"""The slides' SimpleRNN, trained: h = tanh(Wxh x + Whh h + bh), y = Why h + by, with 10 inputs, 20 units, 5 outputs.

The task, at every step: to which of five classes did the symbol of d steps ago belong? Guessing is right one time in
five; any more needs a state that still holds the symbol. Three ways to train: the output layer only, as the slides do;
everything, from the slides' weights of N(0, 0.01^2); everything, from an orthogonal Whh.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, example, plot, save, table

import xprnn
from xprnn import Tensor, nn, no_grad, to_numpy
from xprnn.nn import init
from xprnn.train import Adam, cross_entropy, fit

INPUTS, UNITS, CLASSES, STEPS, BATCH = 10, 20, 5, 30, 32
WAYS = {
    "output layer only": COLOURS[3],
    "all, from N(0, 0.01²)": COLOURS[1],
    "all, orthogonal Whh": COLOURS[0],
}


class SimpleRNN(nn.Module):
    """All outputs (T, B, 5) and the last state (1, B, 20), from inputs (T, B, 10) and the state before them."""

    def __init__(self, way: str, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.rnn, self.output = nn.RNN(INPUTS, UNITS, rng=rng), nn.Linear(UNITS, CLASSES, rng=rng)
        if "orthogonal" in way:
            self.rnn.weight_hh_l0.data = init.orthogonal((UNITS, UNITS), rng=rng)
        else:
            for parameter in self.parameters():
                parameter.data = init.normal(parameter.shape, 0.01, rng=rng)
        self.trained = self.output.parameters() if "only" in way else self.parameters()

    def forward(self, x: Any, h0: Any = None) -> tuple[Tensor, Tensor]:
        hidden, last = self.rnn(x, h0)
        return self.output(hidden), last


class Recall:
    """An epoch of fresh batches: one-hot symbols x (T, B, 10), and what was asked, the class of d steps ago (T, B)."""

    axis = 1

    def __init__(self, delay: int, count: int, seed: int) -> None:
        self.delay, self.count, self.rng = delay, count, np.random.default_rng(seed)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        home = xprnn.default_backend()
        for _ in range(self.count):
            symbols = self.rng.integers(0, INPUTS, (STEPS, BATCH))
            asked = np.full((STEPS, BATCH), -100)  # the first steps ask for nothing: no symbol came before
            asked[self.delay :] = symbols[: STEPS - self.delay] % CLASSES
            yield home.asarray(np.eye(INPUTS, dtype="float32")[symbols]), home.asarray(asked)


def loss(model: SimpleRNN, batch: Any) -> Tensor:
    """The mean over all steps that ask for something."""
    return cross_entropy(model(batch[0])[0], batch[1])


def accuracy(model: SimpleRNN, delay: int) -> float:
    """The share of right answers on sequences that were never trained on."""
    right, asked = 0, 0
    with no_grad():
        for x, target in Recall(delay, 10, seed=99):
            answers, target = to_numpy(model(x)[0]).argmax(axis=-1), to_numpy(target)
            right += int((answers == target).sum())
            asked += int((target >= 0).sum())
    return right / asked


@example
def main(quick: bool, output: Path) -> None:
    """How far back a SimpleRNN remembers, by the way it is trained."""
    delays, epochs, updates = ((0, 1, 2), 4, 25) if quick else ((0, 1, 2, 4, 8, 12, 16), 20, 40)
    results: dict[str, list[float]] = {}
    curves: dict[str, list[float]] = {}
    shown = delays[len(delays) // 2]
    for way in WAYS:
        results[way] = []
        for delay in delays:
            model = SimpleRNN(way)
            history = fit(
                model, Recall(delay, updates, seed=1), loss, Adam(model.trained, 0.01),
                epochs=epochs, clip_norm=1.0, progress=False,
            )  # fmt: skip
            results[way].append(accuracy(model, delay))
            if delay == shown:
                curves[way] = [epoch["loss"] for epoch in history.epochs]
    print(f"Right answers on new sequences after {epochs * updates} updates, by delay d; guessing: {1 / CLASSES}")
    table([(way, *values) for way, values in results.items()], ["trained", *(f"d = {delay}" for delay in delays)])

    x, _ = next(iter(Recall(0, 1, seed=5)))
    whole, last = model(x)
    first, state = model(x[:12, ...])
    rest, end = model(x[12:, ...], state)
    pieces = np.concatenate([to_numpy(first), to_numpy(rest)])
    apart = max(np.abs(pieces - to_numpy(whole)).max(), np.abs(to_numpy(end) - to_numpy(last)).max())
    print(
        f"12 steps, and the other {STEPS - 12} from the state they end in, give what all {STEPS} give, to {apart:.1g}"
    )
    save(picture(delays, results, curves, shown, updates), output, "simple_rnn")


def picture(
    delays: tuple[int, ...],
    results: dict[str, list[float]],
    curves: dict[str, list[float]],
    shown: int,
    updates: int,
) -> Any:
    """Accuracy against delay, and how the loss falls at one delay."""
    figure, (memory, falling) = plot(1, 2, (11, 4.6))
    for (way, colour), marker in zip(WAYS.items(), "sov", strict=True):
        memory.plot(delays, results[way], marker=marker, color=colour, label=way)
        falling.plot(updates * np.arange(1, len(curves[way]) + 1), curves[way], marker=marker, color=colour, label=way)
    memory.axhline(1 / CLASSES, color="black", linestyle=":", label="guessing")
    falling.axhline(np.log(CLASSES), color="black", linestyle=":", label="guessing")
    memory.set_title("How far back a SimpleRNN of 20 units remembers")
    memory.set_xlabel("delay d, steps")
    memory.set_ylabel("share of right answers")
    memory.set_ylim(0, 1.05)
    memory.legend(frameon=False, loc=(0.18, 0.24))
    falling.set_title(f"Training at delay {shown}")
    falling.set_xlabel("updates")
    falling.set_ylabel("cross-entropy, nats a step")
    falling.set_ylim(bottom=0)
    for axes in (memory, falling):
        axes.grid(alpha=0.25)
    return figure


if __name__ == "__main__":
    main()
