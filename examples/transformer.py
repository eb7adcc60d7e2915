"""A Transformer encoder beside the LSTM, both asked which was the first of T random bits.

The Transformer looks at all steps at once, so the first one is as near as the last; it pays with T^2 scores. The LSTM
carries the bit through T steps: as layers usually start it forgets on the way, started for long memory it does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, example, plot, save, table

from xprnn import Tensor, nn, no_grad, ops, to_numpy
from xprnn.data.memory_tasks import first_element_recall
from xprnn.nn.recurrent.chrono import chrono_init
from xprnn.train import Adam, bce_with_logits, clip_grad_norm

SIZE, BATCH, EVERY, SOLVED = 32, 32, 20, 0.995
BLUE, ORANGE, GREEN, _, PURPLE = COLOURS[:5]


class Transformer(nn.Module):
    """Places are added to the embedded bits, one pre-norm layer looks around, the last step answers."""

    def __init__(self, steps: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.embed, self.place = nn.Linear(1, SIZE, rng=rng), nn.SinusoidalPositions(SIZE)
        layer = nn.TransformerEncoderLayer(SIZE, 2, 2 * SIZE, dropout=0.0, norm_first=True, rng=rng)
        self.encoder = nn.TransformerEncoder(layer, 1, nn.LayerNorm(SIZE))
        self.answer = nn.Linear(SIZE, 1, rng=rng)

    def forward(self, x: Any) -> Tensor:
        return self.answer(self.encoder(self.place(self.embed(x)))[-1])

    def attention(self, x: Any) -> np.ndarray:
        """The weights with which the last step looks at every step, (heads, T), the mean over the batch."""
        layer = self.encoder.layers[0]
        _, weights = layer.self_attn(layer.norm1(self.place(self.embed(x))), average_attn_weights=False)
        return to_numpy(ops.mean(weights[:, :, -1, :], axis=0))


class Lstm(nn.Module):
    """The last state answers. ``patient`` spreads the forget gates' biases for memories of up to T steps."""

    def __init__(self, steps: int, seed: int, patient: bool) -> None:
        rng = np.random.default_rng(seed)
        self.lstm, self.answer = nn.LSTM(1, SIZE, forget_bias=1.0, rng=rng), nn.Linear(SIZE, 1, rng=rng)
        if patient:
            chrono_init(self.lstm, steps, rng=rng)

    def forward(self, x: Any) -> Tensor:
        return self.answer(self.lstm(x)[0][-1])


@dataclass
class Kind:
    """A kind of model, and how it is trained."""

    make: Callable[[int, int], nn.Module]
    lr: float
    colour: str


KINDS = {
    "Transformer": Kind(Transformer, 0.003, BLUE),
    "LSTM, chrono init": Kind(lambda steps, seed: Lstm(steps, seed, patient=True), 0.01, GREEN),
    "LSTM, forget bias 1": Kind(lambda steps, seed: Lstm(steps, seed, patient=False), 0.01, ORANGE),
}


@dataclass
class Result:
    """A trained model; held-out accuracy at the seconds spent in training; updates and seconds in all."""

    model: nn.Module
    seconds: list[float]
    accuracy: list[float]
    updates: int


def train(kind: Kind, steps: int, seed: int, limit: int) -> Result:
    """Fresh sequences for each update, until the held-out ones are solved or the limit is reached."""
    model, draws = kind.make(steps, seed), np.random.default_rng(seed + 1000)
    optimizer = Adam(model.parameters(), kind.lr)
    held_out, answers = first_element_recall(steps, 500, rng=99)
    result, spent = Result(model, [], [], 0), 0.0
    bce_with_logits(
        model(held_out[:, :2, ...]), answers[:2, ...]
    ).backward()  # loads compiled kernels, which is not training
    while result.updates < limit and (not result.accuracy or result.accuracy[-1] < SOLVED):
        began = time.perf_counter()
        for _ in range(EVERY):
            x, y = first_element_recall(steps, BATCH, rng=draws)
            loss = bce_with_logits(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm(model.parameters(), 1.0)
            optimizer.step()
        spent += time.perf_counter() - began
        with no_grad():
            right = (to_numpy(model(held_out)) > 0) == (to_numpy(answers) > 0.5)
        result.updates += EVERY
        result.seconds.append(spent)
        result.accuracy.append(float(right.mean()))
    return result


@example
def main(quick: bool, output: Path) -> None:
    """First-element recall by a Transformer and by LSTMs: accuracy, updates and time."""
    lengths, seeds, limit = ((10, 20), 1, 2 * EVERY) if quick else ((25, 50, 100), 3, 1000)
    results: dict[tuple[str, int], list[Result]] = {}
    rows = []
    for steps in lengths:
        for name, kind in KINDS.items():
            runs = results[name, steps] = [train(kind, steps, seed, limit) for seed in range(seeds)]
            solved = sum(run.accuracy[-1] >= SOLVED for run in runs)
            rows.append(
                (
                    steps, name, sum(p.size for p in runs[0].model.parameters()),
                    float(np.mean([run.accuracy[-1] for run in runs])), f"{solved} of {seeds}",
                    float(np.mean([run.updates for run in runs])), float(np.mean([run.seconds[-1] for run in runs])),
                    1000 * sum(run.seconds[-1] for run in runs) / sum(run.updates for run in runs),
                )
            )  # fmt: skip
    print(f"First of T bits, batches of {BATCH}, stopped when {SOLVED:.1%} of 500 held-out ones are right, or after")
    print(f"{limit} updates of Adam; means over {seeds} seed(s). Guessing is right half of the time.")
    table(rows, ["T", "model", "parameters", "accuracy", "solved", "updates", "seconds", "ms/update"])
    save(picture(results, lengths), output, "transformer")


def picture(results: dict[tuple[str, int], list[Result]], lengths: tuple[int, ...]) -> Any:
    """Accuracy against time at the largest T, the price of an update against T, and where the last step looks."""
    figure, (race, price, looks) = plot(1, 3, (14, 4.6))
    longest = lengths[-1]
    for name, kind in KINDS.items():
        for k, run in enumerate(results[name, longest]):
            race.plot(run.seconds, run.accuracy, color=kind.colour, label=name if k == 0 else None, linewidth=1.5)
            race.plot(run.seconds[-1], run.accuracy[-1], "o", color=kind.colour)
        each = [[1000 * run.seconds[-1] / run.updates for run in results[name, steps]] for steps in lengths]
        price.plot(lengths, np.mean(each, axis=1), "o-", color=kind.colour, label=name)
    race.axhline(0.5, color="black", linestyle=":", label="guessing")
    race.set_title(f"Held-out accuracy while training, T = {longest}")
    race.set_xlabel("seconds of training")
    race.set_ylabel("share of right answers")
    race.set_ylim(0.4, 1.03)
    price.set_title(f"Time of one update, {BATCH} sequences")
    price.set_xlabel("T, steps of each sequence")
    price.set_ylabel("milliseconds")
    price.set_ylim(bottom=0.0)
    figure.legend(*race.get_legend_handles_labels(), loc="outside lower left", ncols=4, frameon=False)

    model = results["Transformer", longest][0].model
    x, _ = first_element_recall(longest, 200, rng=5)
    with no_grad():
        weights = model.attention(x)
    for head, colour, marker in zip(range(len(weights)), (BLUE, PURPLE), ("o", "x"), strict=True):
        looks.plot(weights[head], marker, color=colour, markersize=5, label=f"head {head + 1}")
    looks.set_yscale("log")
    looks.set_title("Where the Transformer's last step looks")
    looks.set_xlabel("step looked at")
    looks.set_ylabel("attention weight, mean of 200 sequences")
    looks.legend(frameon=False)
    for axes in (race, price, looks):
        axes.grid(alpha=0.25)
    return figure


if __name__ == "__main__":
    main()
