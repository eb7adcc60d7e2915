"""One training step of six small models, beside the same model in PyTorch: microseconds.

    python benchmarks/small_training.py

Forward, loss, backward, clipping by the norm and a step of Adam, PyTorch's with ``fused=True``. Both take one thread in
one process, and they take turns; the fastest of many steps counts, since other programs can only add to it.
Weights and data are the same, and the losses of the first steps are compared before anything is timed.

"in kernels" is what of our step passes inside the compiled functions of ``kernels/``; what is left is Python and NumPy.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import importlib
import json
import os
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
from cpu import device  # noqa: E402

LEARNING_RATE, MOST_NORM = 1e-3, 1.0
TOLERANCE = 2e-4  # of the losses of the first steps, relative
FIRST, ROUNDS, STEPS = 5, 60, 10
CLASSES, LETTERS = 5, 32


class Model:
    """A small model that can be built by either library, since they have the same names."""

    def __init__(self, make: Callable[[Any], Any], x: tuple[int, ...], y: tuple[int, ...]) -> None:
        self.make, self._x, self._y = make, x, y

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs, of letters where they have no axis of features, and targets, of classes likewise."""
        draws = np.random.default_rng(0)
        x = (
            draws.standard_normal(self._x).astype("float32")
            if len(self._x) == 3
            else draws.integers(LETTERS, size=self._x)
        )
        classes = LETTERS if len(self._x) == 2 else CLASSES
        y = (
            draws.standard_normal(self._y).astype("float32")
            if len(self._y) == 3
            else draws.integers(classes, size=self._y)
        )
        return x, y


def network(
    layer: str,
    inputs: int,
    hidden: int,
    outputs: int,
    embedded: bool = False,
    pooled: bool = False,
    **options: Any,
) -> Callable[[Any], Any]:
    """A recurrent layer, with an embedding before it or not, and a linear head of all its outputs or of their mean."""

    def make(nn: Any) -> Any:
        class Network(nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.embedding = nn.Embedding(LETTERS, inputs) if embedded else None
                self.rnn = getattr(nn, layer)(inputs, hidden, **options)
                self.head = nn.Linear(hidden * (2 if options.get("bidirectional") else 1), outputs)

            def forward(self, x: Any) -> Any:
                y, _ = self.rnn(self.embedding(x) if embedded else x)
                y = self.head(y.mean(0) if pooled else y)
                return y.reshape((-1, outputs)) if embedded else y

        return Network()

    return make


MODELS = {
    "LSTM(1, 32), B=64 T=20, forecasts": Model(network("LSTM", 1, 32, 1), (20, 64, 1), (20, 64, 1)),
    "GRU(8, 16), B=16 T=50, forecasts": Model(network("GRU", 8, 16, 8), (50, 16, 8), (50, 16, 8)),
    "RNN(4, 64), B=32 T=30, forecasts": Model(network("RNN", 4, 64, 1), (30, 32, 4), (30, 32, 1)),
    "LSTM(4, 32) of 2 layers, B=8 T=32, forecasts": Model(
        network("LSTM", 4, 32, 1, num_layers=2), (32, 8, 4), (32, 8, 1)
    ),
    "GRU(16, 24) both ways, B=16 T=40, classes": Model(
        network("GRU", 16, 24, CLASSES, pooled=True, bidirectional=True), (40, 16, 16), (16,)
    ),
    "LSTM(32, 32), B=16 T=32, letters": Model(network("LSTM", 32, 32, LETTERS, embedded=True), (32, 16), (16 * 32,)),
}


def ours(model: Model) -> tuple[Any, Callable[[], float]]:
    """The model in this library, and a step of it that returns its loss."""
    from xprnn import nn
    from xprnn.train import Adam, clip_grad_norm, cross_entropy, mse

    network, (x, y) = model.make(nn), model.data()
    parameters = network.parameters()
    optimizer, loss = Adam(parameters, lr=LEARNING_RATE), mse if y.dtype == "float32" else cross_entropy

    def step() -> float:
        optimizer.zero_grad()
        found = loss(network(x), y)
        found.backward()
        clip_grad_norm(parameters, MOST_NORM)
        optimizer.step()
        return found.item()

    return network, step


def theirs(model: Model) -> tuple[Any, Callable[[], float]]:
    """The same in PyTorch."""
    import torch

    torch.set_num_threads(1)
    network, (x, y) = model.make(torch.nn), map(torch.from_numpy, model.data())
    parameters = list(network.parameters())
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
    loss = torch.nn.functional.mse_loss if y.dtype == torch.float32 else torch.nn.functional.cross_entropy

    def step() -> float:
        optimizer.zero_grad()
        found = loss(network(x), y)
        found.backward()
        torch.nn.utils.clip_grad_norm_(parameters, MOST_NORM)
        optimizer.step()
        return found.item()

    return network, step


class Clock:
    """Nanoseconds inside compiled functions, each of which is replaced by one that looks at the clock."""

    def __init__(self) -> None:
        from numba.core.dispatcher import Dispatcher

        self.spent, self._inside = 0, False
        names = "additive around at_once columns elementwise linear loops product small softmax sums updates"
        for name in names.split():
            module = importlib.import_module(f"xprnn.kernels.cpu.{name}")
            for attribute, function in list(vars(module).items()):
                if isinstance(function, Dispatcher):
                    setattr(module, attribute, self._timed(function))
            if call_of := getattr(module, "call_of", None):  # those that are called without a dispatcher
                module.call_of = self._timed_calls(call_of)
                for function in vars(module).values():
                    if hasattr(function, "cache_clear"):
                        function.cache_clear()

    def _timed_calls(self, call_of: Callable[..., Any]) -> Callable[..., Any]:
        """What finds such functions, so that they look at the clock too; of kernels, timed or not."""
        return lambda kernel, *about: self._timed(
            call_of(kernel if hasattr(kernel, "compile") else kernel.__wrapped__, *about)
        )

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any) -> Any:
            start = time.perf_counter_ns()
            try:
                return function(*args)
            finally:
                self.spent += time.perf_counter_ns() - start

        return timed


def compare(model: Model) -> tuple[Callable[[], float], Callable[[], float]]:
    """A step of each, from the same weights. Ends the program where their first losses differ."""
    (network, step), (other, other_step) = ours(model), theirs(model)
    network.load_state_dict(other.state_dict())
    for _ in range(FIRST):
        found, expected = step(), other_step()
        if abs(found - expected) > TOLERANCE * abs(expected):
            raise SystemExit(f"{found} differs from PyTorch's {expected}; nothing is timed")
    return step, other_step


def measure(name: str) -> dict[str, Any]:
    """Microseconds of the fastest step of each."""
    steps = dict(zip(("xprnn", "torch"), compare(MODELS[name]), strict=True))
    samples: dict[str, list[float]] = {contender: [] for contender in steps}
    for _ in range(ROUNDS):
        for contender, step in steps.items():
            for _ in range(STEPS):
                start = time.perf_counter_ns()
                step()
                samples[contender].append((time.perf_counter_ns() - start) / 1e3)
    return {"model": name, **{contender: min(s) for contender, s in samples.items()}}


def share_in_kernels(name: str, clock: Clock) -> float:
    """Which part of our step passes inside kernels, in the fastest of many."""
    _, step = ours(MODELS[name])
    found = []
    for _ in range(ROUNDS * STEPS):
        clock.spent, start = 0, time.perf_counter_ns()
        step()
        took = time.perf_counter_ns() - start
        found.append((took, clock.spent / took))
    return min(found)[1]


def history_rows(report: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Each row as :mod:`history` keeps it."""
    for row in report["rows"]:
        yield "step", row["model"], row["torch"] / row["xprnn"]


def table(report: dict[str, Any]) -> str:
    """Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        f"{report['device']}, 1 thread, float32, {report['date']}. {versions}.",
        "Microseconds of a training step, the fastest of many: forward, loss, backward, clipping, Adam.",
        "",
        "| | xprnn | in kernels | beside them | torch | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        inside = row["xprnn"] * row["in_kernels"]
        cells = [f"{us:.0f}" for us in (row["xprnn"], inside, row["xprnn"] - inside, row["torch"])]
        lines.append(f"| {row['model']} | {' | '.join(cells)} | {row['torch'] / row['xprnn']:.2f} |")
    mean = history.geometric_mean([row["torch"] / row["xprnn"] for row in report["rows"]])
    return "\n".join([*lines, f"| geometric mean | | | | | {mean:.2f} |"])


def main() -> None:
    """Measure, print the table, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=history.results(), help="folder")
    options = parser.parse_args()
    rows = [measure(name) for name in MODELS]
    clock = Clock()  # only now, since looking at it takes time too
    report: dict[str, Any] = {
        "device": device(),
        "date": datetime.date.today().isoformat(),
        "versions": {name: importlib.import_module(name).__version__ for name in ("xprnn", "torch", "numpy")},
        "rows": [{**row, "in_kernels": share_in_kernels(row["model"], clock)} for row in rows],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "small_training.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "small_training.md").write_text(table(report) + "\n")
    history.append(options.out, "small_training", history_rows(report), 1, report["versions"])
    print(table(report))


if __name__ == "__main__":
    main()
