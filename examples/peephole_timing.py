"""Peepholes: spike exactly 20 to 29 steps after a request, as many as it asked for. Nothing happens in between.

After "Learning precise timing with LSTM recurrent networks" (Gers, Schraudolph and Schmidhuber 2002). To be on time a
network must count. A plain LSTM's gates see its cells only through the output gate, which the spike itself needs; with
peepholes they see the count as it is. Both have 12 units and the same seeds, draws and settings; the plain LSTM is
shown once more with 13 units, which is more parameters than the peepholes add. A spike counts where the step is exact.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, example, plot, save, table

import xprnn
from xprnn import nn
from xprnn.data import Drawn, timed_spikes
from xprnn.train import Adam, Callback, Cosine, Run, bce_with_logits, fit

STEPS, SHORTEST, CHOICES, BATCH, LOOK = 80, 20, 10, 32, 50
LSTMS: dict[str, tuple[int, str | None, str]] = {
    "LSTM": (12, None, COLOURS[1]),
    "LSTM, one unit more": (13, None, COLOURS[3]),
    "peephole LSTM": (12, "diagonal", COLOURS[0]),
}


def f1(said: np.ndarray, spikes: np.ndarray) -> float:
    """2 hits / (spikes said + spikes wanted): 1 where all are on time and there are no others."""
    return float(2 * (said & spikes).sum() / max(1, said.sum() + spikes.sum()))


class Spiker(nn.Module):
    """An LSTM and the logits of a spike at every step."""

    def __init__(self, name: str, seed: int) -> None:
        hidden, peephole, _ = LSTMS[name]
        # Gates that keep what they hold, to begin with: counting needs a memory.
        self.lstm = nn.LSTM(2, hidden, peephole=peephole, forget_bias=3.0, rng=seed)
        self.head = nn.Linear(hidden, 1, rng=seed)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(x)[0])


class HeldOut(Callback):
    """F1 on held-out sequences after each epoch."""

    def __init__(self) -> None:
        self.x, y = timed_spikes(STEPS, 1000, shortest=SHORTEST, choices=CHOICES, rng=10_000)
        self.spikes, self.curve = xprnn.to_numpy(y) > 0.5, list[float]()

    def on_fit_start(self, run: Run) -> None:
        self.on_epoch_end(run)

    def on_epoch_end(self, run: Run) -> None:
        with xprnn.no_grad():
            self.logits = run.model(self.x).numpy()
        self.curve.append(f1(self.logits > 0, self.spikes))


def learn(name: str, seed: int, updates: int) -> dict[str, Any]:
    """Train one LSTM on fresh sequences. Spikes are rare, so that those missed weigh more in the loss."""
    model, held_out, epochs = Spiker(name, seed), HeldOut(), updates // LOOK
    optimizer = Adam(model.parameters(), lr=1e-2)
    draw = functools.partial(timed_spikes, STEPS, BATCH, shortest=SHORTEST, choices=CHOICES)
    history = fit(
        model,
        Drawn(draw, updates=LOOK, rng=seed),
        lambda model, batch: bce_with_logits(model(batch[0]), batch[1], pos_weight=5.0),
        optimizer,
        epochs=epochs,
        clip_norm=1.0,
        schedule=Cosine(optimizer, total=epochs),
        callbacks=[held_out],
        progress=False,
    )
    exact = (held_out.logits > 0) == held_out.spikes
    return {
        "curve": held_out.curve,
        "sequences": float(exact.all(axis=(0, 2)).mean()),
        "seconds": sum(history["seconds"]),
        "parameters": sum(p.size for p in model.parameters()),
        "held out": held_out,
    }


def row(name: str, runs: list[dict[str, Any]]) -> list[Any]:
    last = [run["curve"][-1] for run in runs]
    sequences = np.mean([run["sequences"] for run in runs])
    each = ", ".join(f"{figure:.3f}" for figure in last)
    seconds = np.mean([run["seconds"] for run in runs])
    spread = f"{np.mean(last):.3f} ± {np.std(last):.3f}"
    return [name, runs[0]["parameters"], each, spread, f"{sequences:.1%}", f"{seconds:.1f} s"]


def draw(runs: dict[str, list[dict[str, Any]]]) -> Any:
    figure, (curves, spikes) = plot(1, 2, size=(13, 5))
    for name, (_, _, colour) in LSTMS.items():
        for k, run in enumerate(runs[name]):
            at = LOOK * np.arange(len(run["curve"]))
            curves.plot(at, run["curve"], color=colour, label=name if k == 0 else None, linewidth=1.3)
    curves.set(title="Spikes on time: a line for each seed", xlabel="updates", ylabel="held-out F1", ylim=(0, 1.02))
    curves.legend(frameon=False)
    curves.grid(alpha=0.25)

    held_out = runs["LSTM"][0]["held out"]
    b, t = int(np.argmax(held_out.spikes[..., 0].sum(axis=0))), np.arange(STEPS)
    x = xprnn.to_numpy(held_out.x)[:, b]
    spikes.vlines(t[x[:, 0] > 0], 0, 0.9, color=COLOURS[7], linewidth=1.5, label="request")
    for at in t[x[:, 0] > 0]:
        spikes.annotate(f"in {SHORTEST + round(x[at, 1] * (CHOICES - 1))}", (at, 0.92), ha="center", fontsize=9)
    spikes.plot(t[held_out.spikes[:, b, 0]], np.full(held_out.spikes[:, b, 0].sum(), 1.04), "v", color=COLOURS[2],
                label="spike wanted")  # fmt: skip
    for name, (_, peephole, colour) in LSTMS.items():
        if name != "LSTM, one unit more":
            logits = runs[name][0]["held out"].logits[:, b, 0].astype(np.float64)
            spikes.step(t, 0.5 + 0.5 * np.tanh(0.5 * logits), where="mid", color=colour, label=name,
                        linewidth=2.2 if peephole else 1.4)  # fmt: skip
    spikes.set(title="One held-out sequence, seed 0", xlabel="step", ylabel="probability of a spike", ylim=(0, 1.1))
    spikes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    spikes.grid(alpha=0.25)
    return figure


@example
def main(quick: bool, output: Path) -> None:
    """Train LSTMs with and without peepholes to be on time."""
    updates, seeds = (2 * LOOK, 1) if quick else (2000, 3)
    runs = {name: [learn(name, seed, updates) for seed in range(seeds)] for name in LSTMS}
    header = ("network", "parameters", "F1 of each seed", "mean", "whole sequences right", "time")
    table([row(name, runs[name]) for name in LSTMS], header)
    save(draw(runs), output, "peephole_timing")


if __name__ == "__main__":
    main()
