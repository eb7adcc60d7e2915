"""The grid: one recurrent layer on the CPU, beside PyTorch, ONNX Runtime and JAX. See benchmarks/README.md."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import history
import numpy as np

HERE = Path(__file__).parent
SHAPES = [
    (1, 1000, 50, 100),
    (1, 128, 64, 64),
    (16, 100, 64, 64),
    (32, 100, 128, 128),
    (64, 100, 256, 256),
    (128, 50, 512, 512),
    (8, 200, 512, 512),
]  # B, T, I, H
MIDDLE = [(4, 100, 96, 96), (24, 100, 200, 200), (96, 50, 384, 384)]
"""Sizes between those, added where vectors are narrower than those of AVX-512."""
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
AVX2 = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
}
"""What keeps our kernels, PyTorch and JAX from AVX-512. Nothing does so for ONNX Runtime, which is left out then."""
ROUNDS, SAMPLE = 9, 0.05  # rounds of a sample each; a sample lasts at least so many seconds
PAUSE = 0.05  # seconds before a sample: the threads of the one before may still be waiting by spinning
TOLERANCE = 2e-3  # relative to the largest element; float32 sums in another order


class Worker:
    """A contender's process."""

    def __init__(self, name: str, threads: int, command: Sequence[str] = (str(HERE / "worker.py"),)) -> None:
        self.name, self.command = name, [*command, name]
        names = ("BENCH_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
        self.process = subprocess.Popen(
            [sys.executable, *self.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | dict.fromkeys(names, str(threads)),
        )

    def ask(self, **task: Any) -> Any:
        """Send a task and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"the process of {self.name} ended; run {' '.join(self.command)} by hand to see why")
        return json.loads(answer)


def arrays_for(kind: str, shape: tuple[int, int, int, int]) -> dict[str, np.ndarray]:
    """Inputs, cotangents and weights, the same for all."""
    batch, steps, inputs, hidden = shape
    draws, rows = np.random.default_rng(0), GATES[kind] * hidden
    bound = 1 / np.sqrt(hidden)
    sizes = {
        "weight_ih_l0": (rows, inputs),
        "weight_hh_l0": (rows, hidden),
        "bias_ih_l0": (rows,),
        "bias_hh_l0": (rows,),
    }
    arrays = {name: draws.uniform(-bound, bound, size) for name, size in sizes.items()}
    arrays |= {"x": draws.standard_normal((steps, batch, inputs)), "dy": draws.standard_normal((steps, batch, hidden))}
    return {name: a.astype("float32") for name, a in arrays.items()}


def made(workers: dict[str, Worker], kind: str, shape: Any, training: bool, folder: Path) -> dict[str, Any]:
    """The results of each contender that can do it, each ready to be timed now."""
    given = folder / "arrays.npz"
    np.savez(given, **arrays_for(kind, shape))
    results = {}
    for name, worker in workers.items():
        found = folder / f"{name}.npz"
        if worker.ask(make={"kind": kind, "training": training, "arrays": str(given), "results": str(found)}):
            results[name] = list(np.load(found).values())
    return results


def timed(workers: dict[str, Worker], rounds: int = ROUNDS) -> dict[str, Any]:
    """The median of the samples of each contender in ms, taken in turns, and their spread."""
    samples: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, times in samples.items():
            time.sleep(PAUSE)
            times.append(1e3 * workers[name].ask(sample=SAMPLE))
    return {
        "ms": {name: float(np.median(s)) for name, s in samples.items()},
        "spread": {n: float(np.subtract(*np.percentile(s, [75, 25])) / 2 / np.median(s)) for n, s in samples.items()},
    }


def measure(workers: dict[str, Worker], kind: str, shape: Any, training: bool, folder: Path) -> dict[str, Any]:
    """Times of each contender, after their results have been found equal."""
    results = made(workers, kind, shape, training, folder)
    for name, arrays in results.items():
        for a, b in zip(arrays, results["xprnn"], strict=True):
            worst = float(np.abs(a - b).max() / np.abs(b).max())
            if not worst <= TOLERANCE:
                raise SystemExit(f"{kind} {shape}: {name} differs from xprnn by {worst:.1e}; nothing is timed")
    operations = 2.0 * GATES[kind] * np.prod(shape[:2]) * (shape[2] + shape[3]) * shape[3] * (3 if training else 1)
    return {
        "cell": kind,
        "shape": list(shape),
        "mode": "training" if training else "inference",
        "operations": operations,
        **timed({name: workers[name] for name in results}),
    }


def ratio(row: dict[str, Any]) -> float:
    """The best peer's time over ours; NaN without peers."""
    peers = [ms for name, ms in row["ms"].items() if name != "xprnn"]
    return min(peers) / row["ms"]["xprnn"] if peers else float("nan")


def overview(report: dict[str, Any]) -> list[str]:
    """A table of our times, each with its ratio."""
    columns = list(dict.fromkeys((row["cell"], row["mode"]) for row in report["rows"]))
    cells = {
        (tuple(r["shape"]), r["cell"], r["mode"]): f"{r['ms']['xprnn']:.3g} ms ({ratio(r):.2f})" for r in report["rows"]
    }
    lines = [f"| B,T,I,H | {' | '.join(f'{cell} {mode}' for cell, mode in columns)} |", "|---|" + "---|" * len(columns)]
    for shape in dict.fromkeys(key[0] for key in cells):
        found = [cells.get((shape, *column), "-") for column in columns]
        lines.append(f"| {','.join(map(str, shape))} | {' | '.join(found)} |")
    return lines


def table(report: dict[str, Any]) -> str:
    """Markdown."""
    peers = [name for name in report["versions"] if name != "xprnn"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    limited = ", all limited to AVX2" if report["avx2"] else ""
    lines = [
        f"{report['device']}{limited}, {report['threads']} threads, float32, {report['date']}.",
        f"{versions}, Python {report['python']}.",
        f"Medians in ms; ratio is the best peer's time over ours; the peak is {report['peak'] / 1e9:.0f} GF/s.",
        "",
        "Ours, with the ratio:",
        "",
        *overview(report),
        "",
    ]
    for mode in ("inference", "training"):
        rows = [row for row in report["rows"] if row["mode"] == mode]
        if not rows:
            continue
        lines.append(f"| {mode}: cell B,T,I,H | xprnn | {' | '.join(peers)} | ratio | of peak |")
        lines.append("|---|" + "---|" * (len(peers) + 3))
        for row in rows:
            entered = [
                f"{row['ms'][n]:.3g} ±{row['spread'][n]:.0%}" if n in row["ms"] else "-" for n in ("xprnn", *peers)
            ]
            share = row["operations"] / (1e-3 * row["ms"]["xprnn"]) / report["peak"]
            shape = ",".join(map(str, row["shape"]))
            lines.append(f"| {row['cell']} {shape} | {' | '.join(entered)} | {ratio(row):.2f} | {share:.0%} |")
        ratios = [ratio(row) for row in rows]
        mean = float(np.exp(np.mean(np.log(ratios))))
        below = sum(r < 1 for r in ratios)
        lines += [
            "",
            f"Geometric mean of the ratios, {mode}: {mean:.2f}; below 1 in {below} of {len(ratios)} rows.",
            "",
        ]
    return "\n".join(lines)


def device() -> str:
    """The processor's name and vector units."""
    return f"{history.processor()} ({history.vectors()})"


def history_rows(report: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Each row as :mod:`history` keeps it."""
    for row in report["rows"]:
        yield row["mode"], f"{row['cell']} {','.join(map(str, row['shape']))}", ratio(row)


def main() -> None:
    """Run the grid, print the table, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cells", nargs="+", default=list(GATES), choices=list(GATES))
    parser.add_argument("--shapes", nargs="+", help="B,T,I,H")
    parser.add_argument(
        "--avx2", action="store_true", help="limit all to AVX2, without ONNX Runtime; results of its own"
    )
    parser.add_argument("--modes", nargs="+", default=["inference", "training"], choices=["inference", "training"])
    parser.add_argument("--out", type=Path, default=history.results(), help="folder")
    options = parser.parse_args()
    contenders, results = ["xprnn", "torch", "onnxruntime", "jax"], "cpu"
    sizes = SHAPES + MIDDLE if options.avx2 or history.vectors() != "AVX-512" else SHAPES
    if options.avx2:
        os.environ |= AVX2  # before Numba is imported, here and in the processes
        results = "cpu_avx2"
        contenders.remove("onnxruntime")
    from peak import peak

    shapes = options.shapes or [",".join(map(str, size)) for size in sizes]
    names = [name for name in contenders if importlib.util.find_spec(name)]
    workers = {name: Worker(name, options.threads) for name in names}
    report: dict[str, Any] = {
        "device": device(),
        "threads": options.threads,
        "avx2": options.avx2,
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "versions": {name: worker.ask(version=True) for name, worker in workers.items()},
        "peak": peak(options.threads),
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        for mode in options.modes:
            for kind in options.cells:
                for shape in shapes:
                    size = tuple(int(n) for n in shape.split(","))
                    row = measure(workers, kind, size, mode == "training", Path(folder))
                    report["rows"].append(row)
                    times = ", ".join(f"{name} {ms:.3g}" for name, ms in row["ms"].items())
                    print(f"{mode} {kind} {shape}: {times} ms", file=sys.stderr, flush=True)
    for worker in workers.values():
        worker.process.terminate()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{results}.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / f"{results}.md").write_text(table(report) + "\n")
    history.append(options.out, results, history_rows(report), options.threads, report["versions"])
    print(table(report))


if __name__ == "__main__":
    main()
