"""Variants of the plain cells: layer normalisation, fewer gates, exponential gates beside their reference package.

    python benchmarks/variants.py

One layer with I = H, inference and training (forward and backward of the sum of all outputs). The contenders of a group
take turns in one process, and the best of each is told, with how many times the first one's time it takes. flashrnn's
vanilla backend is what its authors give for processors without CUDA; it is left out where it is not installed. Beside
it stand the products of such a layer alone, one a step: how many times faster than it a layer could be at all. On a
busy machine only one thread gives figures, NUMBA_NUM_THREADS=1 OMP_NUM_THREADS=1: of it the processor's time is taken,
of several threads that on the wall.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.util
import json
import os
import time
from collections.abc import Callable
from typing import Any

import history
from cpu import device
from scans import MODES, call, draw

from xprnn import nn

SHAPES = ((1, 100, 64), (16, 100, 64), (32, 100, 128))  # B, T, H
THREADS = int(os.environ.get("NUMBA_NUM_THREADS", os.cpu_count() or 1))
CLOCK = time.process_time if THREADS == 1 else time.perf_counter
SECONDS = 3.0  # for a group of one shape and mode, but at least three turns

Makers = dict[str, Callable[[int], Any]]
GROUPS: dict[str, Makers] = {
    "layer normalisation of an LSTM": {
        "LSTM": lambda size: nn.LSTM(size, size, rng=0),
        "layer-norm LSTM": lambda size: nn.LSTM(size, size, layer_norm=True, rng=0),
    },
    "layer normalisation of a GRU": {
        "GRU": lambda size: nn.GRU(size, size, rng=0),
        "layer-norm GRU": lambda size: nn.GRU(size, size, layer_norm=True, rng=0),
    },
    "zoneout and dropout of h": {
        "LSTM": lambda size: nn.LSTM(size, size, rng=0),
        "LSTM with both": lambda size: nn.LSTM(size, size, zoneout=0.1, recurrent_dropout=0.2, rng=0),
    },
    "fewer gates": {
        "GRU": lambda size: nn.GRU(size, size, rng=0),
        "MGU": lambda size: nn.MGU(size, size, rng=0),
        "CTRNN": lambda size: nn.CTRNN(size, size, rng=0),
        "CTRNN, Dale's law": lambda size: nn.CTRNN(size, size, dale=0.8, rng=0),
        "AntisymmetricRNN": lambda size: nn.AntisymmetricRNN(size, size, rng=0),
    },
    "exponential gates": {
        "sLSTM": lambda size: nn.SLSTM(size, size, rng=0),
        "sLSTM, 4 heads": lambda size: nn.SLSTM(size, size, num_heads=4, rng=0),
        "flashrnn": lambda size: flashrnn_layer(size, 1),
        "flashrnn, 4 heads": lambda size: flashrnn_layer(size, 4),
        "LSTM": lambda size: nn.LSTM(size, size, rng=0),
        "products alone": lambda size: products_alone(size),
    },
}


def products_alone(size: int) -> Any:
    """A module of PyTorch with the products of such a layer and nothing else, in less time than which none is done."""
    import torch

    class Products(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.input, self.recurrent = torch.nn.Linear(size, 4 * size), torch.nn.Linear(size, 4 * size)

        def forward(self, x: Any) -> tuple[Any]:
            return (torch.stack([z + self.recurrent(h) for z, h in zip(self.input(x), x, strict=True)]),)

    return Products()


def flashrnn_layer(size: int, heads: int) -> Any:
    """A module of PyTorch around the package's vanilla backend."""
    import torch

    vanilla = importlib.import_module("flashrnn.flashrnn.vanilla")
    step, own = vanilla.flashrnn_pointwise_function_registry["slstm"], size // heads

    class Layer(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.input = torch.nn.Linear(size, 4 * size)
            self.recurrent = torch.nn.Parameter(torch.randn(heads, own, 4, own) / size**0.5)

        def forward(self, x: Any) -> tuple[Any]:
            steps, batch, _ = x.shape
            wx = self.input(x).reshape(steps, batch, 4, heads, own)
            zero = torch.zeros(1, batch, 4, heads, own)
            states, _ = vanilla.flashrnn_forward(wx, zero, self.recurrent, torch.zeros(4, heads, own), step)
            return (states[:, :, 0],)

    return Layer()


def times(makers: Makers, batch: int, steps: int, size: int, mode: str) -> dict[str, float]:
    """The best milliseconds of each contender."""
    x = draw(steps, batch, size)
    there = importlib.util.find_spec("flashrnn") is not None
    calls = {n: call(make(size), x, mode) for n, make in makers.items() if there or not n.startswith("flashrnn")}
    for run in calls.values():
        run()  # compiles
    best, turn, end = dict.fromkeys(calls, float("inf")), 0, time.perf_counter() + SECONDS
    while turn < 3 or time.perf_counter() < end:
        for name, run in calls.items():
            start = CLOCK()
            run()
            best[name] = min(best[name], 1e3 * (CLOCK() - start))
        turn += 1
    return best


def table(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    lines = [
        f"# Variants of the plain cells, {report['device']}, threads: {report['threads']}",
        "",
        "Best of all turns in ms; in parentheses how many times the time of the first of each table.",
    ]
    for group in dict.fromkeys(row["group"] for row in report["rows"]):
        rows = [row for row in report["rows"] if row["group"] == group]
        names = list(rows[0]["ms"])
        lines += ["", f"## {group}", "", f"| B, T, H | | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
        for row in rows:
            first = row["ms"][names[0]]
            cells = [f"{ms:.2f}" + f" ({ms / first:.2f})" * (n != names[0]) for n, ms in row["ms"].items()]
            lines.append(f"| {', '.join(map(str, row['shape']))} | {row['mode']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", nargs="+", default=list(GROUPS), choices=GROUPS)
    options = parser.parse_args()
    report: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "device": device(),
        "threads": THREADS,
        "rows": [],
    }
    for group in options.groups:
        for batch, steps, size in SHAPES:
            for mode in MODES:
                best = times(GROUPS[group], batch, steps, size, mode)
                report["rows"].append({"group": group, "shape": (batch, steps, size), "mode": mode, "ms": best})
        print(table(report | {"rows": [row for row in report["rows"] if row["group"] == group]}), flush=True)
    folder = history.results()
    folder.mkdir(exist_ok=True)
    (folder / "variants.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "variants.md").write_text(table(report))


if __name__ == "__main__":
    main()
