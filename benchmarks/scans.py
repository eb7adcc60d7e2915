"""Layers that are scanned over time beside our GRU and PyTorch's, of equal width: milliseconds and memory by length.

    python benchmarks/scans.py

One layer with I = H, inference and training (forward and backward of the sum of all outputs). All contenders take turns
in one process, and the best of each is told; memory is how much the process grows by one call, each in a process of its
own. An LRU has H / 2 complex numbers, which are H columns.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import history
import numpy as np
from cpu import device

import xprnn
from xprnn import nn

STEPS = (128, 1024, 8192, 65536)
MODES = ("inference", "training")
BUDGET = 2e5  # steps that a contender walks in all rounds of one length, at least three times


def layers(size: int) -> dict[str, Callable[[], Any]]:
    """How to make each contender's layer."""
    found: dict[str, Callable[[], Any]] = {
        "GRU": lambda: nn.GRU(size, size, rng=0),
        "minGRU": lambda: nn.MinGRU(size, size, rng=0),
        "LRU": lambda: nn.LRU(size, size, state_size=size // 2, rng=0),
    }
    if importlib.util.find_spec("torch") is not None:
        import torch

        found["torch GRU"] = lambda: torch.nn.GRU(size, size)
    return found


def call(layer: Any, x: np.ndarray, mode: str) -> Callable[[], object]:
    """What is timed."""
    if isinstance(layer, nn.Module):

        def ours() -> None:
            if mode == "inference":
                with xprnn.no_grad():
                    layer(x)
            else:
                layer.zero_grad()
                layer(x)[0].sum().backward()

        return ours

    import torch

    tensor = torch.from_numpy(x)

    def theirs() -> None:
        if mode == "inference":
            with torch.no_grad():
                layer(tensor)
        else:
            layer.zero_grad()
            layer(tensor)[0].sum().backward()

    return theirs


def draw(steps: int, batch: int, size: int) -> np.ndarray:
    """x (T, B, H)."""
    return np.random.default_rng(0).standard_normal((steps, batch, size)).astype("float32")


def times(steps: int, batch: int, size: int) -> dict[str, float]:
    """The best milliseconds of each contender and mode."""
    x = draw(steps, batch, size)
    calls = {f"{n}, {mode}": call(make(), x, mode) for n, make in layers(size).items() for mode in MODES}
    best = dict.fromkeys(calls, float("inf"))
    for turn in range(max(3, int(BUDGET / steps / len(calls))) + 1):
        for name, run in calls.items():
            start = time.perf_counter()
            run()
            took = 1e3 * (time.perf_counter() - start)
            best[name] = min(best[name], took) if turn else best[name]  # the first compiles
    return best


def grown(name: str, mode: str, steps: int, batch: int, size: int) -> float:
    """By how many MiB this process grows in one call, after one of few steps. Linux says it."""
    layer = layers(size)[name]()
    call(layer, draw(16, batch, size), mode)()
    run = call(layer, draw(steps, batch, size), mode)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = status("VmRSS")
    run()
    return (status("VmHWM") - before) / 1024


def status(name: str) -> int:
    """A line of what Linux says of this process, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def memory(name: str, mode: str, steps: int, batch: int, size: int) -> float:
    """The same in a process of its own."""
    given = [name, mode, *map(str, (steps, batch, size))]
    done = subprocess.run([sys.executable, __file__, "--grown", *given], capture_output=True, text=True, check=True)
    return float(done.stdout)


def table(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    names = list(dict.fromkeys(key.split(", ")[0] for key in report["rows"][0]["ms"]))
    lines = [
        f"# Scans over time, B={report['batch']}, H={report['size']}, {report['device']}",
        "",
        "Best of all turns in ms; in parentheses how many times our GRU's speed; then MiB that the process grows by.",
        "",
        f"| T | | {' | '.join(names)} |",
        f"|---|---|{'---|' * len(names)}",
    ]
    for row in report["rows"]:
        for mode in MODES:
            ms, mib = ({n: row[kind][f"{n}, {mode}"] for n in names} for kind in ("ms", "MiB"))
            cells = [f"{ms[n]:.2f} ({ms['GRU'] / ms[n]:.1f}), {mib[n]:.0f}" for n in names]
            lines.append(f"| {row['steps']} | {mode} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--grown", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.grown:
        name, mode, *numbers = options.grown
        print(grown(name, mode, *map(int, numbers)))
        return
    report: dict[str, Any] = {
        "date": datetime.date.today().isoformat(), "device": device(), "batch": options.batch, "size": options.size,
        "rows": [],
    }  # fmt: skip
    for steps in options.steps:
        best = times(steps, options.batch, options.size)
        mib = {key: memory(*key.split(", "), steps, options.batch, options.size) for key in best}
        report["rows"].append({"steps": steps, "ms": best, "MiB": mib})
        print(table(report | {"rows": report["rows"][-1:]}))
    folder = history.results()
    folder.mkdir(exist_ok=True)
    (folder / "scans.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "scans.md").write_text(table(report))


if __name__ == "__main__":
    main()
