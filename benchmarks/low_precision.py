"""Weights of 8 and 16 bits: times, sizes and errors, beside ONNX Runtime's and PyTorch's.

    python benchmarks/low_precision.py                                   # layers and streams
    python benchmarks/low_precision.py --data ../shared/data             # tasks too, in their own scores

Every contender has a process of its own, as in cpu.py, and they take turns; a figure is a median. The results of the
others are compared with our float32 before anything is timed, and how far they are off is told. Streams are ours alone.

Tasks are those of low_precision_tasks.py.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import history
import numpy as np
from cpu import AVX2, Worker, arrays_for, device, made, timed
from low_precision_tasks import SCORES, tasks

SHAPES = [
    (1, 128, 64, 64),
    (16, 100, 64, 64),
    (32, 100, 128, 128),
    (64, 100, 256, 256),
    (8, 200, 512, 512),
]  # B, T, I, H
CELLS = ("LSTM", "GRU")
PRECISIONS = {"float32": "", "bf16": " bf16", "int8": " int8"}
"""What each is called, and how the names of its contenders end."""
LIBRARIES = ("xprnn", "torch", "onnxruntime")
NAMES = [
    library + end for library in LIBRARIES for end in PRECISIONS.values() if (library, end) != ("onnxruntime", " bf16")
]
ROUNDS = 5
TOLERANCE = {"": 2e-3, " bf16": 0.1, " int8": 0.1}  # of the largest number: what is further off is another layer
STREAMED = (16, 32, 64, 128, 256)


def precision_end(name: str) -> str:
    """How the name of a contender ends."""
    return name[len(name.split()[0]) :]


def layers(workers: dict[str, Worker], cells: list[str], shapes: list[str]) -> Iterator[dict[str, Any]]:
    """A row for each layer, in inference and in training. Ends the program where somebody computes something else."""
    with tempfile.TemporaryDirectory() as folder:
        for mode in ("inference", "training"):
            for cell in cells:
                for shape in shapes:
                    size = tuple(int(n) for n in shape.split(","))
                    found = made(workers, cell, size, mode == "training", Path(folder))
                    exact = found["xprnn"][-1]  # the output, and in training the gradient of weight_hh_l0
                    off = {name: np.abs(arrays[-1] - exact) / np.abs(exact).max() for name, arrays in found.items()}
                    for name, errors in off.items():
                        if not errors.max() <= TOLERANCE[precision_end(name)]:
                            raise SystemExit(f"{cell} {shape}: {name} is off by {errors.max():.1e}; nothing is timed")
                    times = timed({name: workers[name] for name in found}, ROUNDS)
                    told = ", ".join(f"{name} {ms:.3g}" for name, ms in times["ms"].items())
                    print(f"{mode} {cell} {shape}: {told} ms", file=sys.stderr, flush=True)
                    errors = {name: (float(each.max()), float(each.mean())) for name, each in off.items()}
                    yield {"cell": cell, "shape": shape, "mode": mode, **times, "errors": errors}


def sizes(cells: list[str], shapes: list[str]) -> Iterator[dict[str, Any]]:
    """Bytes of the files of weights."""
    from xprnn import nn
    from xprnn.storage import write_tensors

    with tempfile.TemporaryDirectory() as folder:
        for cell in cells:
            for inputs, hidden in dict.fromkeys(tuple(map(int, shape.split(",")[2:])) for shape in shapes):
                layer, found = getattr(nn, cell)(inputs, hidden), {}
                for name, each in (("float32", layer), ("int8", nn.quantize(layer))):
                    write_tensors(Path(folder) / name, each.state_dict(), {})
                    found[name] = (Path(folder) / name).stat().st_size
                yield {"cell": cell, "inputs": inputs, "hidden": hidden, "bytes": found}


def streams(cells: list[str], seconds: float = 0.3) -> Iterator[dict[str, Any]]:
    """Microseconds a step of a stream of one sequence, by itself and in blocks of 64."""
    from xprnn import nn, use_precision

    for cell in cells:
        for hidden in STREAMED:
            layer = getattr(nn, cell)(hidden, hidden, rng=0)
            x = arrays_for(cell, (1, 64, hidden, hidden))["x"][:, 0]
            with use_precision("bf16"):
                opened = {"bf16": layer.stream(None)}
            opened |= {"float32": layer.stream(None), "int8": nn.quantize(layer).stream(None)}
            runs: dict[str, Callable[[], Any]] = {}
            for name, stream in opened.items():
                runs[f"{name} block"] = partial(stream.block, x, np.empty((64, hidden), "float32"))
                runs[f"{name} step"] = partial(each_step, stream, x)
            yield {"cell": cell, "hidden": hidden, "us": medians(runs, seconds)}


def each_step(stream: Any, x: np.ndarray) -> None:
    """Each row by itself."""
    for row in x:
        stream.step(row)


def medians(runs: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Microseconds of each, for one of 64 steps, all taking turns."""
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            samples[name].append(time.perf_counter() - begin)
    return {name: 1e6 / 64 * float(np.median(found)) for name, found in samples.items()}


def ratio(row: dict[str, Any], end: str) -> float:
    """The time of the best peer in a precision over ours in the same; NaN without peers."""
    times = {name: ms for name, ms in row["ms"].items() if precision_end(name) == end}
    ours = times.pop("xprnn" + end, float("nan"))
    return min(times.values(), default=float("nan")) / ours


def history_rows(report: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Each row as :mod:`history` keeps it."""
    for row in report["layers"]:
        for name, end in PRECISIONS.items():
            yield f"{row['mode']} {name}", f"{row['cell']} {row['shape']}", ratio(row, end)


def grid(rows: list[dict[str, Any]], mode: str) -> Iterator[str]:
    """Times of all, and our gains: over our float32, and over the best peer in the same precision."""
    rows = [row for row in rows if row["mode"] == mode]
    names = [name for name in NAMES if any(name in row["ms"] for row in rows)]
    lower = {name: end for name, end in PRECISIONS.items() if end and any("xprnn" + end in row["ms"] for row in rows)}
    head = [f"{mode}: cell B,T,I,H", *names, *(f"{name}: gain, ratio" for name in lower)]
    yield from (f"| {' | '.join(head)} |", "|---" * len(head) + "|")
    for row in rows:
        times = [f"{row['ms'][n]:.3g} ±{row['spread'][n]:.0%}" if n in row["ms"] else "-" for n in names]
        gains = [
            f"{row['ms']['xprnn'] / row['ms']['xprnn' + end]:.2f}, {ratio(row, end):.2f}" for end in lower.values()
        ]
        yield f"| {row['cell']} {row['shape']} | {' | '.join(times + gains)} |"
    for name, end in lower.items():
        gain = history.geometric_mean(row["ms"]["xprnn"] / row["ms"]["xprnn" + end] for row in rows)
        ratios = [ratio(row, end) for row in rows]
        beside = (
            "" if np.isnan(ratios).any() else f", over the best peer in {name} {history.geometric_mean(ratios):.2f}"
        )
        yield from ("", f"Geometric means of {name} in {mode}: over our float32 {gain:.2f}{beside}.")


def error_grid(rows: list[dict[str, Any]], mode: str) -> Iterator[str]:
    """How far all are off."""
    rows = [row for row in rows if row["mode"] == mode]
    names = [name for name in NAMES if precision_end(name) and any(name in row["errors"] for row in rows)]
    what = "outputs" if mode == "inference" else "the gradient of weight_hh"
    yield from ("", f"Largest and mean error of {what}, as shares of its largest number in our float32:", "")
    yield from (f"| {mode}: cell B,T,I,H | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|")
    for row in rows:
        found = [f"{row['errors'][n][0]:.0e}, {row['errors'][n][1]:.0e}" if n in row["errors"] else "-" for n in names]
        yield f"| {row['cell']} {row['shape']} | {' | '.join(found)} |"


def table(report: dict[str, Any]) -> str:
    """Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    limited = ", all limited to AVX2" if report["avx2"] else ""
    lines = [
        f"{report['device']}{limited}, {report['threads']} threads, {report['date']}.",
        f"{versions}, Python {report['python']}.",
        f"Our products: bf16 by {report['bf16']}, int8 by {report['int8']}.",
        "Medians in ms, each contender in a process of its own. Gain is the time of our float32 over ours in a lower",
        "precision, ratio that of the best peer in the same precision over ours.",
        "",
    ]
    for mode in ("inference", "training"):
        lines += [*grid(report["layers"], mode), *error_grid(report["layers"], mode), ""]
    lines += ["Bytes of the files of weights:", "", "| layer I,H | float32 | int8 |", "|---|---|---|"]
    for row in report["sizes"]:
        of = row["bytes"]
        lines.append(f"| {row['cell']} {row['inputs']},{row['hidden']} | {of['float32']} | {of['int8']} |")
    ways = [f"{name} {way}" for way in ("step", "block") for name in PRECISIONS]
    lines += ["", "Our streams of one sequence, us a step, called step by step from Python and in blocks of 64:", ""]
    lines += [f"| stream: cell I=H | {' | '.join(ways)} |", "|---|" + "---|" * len(ways)]
    for row in report["streams"]:
        times = [f"{row['us'][way]:.3g}" for way in ways]
        lines.append(f"| {row['cell']} {row['hidden']} | {' | '.join(times)} |")
    if report["tasks"]:
        lines += [
            "",
            "Tasks, trained for a short time, in their own scores, and how far they are from those of float32:",
            "",
        ]
        lines += [f"| task and score | {' | '.join(SCORES)} |", "|---|" + "---|" * len(SCORES)]
        for name, scores in report["tasks"].items():
            exact, *others = (scores[p] for p in SCORES)
            lines.append(f"| {name} | {exact:.4f} | {' | '.join(f'{s:.4f} ({s - exact:+.0e})' for s in others)} |")
    return "\n".join(lines)


def main() -> None:
    """Run all, print the table, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the tasks' files")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=CELLS)
    parser.add_argument("--shapes", nargs="+", default=[",".join(map(str, s)) for s in SHAPES], help="B,T,I,H")
    parser.add_argument("--avx2", action="store_true", help="limit all to AVX2, without ONNX Runtime; own results")
    parser.add_argument("--out", type=Path, default=history.results(), help="folder")
    options = parser.parse_args()
    results, names = "low_precision", [name for name in NAMES if importlib.util.find_spec(name.split()[0])]
    if options.avx2:
        os.environ |= AVX2  # before Numba is imported, here and in the processes
        results, names = "low_precision_avx2", [name for name in names if not name.startswith("onnxruntime")]
    from xprnn import host_kernels

    workers = {name: Worker(name, options.threads) for name in names}
    int8, host = host_kernels.int8_kernels(), host_kernels.kernels()
    report = {
        "device": device(),
        "threads": options.threads,
        "avx2": options.avx2,
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "versions": {name: workers[name].ask(version=True) for name in LIBRARIES if name in workers},
        "bf16": host if isinstance(host, str) else instruction(host.BF16_DOT) or "products of float32",
        "int8": int8 if isinstance(int8, str) else instruction(int8.UNIT.instruction) or "plain instructions",
        "layers": list(layers(workers, options.cells, options.shapes)),
    }
    for worker in workers.values():
        worker.process.terminate()
    report["sizes"] = list(sizes(options.cells, options.shapes))
    report["streams"] = list(streams(options.cells))
    report["tasks"] = tasks(options.data) if options.data else {}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{results}.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / f"{results}.md").write_text(table(report) + "\n")
    history.append(options.out, results, history_rows(report), options.threads, report["versions"])
    print(table(report))


def instruction(name: str) -> str:
    """An instruction without what LLVM puts before its name."""
    return name.removeprefix("llvm.x86.")


if __name__ == "__main__":
    main()
