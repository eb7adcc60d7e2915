"""Exposure bias: a decoder that was only ever fed the truth does badly when it must live on its own outputs.

A GRU reads 20 noisy steps of a sine of unknown frequency, phase and size, and writes the next 40. Fed the truth at each
step in training (ratio 1) it predicts one step well and drifts when it runs free; fed its own outputs (ratio 0) it must
learn to run free from the start; schedules go from the one to the other (Bengio et al. 2015, arXiv 1506.03099).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, example, plot, save, table

import xprnn
from xprnn import nn, no_grad
from xprnn.backend import to_numpy
from xprnn.train import (
    Adam,
    ConstantRatio,
    Cosine,
    ExponentialRatio,
    InverseSigmoidRatio,
    LinearRatio,
    clip_grad_norm,
    mse,
)

READ, WRITTEN, NOISE, HIDDEN = 20, 40, 0.05, 32


def schedules(steps: int) -> dict[str, Callable[[int], float]]:
    """By name; the changing ones are at one half about half-way."""
    k = next(k for k in range(1, steps) if k * np.log(k) > steps / 2)
    return {
        "ratio 1: teacher forcing": ConstantRatio(1.0),
        "ratio 0.5": ConstantRatio(0.5),
        "ratio 0: free running": ConstantRatio(0.0),
        "linear": LinearRatio(steps),
        "exponential": ExponentialRatio(0.5 ** (2 / steps)),
        "inverse sigmoid": InverseSigmoidRatio(k),
    }


def waves(count: int, draws: np.random.Generator) -> tuple[Any, Any]:
    """What is read (S, B, 1) and what is to be written (L, B, 1)."""
    steps = np.arange(READ + WRITTEN)[:, None]
    frequency, phase = draws.uniform(0.2, 0.7, count), draws.uniform(0, 2 * np.pi, count)
    x = draws.uniform(0.5, 1.5, count) * np.sin(frequency * steps + phase)
    x = (x + NOISE * draws.standard_normal(x.shape)).astype("float32")[:, :, None]
    home = xprnn.default_backend()
    return home.asarray(x[:READ]), home.asarray(x[READ:])


def train(schedule: Callable[[int], float], steps: int) -> nn.Seq2Seq:
    encoder = nn.Encoder(1, HIDDEN, cell="GRU", rng=0)
    model = nn.Seq2Seq(encoder, nn.Decoder(1, HIDDEN, cell="GRU", rng=1), rng=2)
    optimizer, draws = Adam(model.parameters(), lr=1e-2), np.random.default_rng(3)
    rate = Cosine(optimizer, total=steps)
    for i in range(steps):
        source, target = waves(64, draws)
        optimizer.zero_grad()
        mse(model(source, target, ratio=schedule(i)), target).backward()
        clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
    return model


@example
def main(quick: bool, output: Path) -> None:
    """Train with different ratios, test forced and free."""
    steps = 4 if quick else 400
    source, target = waves(500, np.random.default_rng(4))
    truth, rows, curves, path = to_numpy(target), [], {}, {}
    for name, schedule in schedules(steps).items():
        model = train(schedule, steps)
        with no_grad():
            forced = to_numpy(model(source, target, ratio=1.0)) - truth
            free = to_numpy(model.free_run(source, WRITTEN))
        curves[name] = np.sqrt(np.mean((free - truth) ** 2, axis=(1, 2)))
        path[name] = free[:, 0, 0]
        rows.append([name, np.sqrt(np.mean(forced**2)), np.sqrt(np.mean((free - truth) ** 2)), curves[name][-1]])
    print(f"root mean squared error on 500 new waves; the noise alone is {NOISE}")
    table(rows, ["trained with", "fed the truth", "running free", "last step"])

    figure, axes = plot(1, 3, size=(14, 4.6))
    styles = dict(zip(curves, zip(COLOURS, ("-", "-", "-", "--", "--", "--"), strict=False), strict=False))
    for name, schedule in schedules(steps).items():
        colour, line = styles[name]
        axes[0].plot([schedule(i) for i in range(steps)], color=colour, linestyle=line, label=name)
        axes[1].plot(range(1, WRITTEN + 1), curves[name], color=colour, linestyle=line, label=name)
    axes[0].set(title="How often the decoder was fed the truth", xlabel="training batch", ylabel="ratio")
    axes[1].axhline(NOISE, color="#000000", linewidth=0.8, linestyle=":", label="noise")
    axes[1].set(title="Running free: the error grows", xlabel="steps ahead", ylabel="root mean squared error")
    axes[1].set_ylim(bottom=0)
    whole = np.concatenate([to_numpy(source)[:, 0, 0], truth[:, 0, 0]])
    axes[2].plot(whole, color="#000000", linewidth=0.8, marker=".", label="the wave")
    for name in ("ratio 1: teacher forcing", "ratio 0: free running"):
        axes[2].plot(range(READ, READ + WRITTEN), path[name], color=styles[name][0], label=name)
    axes[2].axvline(READ - 0.5, color="#888888", linewidth=0.8)
    axes[2].set(title="A new wave, read up to the line", xlabel="step", ylabel="value")
    for plane in axes:
        plane.grid(alpha=0.25)
    axes[1].legend(frameon=False, fontsize=8)
    axes[2].set_ylim(top=2.4)
    axes[2].legend(frameon=False, fontsize=8, loc="upper left")
    save(figure, output, "teacher_forcing")


if __name__ == "__main__":
    main()
