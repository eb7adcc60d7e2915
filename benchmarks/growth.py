"""How the time of a step and memory grow with steps, sequences, units and layers, beside PyTorch: a table and a plot.

    python benchmarks/growth.py

An LSTM in float32 with as many inputs as units, as wide as BASE says but for what grows. Microseconds a step of the
whole batch, the fastest of several calls: ours and PyTorch's take turns, and other programs can only add to them.
Each has a process of its own. "path" is what ``xprnn.explain`` says of our call. Memory is by how much a fresh process
peaks above where it stood before one training call.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import history
import numpy as np
from cpu import Worker, device

BASE = {"T": 64, "B": 16, "H": 64, "layers": 1}
GROWS = {
    "T": (4, 16, 64, 256, 1024, 4096),
    "B": (1, 2, 4, 8, 16, 32, 64, 256),
    "H": (8, 16, 32, 64, 128, 256, 512),
    "layers": (1, 2, 4, 8),
}
NAMES = {"T": "steps T", "B": "sequences B", "H": "units H", "layers": "layers"}
MODES, LIBRARIES = ("inference", "training"), ("xprnn", "torch")
ROUNDS, SECONDS = 4, 0.1
"""Turns of each contender, and how long a turn is at least."""
MEMORY_STEPS = (256, 1024, 4096, 16384)
COMMAND = (__file__, "--serve")


def call_of(library: str, size: dict[str, int], mode: str) -> Callable[[], object]:
    """A call of an LSTM."""
    x = np.random.default_rng(0).standard_normal((size["T"], size["B"], size["H"])).astype("float32")
    if library == "xprnn":
        import xprnn as ours

        layer: Any = ours.nn.LSTM(size["H"], size["H"], num_layers=size["layers"], rng=0)
        given: Any = x
        no_grad: Any = ours.no_grad
    else:
        import torch

        layer, given = torch.nn.LSTM(size["H"], size["H"], num_layers=size["layers"]), torch.from_numpy(x)
        no_grad = torch.no_grad

    def inference() -> object:
        with no_grad():
            return layer(given)

    def training() -> None:
        layer.zero_grad()
        layer(given)[0].sum().backward()

    return inference if mode == "inference" else training


def path_of(size: dict[str, int]) -> str:
    """What explain says of our call."""
    import xprnn

    told = xprnn.explain(call_of("xprnn", size, "inference")).splitlines()
    name, _, how = next(line.strip() for line in told if ": runs" in line).partition(": runs")
    return name + how


def fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest call in a turn."""
    best, end = float("inf"), time.perf_counter() + SECONDS
    while True:
        start = time.perf_counter()
        call()
        stop = time.perf_counter()
        best = min(best, stop - start)
        if stop >= end:
            return best


def peak(call: Callable[[], object]) -> float | None:
    """MiB by which this process peaks above where it stood; None where the system does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak
        before = _status("VmRSS")
        call()
        return (_status("VmHWM") - before) / 1024
    except OSError:
        return None


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def serve(library: str) -> None:
    """A contender's process: one task a line."""
    answers, call = sys.stdout, None
    sys.stdout = sys.stderr  # libraries print, and must not answer
    if library == "torch":
        import torch

        torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
    for line in sys.stdin:
        task = json.loads(line)
        answer: Any = None
        if "version" in task:
            answer = importlib.import_module(library).__version__
        elif "make" in task:
            call = call_of(library, task["make"], task["mode"])
            call()
        elif "path" in task:
            answer = path_of(task["path"])
        else:
            assert call is not None
            answer = fastest(call) if "turn" in task else peak(call_of(library, task["peak"], "training"))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def measure(workers: dict[str, Worker], what: str, value: int) -> dict[str, Any]:
    """One point: microseconds a step of each, in both modes."""
    size = BASE | {what: value}
    row: dict[str, Any] = {"grows": what, "value": value, "path": workers["xprnn"].ask(path=size)}
    for mode in MODES:
        for worker in workers.values():
            worker.ask(make=size, mode=mode)
        turns = [{name: worker.ask(turn=True) for name, worker in workers.items()} for _ in range(ROUNDS)]
        row[mode] = {name: 1e6 * min(turn[name] for turn in turns) / size["T"] for name in workers}
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def memory(threads: int) -> list[dict[str, Any]]:
    """A row for each number of steps."""
    rows: list[dict[str, Any]] = []
    for steps in MEMORY_STEPS:
        row: dict[str, Any] = {"T": steps}
        for name in LIBRARIES:
            worker = Worker(name, threads, COMMAND)
            worker.ask(make=BASE | {"T": 4}, mode="training")
            row[name] = worker.ask(peak=BASE | {"T": steps})
            worker.process.terminate()
        rows.append(row)
    return [row for row in rows if None not in row.values()]


def table(report: dict[str, Any]) -> str:
    """Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    base = ", ".join(f"{name}={value}" for name, value in BASE.items())
    lines = [
        f"{report['device']}, {report['threads']} threads, float32, {report['date']}. {versions}.",
        f"LSTM of {base} but for what grows. Microseconds a step of the whole batch, ours / PyTorch's (ratio).",
    ]
    for what in GROWS:
        lines += ["", f"| {NAMES[what]} | inference | training | path |", "|---|---|---|---|"]
        for row in report["rows"]:
            if row["grows"] == what:
                times = [row[mode] for mode in MODES]
                cells = [f"{t['xprnn']:.3g} / {t['torch']:.3g} ({t['torch'] / t['xprnn']:.2f})" for t in times]
                lines.append(f"| {row['value']} | {' | '.join(cells)} | {row['path']} |")
    if report["memory"]:
        lines += ["", "Peak of one training call, MiB:", "", "| steps T | xprnn | torch |", "|---|---|---|"]
        lines += [f"| {row['T']} | {row['xprnn']:.1f} | {row['torch']:.1f} |" for row in report["memory"]]
    return "\n".join(lines)


def plot(report: dict[str, Any], target: Path) -> None:
    """The same as a picture: a panel for each of what grows, and one for memory."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7.5), layout="constrained")
    panels = figure.subplots(2, 3).flat
    colours = {"xprnn": "tab:blue", "torch": "tab:orange"}
    for axes, what in zip(panels, GROWS, strict=False):
        rows = [row for row in report["rows"] if row["grows"] == what]
        for mode, style in zip(MODES, ("-", "--"), strict=True):
            for library in LIBRARIES:
                times = [row[mode][library] for row in rows]
                label = f"{library}, {mode}"
                axes.plot([row["value"] for row in rows], times, style, color=colours[library], marker=".", label=label)
        for one, other in pairwise(rows):
            if one["path"] != other["path"]:
                axes.axvline((one["value"] * other["value"]) ** 0.5, color="grey", linewidth=0.8, linestyle=":")
        axes.set(xscale="log", yscale="log", xlabel=NAMES[what], ylabel="microseconds a step")
        axes.set_xticks(GROWS[what], labels=[str(value) for value in GROWS[what]], minor=False)
        axes.minorticks_off()
    panels_left = list(figure.axes[len(GROWS) :])
    if report["memory"]:
        for library in LIBRARIES:
            mib = [row[library] for row in report["memory"]]
            panels_left[0].plot(MEMORY_STEPS, mib, "--", color=colours[library], marker=".", label=library)
        panels_left[0].set(xscale="log", yscale="log", xlabel=NAMES["T"], ylabel="peak of a training call, MiB")
        panels_left[0].set_xticks(MEMORY_STEPS, labels=[str(steps) for steps in MEMORY_STEPS], minor=False)
        panels_left[0].minorticks_off()
    for empty in panels_left[1 if report["memory"] else 0 :]:
        empty.remove()
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="lower right", bbox_to_anchor=(0.9, 0.2))
    figure.suptitle("LSTM: time of a step, and memory. Dotted: another path takes over", fontsize="medium")
    figure.savefig(target, dpi=110)


def main() -> None:
    """Measure, print the table, write JSON, Markdown and PNG."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=history.results(), help="folder")
    parser.add_argument("--serve", choices=LIBRARIES, help="be the process of one contender")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    told = memory(options.threads)
    workers = {name: Worker(name, options.threads, COMMAND) for name in LIBRARIES}
    report: dict[str, Any] = {
        "device": device(),
        "threads": options.threads,
        "date": datetime.date.today().isoformat(),
        "versions": {name: worker.ask(version=True) for name, worker in workers.items()},
        "memory": told,
        "rows": [measure(workers, what, value) for what, values in GROWS.items() for value in values],
    }
    for worker in workers.values():
        worker.process.terminate()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "growth.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "growth.md").write_text(table(report) + "\n")
    plot(report, options.out / "growth.png")
    print(table(report))


if __name__ == "__main__":
    main()
