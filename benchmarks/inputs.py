"""Do unusual numbers cost more time? Denormal, huge, negated and zero inputs beside normal ones, in one run.

    python benchmarks/inputs.py

Biases are zero, so that tiny inputs make all states and gradients tiny too. Prints the time of a way forward and back
relative to normal inputs, and writes benchmarks/results/inputs.md.
"""

from __future__ import annotations

import statistics
import time
from datetime import date
from pathlib import Path

import numpy as np

import xprnn
from xprnn import nn

SCALES = {"normal": 1.0, "negated": -1.0, "zero": 0.0, "1e-20": 1e-20, "denormal, 1e-41": 1e-41, "large, 1e30": 1e30}
SHAPES = [(1, 500, 64, 64), (16, 100, 64, 64), (32, 50, 256, 256)]
REPEATS = 25


def seconds(layer: nn.RecurrentLayer, x: np.ndarray) -> float:
    """One way forward and back."""
    start = time.perf_counter()
    layer(xprnn.Tensor(x, requires_grad=True))[0].sum().backward()
    return time.perf_counter() - start


def main() -> None:
    rng = np.random.default_rng(0)
    lines = [
        f"xprnn {xprnn.__version__}, NumPy {np.__version__}, {date.today()}, float32, median of {REPEATS}.",
        "Forward and backward time over that of normal inputs.",
        "",
        "| cell B,T,I,H | " + " | ".join(SCALES) + " |",
        "|---" * (len(SCALES) + 1) + "|",
    ]
    for name in ("RNN", "LSTM", "GRU"):
        for batch, steps, inputs, hidden in SHAPES:
            layer = getattr(nn, name)(inputs, hidden, rng=0)
            for parameter_name, parameter in layer.named_parameters():
                if parameter_name.startswith("bias"):
                    parameter.data = np.zeros_like(parameter.data)
            draws = rng.standard_normal((steps, batch, inputs))
            kinds = {kind: (draws * scale).astype(np.float32) for kind, scale in SCALES.items()}
            times: dict[str, list[float]] = {kind: [] for kind in kinds}
            for repeat in range(REPEATS + 1):
                for kind, x in kinds.items():
                    taken = seconds(layer, x)
                    if repeat:  # the first compiles
                        times[kind].append(taken)
            normal = statistics.median(times["normal"])
            ratios = " | ".join(f"{statistics.median(t) / normal:.2f}" for t in times.values())
            lines.append(f"| {name} {batch},{steps},{inputs},{hidden} | {ratios} |")
            print(lines[-1])
    target = Path(__file__).parent / "results" / "inputs.md"
    target.write_text("\n".join(lines) + "\n")
    print(target)


if __name__ == "__main__":
    main()
