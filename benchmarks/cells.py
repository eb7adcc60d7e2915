"""Single cells, and layers called for one or two steps, beside PyTorch's: microseconds.

    python benchmarks/cells.py

As many inputs as units, batches of 1 to 64. Inference records no gradients; a training step is the call, the way back
from its outputs and forgetting the gradients. Both libraries take one thread in one process and take turns; of each
turn the fastest call counts, since other programs can only add to it, and of all turns the median. Weights are the
same, and results are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

for _name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BENCH_THREADS"):
    os.environ[_name] = "1"
sys.path.insert(0, str(Path(__file__).parent.parent))

import history  # noqa: E402 - the number of threads comes first
import numpy as np  # noqa: E402
import torch  # noqa: E402
from cpu import device  # noqa: E402

from xprnn import nn, no_grad  # noqa: E402

CELLS, BATCHES, SIZES, MODES = ("LSTM", "GRU", "RNN"), (1, 4, 16, 64), (16, 64, 256), ("inference", "training")
CALLS = {"a cell": 0, "a layer, 1 step": 1, "a layer, 2 steps": 2}
"""What is called, and for how many steps; 0 for a cell, whose input has no axis of time."""
ROUNDS, IN_TURN, TOLERANCE = 15, 15, 2e-5


def first_of(result: Any) -> Any:
    """The outputs of a layer, or h of a cell."""
    return result[0] if isinstance(result, tuple) else result


def ours(layer: Any, x: np.ndarray, flow: np.ndarray, mode: str) -> Callable[[], Any]:
    """A call of ours."""

    def inference() -> Any:
        with no_grad():
            return first_of(layer(x))

    def training() -> Any:
        y = first_of(layer(x))
        y.backward(flow)
        layer.zero_grad()
        return y

    return inference if mode == "inference" else training


def theirs(layer: Any, x: np.ndarray, flow: np.ndarray, mode: str) -> Callable[[], Any]:
    """The same call of PyTorch's."""
    given, cotangent = torch.from_numpy(x), torch.from_numpy(flow)

    def inference() -> Any:
        with torch.no_grad():
            return first_of(layer(given))

    def training() -> Any:
        y = first_of(layer(given))
        y.backward(cotangent)
        layer.zero_grad()
        return y

    return inference if mode == "inference" else training


def timed(call: Callable[[], Any]) -> float:
    """Microseconds of one call."""
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e3


def measure(cell: str, call: str, batch: int, size: int, mode: str) -> dict[str, Any]:
    """The median call of each. Ends the program where their results differ."""
    steps, draws = CALLS[call], np.random.default_rng(0)
    name, lead = (cell, (steps, batch)) if steps else (f"{cell}Cell", (batch,))
    x, flow = (draws.standard_normal((*lead, size)).astype("float32") for _ in range(2))
    layer, other = getattr(nn, name)(size, size), getattr(torch.nn, name)(size, size)
    layer.load_state_dict(other.state_dict())
    calls = {"xprnn": ours(layer, x, flow, mode), "torch": theirs(other, x, flow, mode)}
    found, expected = (np.asarray(call().detach().numpy()) for call in calls.values())
    if not np.allclose(found, expected, rtol=0, atol=TOLERANCE):
        raise SystemExit(f"{name} {lead}: results differ by {abs(found - expected).max()}; nothing is timed")
    samples: dict[str, list[float]] = {contender: [] for contender in calls}
    for _ in range(ROUNDS):
        for contender, one in calls.items():
            samples[contender].append(min(timed(one) for _ in range(IN_TURN)))
    medians = {contender: statistics.median(times) for contender, times in samples.items()}
    return {"cell": cell, "call": call, "batch": batch, "size": size, "mode": mode, **medians}


def ratio(row: dict[str, Any]) -> float:
    """PyTorch's time over ours."""
    return float(row["torch"] / row["xprnn"])


def history_rows(report: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Each row as :mod:`history` keeps it."""
    for row in report["rows"]:
        yield row["mode"], f"{row['cell']}, {row['call']}, B={row['batch']} H={row['size']}", ratio(row)


def table(report: dict[str, Any]) -> str:
    """Markdown: a line for each cell, call, mode and batch, and two columns for each size."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    rows = {(r["mode"], r["call"], r["cell"], r["batch"], r["size"]): r for r in report["rows"]}
    lines = [
        f"{report['device']}, 1 thread, float32, {report['date']}. {versions}.",
        "Microseconds of a call, ours / PyTorch's, and how many of ours one of theirs takes: the median of 15 turns.",
        "",
        f"| | {' | '.join(f'H={size}' for size in SIZES)} |",
        "|---" * (len(SIZES) + 1) + "|",
    ]
    for key in dict.fromkeys(key[:-1] for key in rows):
        mode, call, cell, batch = key
        found = [rows[(*key, size)] for size in SIZES]
        cells = [f"{row['xprnn']:.0f} / {row['torch']:.0f}, {ratio(row):.2f}" for row in found]
        lines.append(f"| {mode}, {call}, {cell}, B={batch} | {' | '.join(cells)} |")
    for mode in MODES:
        ratios = [ratio(row) for row in report["rows"] if row["mode"] == mode]
        mean, behind = history.geometric_mean(ratios), sum(r < 1.0 for r in ratios)
        lines.append(
            f"\n{mode}: geometric mean {mean:.2f}, least {min(ratios):.2f}, {behind} of {len(ratios)} below 1."
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=history.results(), help="folder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        "device": device(),
        "date": datetime.date.today().isoformat(),
        "versions": {name: importlib.import_module(name).__version__ for name in ("xprnn", "torch", "numpy")},
        "rows": [
            measure(cell, call, batch, size, mode)
            for mode in MODES
            for call in CALLS
            for cell in CELLS
            for batch in BATCHES
            for size in SIZES
        ],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "cells.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "cells.md").write_text(table(report) + "\n")
    history.append(options.out, "cells", history_rows(report), 1, report["versions"])
    print(table(report))


if __name__ == "__main__":
    main()
