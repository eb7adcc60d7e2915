"""Two tasks that introductions to recurrent networks use to show how slow they are, done here.

    python benchmarks/slides.py

1. One sequence of 1000 steps, 50 inputs, 100 hidden units: a loop over steps with column vectors, the same loop with
   flat vectors, both in NumPy and float64, beside this library in float32.
2. Is the sum of 50 normal numbers positive? 1000 sequences, 32 hidden units, 100 epochs; accuracy on 1000 others.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable
from typing import Any

import history
import numpy as np
from cpu import device

import xprnn
from xprnn import nn, ops
from xprnn.data import Batches
from xprnn.train import AdamW, Cosine, bce_with_logits, fit

ROUNDS = 41


def single_sequence() -> dict[str, Any]:
    """Median milliseconds of each loop, taken in turns after their results have been found equal."""
    draws = np.random.default_rng(0)
    layer = nn.RNN(50, 100, rng=0)
    w_x, w_h, b_x, b_h = (parameter.numpy().astype("float64") for parameter in layer.parameters())
    bias, x = b_x + b_h, draws.standard_normal((1000, 50))
    narrow = x.astype("float32")

    def columns() -> np.ndarray:
        h, outputs = np.zeros((100, 1)), []
        for xt in x:
            h = np.tanh(w_x @ xt[:, None] + w_h @ h + bias[:, None])
            outputs.append(h)
        return np.stack(outputs)[..., 0]

    def vectors() -> np.ndarray:
        h, outputs = np.zeros(100), []
        for xt in x:
            h = np.tanh(w_x @ xt + w_h @ h + bias)
            outputs.append(h)
        return np.stack(outputs)

    def ours() -> np.ndarray:
        with xprnn.no_grad():
            return layer(narrow)[0].data

    runs: dict[str, Callable[[], np.ndarray]] = {"column loop": columns, "vector loop": vectors, "xprnn": ours}
    for name, run in runs.items():
        worst = float(np.abs(run() - columns()).max())
        if not worst < 1e-4:
            raise SystemExit(f"{name} differs by {worst:.1e}; nothing is timed")
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            samples[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(s)) for name, s in samples.items()}


def sum_task(seed: int) -> dict[str, float]:
    """Train an LSTM to tell whether 50 numbers sum to more than zero. The settings were chosen on other draws."""
    x = np.random.default_rng(seed).standard_normal((50, 2000, 1)).astype("float32")
    y = (x.sum(axis=0) > 0).astype("float32")
    recurrent, head = nn.LSTM(1, 32, forget_bias=1.0, rng=seed), nn.Linear(32, 1, rng=seed)
    model = nn.Sequential(recurrent, head)

    def logits(batch: np.ndarray) -> Any:
        return head(recurrent(batch)[0][-1])

    start = time.perf_counter()
    ops.sum(logits(x[:, :2])).backward()
    first = time.perf_counter() - start
    optimizer = AdamW(model.parameters(), lr=1e-2, weight_decay=1.0)
    start = time.perf_counter()
    fit(
        model,
        Batches(x[:, :1000], y[None, :1000], batch_size=125, shuffle=True, rng=seed, axis=1),
        loss=lambda _, batch: bce_with_logits(logits(batch[0]), batch[1][0]),
        optimizer=optimizer,
        epochs=100,
        clip_norm=1.0,
        schedule=Cosine(optimizer, total=100),
        progress=False,
    )
    seconds = time.perf_counter() - start
    with xprnn.no_grad():
        right = (logits(x[:, 1000:]).data > 0) == (y[1000:] > 0)
    return {"seed": seed, "accuracy": float(right.mean()), "seconds": seconds, "first call seconds": first}


def main() -> None:
    """Measure both, print, write JSON and Markdown."""
    loops, tasks = single_sequence(), [sum_task(seed) for seed in range(3)]
    report = {"device": device(), "date": datetime.date.today().isoformat(), "loops": loops, "sum task": tasks}
    lines = [
        f"{report['device']}, {report['date']}, xprnn {xprnn.__version__}, numpy {np.__version__}.",
        "",
        "| T=1000, I=50, H=100, one sequence | ms | times ours |",
        "|---|---|---|",
        *[f"| {name} | {ms:.2f} | {ms / loops['xprnn']:.1f} |" for name, ms in loops.items()],
        "",
        "| sum > 0 of 50 numbers, LSTM H=32, 100 epochs of 1000 | held-out accuracy | training s | first call s |",
        "|---|---|---|---|",
        *[
            f"| seed {t['seed']} | {t['accuracy']:.1%} | {t['seconds']:.2f} | {t['first call seconds']:.2f} |"
            for t in tasks
        ],
        "",
        "The first call loads compiled kernels from the disk, or compiles them.",
    ]
    folder = history.results()
    folder.mkdir(exist_ok=True)
    (folder / "slides.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "slides.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
