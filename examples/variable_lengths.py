"""Sequences of different lengths: a padded batch is its sequences, and buckets save the time that padding costs.

The task: after each of n normal numbers, is their sum so far above zero? Losses and accuracies count real steps only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, example, plot, save, table

import xprnn
from xprnn import Tensor, nn, no_grad, to_numpy
from xprnn.data import Buckets, lengths_to_mask, pad_sequences, unpad
from xprnn.train import Adam, bce_with_logits, fit

BATCH, POOLS = 32, {"no buckets": 1, "buckets, pool of 10 batches": 10, "buckets, pool of 100 batches": 100}
BLUE, ORANGE, GREEN = COLOURS[:3]


class Tagger(nn.Module):
    """An LSTM with one logit for each step."""

    def __init__(self, size: int, dtype: str = "float32") -> None:
        self.lstm, self.output = nn.LSTM(1, size, dtype=dtype, rng=0), nn.Linear(size, 1, dtype=dtype, rng=1)

    def forward(self, x: Any, lengths: Any) -> Tensor:
        return self.output(self.lstm(x, lengths=lengths)[0])


def masked_loss(model: Tagger, batch: Any) -> Tensor:
    """The mean over the real steps of a batch of :class:`Buckets`."""
    x, lengths, target, _ = batch
    return bce_with_logits(model(x, lengths), target, mask=lengths_to_mask(lengths, x.shape[0]))


def accuracy(model: Tagger, sequences: list[Any], targets: list[Any]) -> float:
    """The share of real steps with the right sign."""
    (x, lengths), (target, _) = pad_sequences(sequences), pad_sequences(targets)
    with no_grad():
        right = (to_numpy(model(x, lengths)) > 0) == (to_numpy(target) > 0.5)
    return float(right[..., 0][to_numpy(lengths_to_mask(lengths))].mean())


def drawn(count: int, seed: int, dtype: str = "float32") -> tuple[list[Any], list[Any]]:
    """Sequences whose lengths spread as those of sentences do (log-normal, median 20), and their targets."""
    draws, home = np.random.default_rng(seed), xprnn.default_backend()
    lengths = np.clip(draws.lognormal(np.log(20.0), 0.7, count), 1, 200).astype(int)
    x = [draws.standard_normal((n, 1)) for n in lengths]
    return [home.asarray(s, dtype) for s in x], [home.asarray(s.cumsum(axis=0) > 0, dtype) for s in x]


def differences(count: int) -> list[tuple[str, float]]:
    """The largest differences between a batch padded with NaN and its sequences one at a time, in float64."""
    model = Tagger(32, "float64")
    sequences, targets = drawn(count, 5, "float64")
    x, lengths = pad_sequences(sequences, np.nan)
    y, _ = pad_sequences(targets, np.nan)
    together = unpad(model(x, lengths), lengths)
    loss = masked_loss(model, (x, lengths, y, lengths))
    loss.backward()
    gradients = [to_numpy(p.grad) for p in model.parameters()]
    model.zero_grad()
    steps, total, apart = sum(int(s.shape[0]) for s in sequences), 0.0, 0.0
    for found, s, t in zip(together, sequences, targets, strict=True):
        alone = model(s[:, None, ...], None)[:, 0]
        apart = max(apart, float(np.abs(to_numpy(alone) - to_numpy(found)).max()))
        each = bce_with_logits(alone, t) * (float(s.shape[0]) / steps)
        each.backward()
        total += each.item()
    pairs = zip(gradients, model.parameters(), strict=True)
    worst = max(float(np.abs(g - to_numpy(p.grad)).max()) for g, p in pairs)
    return [("outputs", apart), ("masked loss", abs(loss.item() - total)), ("gradients of weights", worst)]


@example
def main(quick: bool, output: Path) -> None:
    """Padding changes nothing, and costs less in buckets."""
    print("Largest difference between a batch padded with NaN and its sequences one at a time, float64")
    table(differences(8 if quick else 64), ["of", "difference"])

    count, epochs, size = (300, 2, 16) if quick else (3000, 4, 64)
    data, fresh = drawn(count, 0), drawn(200, 1)
    rows, examples = [], {}
    for name, pool in POOLS.items():
        batches = Buckets(*data, batch_size=BATCH, shuffle=True, pool=pool, rng=0)
        model = Tagger(size)
        masked_loss(model, next(iter(batches))).backward()  # loads compiled kernels, which is not training
        optimizer = Adam(model.parameters(), 0.005)
        history = fit(model, batches, masked_loss, optimizer, epochs=epochs, clip_norm=1.0, progress=False)
        seconds = min(epoch["seconds"] for epoch in history.epochs)
        faster = rows[0][2] / seconds if rows else 1.0
        rows.append((name, batches.padding, seconds, faster, accuracy(model, *fresh)))
        examples[name] = [to_numpy(lengths) for _, lengths, *_ in batches][:6]
    steps = sorted(int(s.shape[0]) for s in data[0])
    print(f"{count} sequences of {steps[0]} to {steps[-1]} steps, batches of {BATCH}, the fastest of {epochs} epochs;")
    print("a pool is sorted by length together; accuracy on the real steps of 200 other sequences")
    table(rows, ["batches", "padding", "s/epoch", "faster", "accuracy"])
    save(picture(steps, rows, examples), output, "variable_lengths")


def picture(lengths: list[int], rows: list[Any], examples: dict[str, list[np.ndarray]]) -> Any:
    """The lengths, what padding costs, and batches with and without buckets."""
    figure, axes = plot(2, 2, (11, 7.5))
    (spread, cost), below = axes
    spread.hist(lengths, bins=40, color=BLUE)
    spread.set_title("Lengths of the sequences")
    spread.set_xlabel("steps")
    spread.set_ylabel("sequences")
    places, names = np.arange(len(rows)), [row[0].replace(", ", ",\n") for row in rows]
    bars = cost.bar(places, [100 * row[1] for row in rows], 0.5, color=ORANGE)
    cost.bar_label(bars, [f"{100 * row[1]:.0f}% padding\n{row[2]:.2f} s an epoch" for row in rows], padding=2)
    cost.set_xticks(places, names)
    cost.set_ylim(0, 100)
    cost.set_title("Padding, and the time of an epoch")
    cost.set_ylabel("padding, % of all steps")
    cost.spines[["top", "right"]].set_visible(False)
    shown = {name: examples[name] for name in (rows[0][0], rows[-1][0])}
    widest = max(int(part.max()) for parts in shown.values() for part in parts)
    for panel, (name, parts) in zip(below, shown.items(), strict=True):
        row = 0
        for part in parts:
            rest = part.max() - part
            where = row + np.arange(len(part))
            panel.barh(where, part, 1.0, color=GREEN, label="real steps" if row == 0 else None)
            panel.barh(where, rest, 1.0, part, color=ORANGE, label="padding" if row == 0 else None)
            row += len(part) + 3
        panel.set_xlim(0, widest)
        panel.invert_yaxis()
        panel.set_yticks([])
        panel.set_title(f"Six batches: {name}")
        panel.set_xlabel("steps")
        panel.set_ylabel("sequences")
        panel.legend(frameon=False, loc="upper right")
    return figure


if __name__ == "__main__":
    main()
