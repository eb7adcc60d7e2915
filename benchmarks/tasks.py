"""Which cell for what: eight tasks with a known answer, at equal parameters and equal time, three seeds.

    python benchmarks/tasks.py --text FILE           # all that is missing: a quarter of an hour on two quiet cores
    python benchmarks/tasks.py --only 'parity|GRU'   # rows whose task or cell it finds
    python benchmarks/tasks.py --table               # the table and the picture of what is there

FILE is tinyshakespeare; without it that task is left out. A network is a recurrent layer of at most 6000 parameters and
128 units, something that acts on x alone before it, and an MLP of 32. It learns by Adam with clipping by the norm, from
batches that are drawn anew. A run ends when held-out sequences are solved, or its seconds of one processor are over;
what counts is the best look. Each row goes to tasks.jsonl as soon as it is there, and is not run again. Time makes
figures a matter of the machine: those of one file belong together.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

if __name__ == "__mp_main__":  # a process that was started for runs, of one thread each
    for _name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[_name] = "1"
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402 - the number of threads comes first

from xprnn import nn, no_grad, ops  # noqa: E402
from xprnn.data import adding_problem, copy_memory, first_element_recall, memoryless_copy_loss, spike_delays  # noqa: E402
from xprnn.train import Adam, clip_grad_norm, cross_entropy, mse  # noqa: E402

PARAMETERS, MOST, LETTERS = 6000, 128, 65
Batch = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""x (T, B, ...), y, and where it is asked for it, or None for everywhere."""


# --- tasks -----------------------------------------------------------------------------------------------------------


def recall(batch: int, rng: np.random.Generator) -> Batch:
    x, y = first_element_recall(500, batch, rng=rng)
    return x, y[:, 0].astype(np.int64), None


def adding(batch: int, rng: np.random.Generator) -> Batch:
    return *adding_problem(100, batch, rng=rng), None


def copying(batch: int, rng: np.random.Generator) -> Batch:
    return *copy_memory(20, batch, rng=rng), None


def selective_copying(batch: int, rng: np.random.Generator) -> Batch:
    """Six symbols at random among 34 blanks, to be said again in their order: Gu and Dao 2023, arXiv 2312.00752."""
    length, count, symbols = 40, 6, 8
    x = np.full((length + count, batch), symbols, np.int64)
    y = rng.integers(0, symbols, (count, batch))
    at = np.sort(np.argsort(rng.random((length, batch)), axis=0)[:count], axis=0)
    np.put_along_axis(x, at, y, axis=0)
    x[length:] = symbols + 1
    whole, asked = np.zeros_like(x), np.zeros(x.shape, bool)
    whole[length:], asked[length:] = y, True
    return x, whole, asked


def parity(batch: int, rng: np.random.Generator, steps: int = 20) -> Batch:
    """Whether the ones so far are odd, at every step; learned at 20 steps, and asked for from 21 to 40."""
    bits = rng.integers(0, 2, (steps, batch))
    asked = None if steps == 20 else np.repeat(np.arange(steps)[:, None] >= 20, batch, axis=1)
    return bits[..., None].astype("float32") * 2 - 1, np.cumsum(bits, axis=0) % 2, asked


def timing(batch: int, rng: np.random.Generator) -> Batch:
    return spike_delays(80, batch, shortest=10, choices=3, rng=rng)


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(64)
    return (x[:, order].T / 8.0 - 1.0).astype("float32")[..., None], y


def permuted_digits(batch: int, rng: np.random.Generator, held_out: bool = False) -> Batch:
    x, y = digits()
    chosen = np.arange(1297, 1797) if held_out else rng.integers(0, 1297, batch)
    return x[:, chosen], y[chosen], None


@cache
def text() -> np.ndarray:
    letters = Path(os.environ["TASKS_TEXT"]).read_text(encoding="utf-8")
    number = {letter: k for k, letter in enumerate(sorted(set(letters)))}
    return np.array([number[letter] for letter in letters])


def shakespeare(batch: int, rng: np.random.Generator, held_out: bool = False) -> Batch:
    """Letters and those that follow them; the last tenth is held out."""
    whole, steps = text(), 64
    border = len(whole) * 9 // 10
    low, high = (border, len(whole)) if held_out else (0, border)
    starts = rng.integers(low, high - steps - 1, batch)
    x = whole[starts + np.arange(steps + 1)[:, None]]
    return x[:-1], x[1:], None


@dataclass(frozen=True)
class Task:
    """What is drawn, and what counts."""

    draw: Callable[..., Batch]
    steps: int
    inputs: int
    outputs: int
    what: str
    """accuracy, MSE, nats or bits."""
    nothing: float
    """What one reaches who knows nothing of the past."""
    goal: float
    every: bool = True
    """Whether it is asked at all steps, or at the last."""
    batch: int = 32
    seconds: float = 4.0
    held_out: Callable[..., Batch] | None = None

    @property
    def tokens(self) -> bool:
        return self.inputs > 2

    def solved(self, figure: float) -> bool:
        return figure >= self.goal if self.goal > self.nothing else figure <= self.goal


COPIED = memoryless_copy_loss(20)
TASKS = {
    "parity 40": Task(parity, 40, 1, 2, "accuracy", 0.5, 0.99, held_out=partial(parity, steps=40)),
    "timing 80": Task(timing, 80, 1, 3, "accuracy", 1 / 3, 0.99),
    "adding 100": Task(adding, 100, 2, 1, "MSE", 1 / 6, 0.002, every=False),
    "copying 20": Task(copying, 40, 10, 10, "nats", COPIED, 0.1 * COPIED),
    "selective copying 40": Task(selective_copying, 46, 10, 8, "accuracy", 0.125, 0.95),
    "permuted digits": Task(
        permuted_digits, 64, 1, 10, "accuracy", 0.1, 0.97, every=False, seconds=8.0,
        held_out=partial(permuted_digits, held_out=True),
    ),
    "shakespeare": Task(
        shakespeare, 64, LETTERS, LETTERS, "bits", 3.58, 1.5, held_out=partial(shakespeare, held_out=True), seconds=8.0
    ),
    "recall 500": Task(recall, 500, 1, 2, "accuracy", 0.5, 0.99, every=False, seconds=6.0),
}  # fmt: skip
"""3.58 bits are those of a table of which letter follows which."""


# --- cells -----------------------------------------------------------------------------------------------------------


def plain(kind: str, **options: Any) -> Callable[..., Any]:
    return lambda task, inputs, hidden, seed: getattr(nn, kind)(inputs, hidden, rng=seed, **options)


def chrono(kind: str, **options: Any) -> Callable[..., Any]:
    """With gates that start with memories of all lengths up to the task's."""

    def make(task: Task, inputs: int, hidden: int, seed: int) -> Any:
        layer = getattr(nn, kind)(inputs, hidden, rng=seed, **options)
        nn.chrono_init(layer, task.steps, rng=seed)
        return layer

    return make


def indrnn(task: Task, inputs: int, hidden: int, seed: int) -> Any:
    layer = nn.IndRNN(inputs, hidden, rng=seed)  # the paper's section 4.1: memories up to the whole sequence
    u = np.random.default_rng(seed).uniform(0.0, 2.0 ** (1.0 / task.steps), hidden)
    layer.weight_hh_l0.data = u.astype("float32")
    return layer


def lru(task: Task, inputs: int, hidden: int, seed: int) -> Any:
    return nn.LRU(inputs, hidden, r_min=0.9, r_max=0.999, max_phase=math.pi / 5, rng=seed)


def lmu(feedback: bool) -> Callable[..., Any]:
    def make(task: Task, inputs: int, hidden: int, seed: int) -> Any:
        return nn.LMU(inputs, hidden, order=24, channels=2, window=float(task.steps), feedback=feedback, rng=seed)

    return make


def mlstm(task: Task, inputs: int, hidden: int, seed: int) -> Any:
    return nn.MLSTM(inputs, 4 * max(1, hidden // 4), heads=4, rng=seed)


def ltc(task: Task, inputs: int, hidden: int, seed: int) -> Any:
    return nn.LTC(inputs, hidden, unfolds=2, rng=seed)


class Convolutions(nn.Module):
    """A TCN that sees the whole sequence, as a layer with a state."""

    def __init__(self, task: Task, inputs: int, hidden: int, seed: int) -> None:
        blocks = max(1, math.ceil(math.log2(task.steps / 4 + 1)))
        self.hidden_size, self.tcn = hidden, nn.TCN(inputs, [hidden] * blocks, 3, rng=seed)

    def forward(self, x: Any) -> Any:
        return self.tcn(x)


def echo_state(task: Task, inputs: int, hidden: int, seed: int) -> Any:
    return nn.EchoState(inputs, 150, spectral_radius=0.98, leak=0.5, input_scaling=0.5, bias_scaling=0.2, rng=seed)


CELLS: dict[str, Callable[..., Any]] = {
    "RNN": plain("RNN"),
    "IndRNN": indrnn,
    "LSTM": chrono("LSTM"),
    "layer-norm LSTM": plain("LSTM", layer_norm=True),
    "GRU": chrono("GRU"),
    "MGU": plain("MGU"),
    "CTRNN": plain("CTRNN"),
    "antisymmetric": plain("AntisymmetricRNN"),
    "MinGRU": plain("MinGRU"),
    "MinLSTM": plain("MinLSTM"),
    "SRU": plain("SRU"),
    "QRNN": plain("QRNN", window=2),
    "LRU": lru,
    "S5": plain("S5"),
    "LMU": lmu(True),
    "LMU without feedback": lmu(False),
    "sLSTM": plain("SLSTM", forget_bias=4.0),  # the xLSTM paper's package begins with 3 to 6
    "mLSTM": mlstm,
    "CfC": plain("CfC", backbone_units=32),
    "LTC": ltc,
    "echo state": echo_state,
    "TCN": Convolutions,
}


@cache
def width(cell: str, task: str) -> int:
    """The hidden size that has as many parameters as there may be, and units."""
    low, high = 2, MOST + 1

    def size(hidden: int) -> int:
        layer = CELLS[cell](TASKS[task], inputs_of(TASKS[task]), hidden, 0)
        return sum(p.data.size for p in layer.parameters() if p.requires_grad)

    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) <= PARAMETERS else (low, middle)
    return low


def inputs_of(task: Task) -> int:
    """Of the layer: what an embedding of tokens, or a linear map and a relu, makes of x."""
    return 24 if task.tokens else 8


class Network(nn.Module):
    """Something that acts on x alone, a recurrent layer, and an MLP.

    A layer that is linear in its state needs the first as much as the last: S5 and LRU are linear in x as well.
    """

    def __init__(self, name: str, cell: str, seed: int) -> None:
        self.task = task = TASKS[name]
        self.embedding = (nn.Embedding if task.tokens else nn.Linear)(task.inputs, inputs_of(task), rng=seed)
        self.layer = CELLS[cell](task, inputs_of(task), 0 if cell == "echo state" else width(cell, name), seed)
        self.first = nn.Linear(self.layer.hidden_size, 32, rng=seed + 1)
        self.second = nn.Linear(32, task.outputs, rng=seed + 2)

    def forward(self, x: Any) -> Any:
        z = self.embedding(x)
        h = self.layer(z if self.task.tokens else ops.relu(z))[0]
        return self.second(ops.relu(self.first(h if self.task.every else h[-1])))


def loss_of(task: Task, z: Any, y: Any, asked: Any) -> Any:
    return mse(z, y) if task.what == "MSE" else cross_entropy(z, y, mask=asked)


def figure_of(task: Task, network: Network, batch: Batch) -> float:
    x, y, asked = batch
    with no_grad(), network.mode(False):
        z = network(x)
        if task.what == "accuracy":
            right = z.data.argmax(axis=-1) == y
            return float(right.mean() if asked is None else right[asked].mean())
        return loss_of(task, z, y, asked).item() / (math.log(2.0) if task.what == "bits" else 1.0)


def learn(name: str, cell: str, seed: int, share: float = 1.0) -> dict[str, Any]:
    """One run: its best figure on held-out sequences, how many updates, and when."""
    task, draws = TASKS[name], np.random.default_rng(seed)
    network = Network(name, cell, seed)
    held_out = (task.held_out or task.draw)(128, rng=np.random.default_rng(10_000 + seed))
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = Adam(parameters, lr=2e-3 if cell in ("RNN", "IndRNN") else 5e-3)
    figure_of(task, network, task.draw(2, rng=draws))  # kernels are compiled, or found, before the clock goes
    loss_of(task, network((batch := task.draw(2, rng=draws))[0]), *batch[1:]).backward()
    better = max if task.goal > task.nothing else min
    best, updates, spent, began, looked = None, 0, 0.0, time.process_time(), 0.0
    while spent < share * task.seconds and not (best is not None and task.solved(best)):
        network.zero_grad()
        x, y, asked = task.draw(task.batch, rng=draws)
        loss_of(task, network(x), y, asked).backward()
        clip_grad_norm(parameters, 1.0)
        optimizer.step()
        updates += 1
        spent = time.process_time() - began
        if spent - looked > share * task.seconds / 12 or spent >= share * task.seconds:
            figure = figure_of(task, network, held_out)
            best = figure if best is None else better(best, figure)
            began, looked = time.process_time() - spent, spent  # looks do not count
    return {
        "task": name, "cell": cell, "seed": seed, "best": best, "solved": task.solved(best), "updates": updates,
        "seconds": spent, "hidden": int(network.layer.hidden_size), "share": share,
    }  # fmt: skip


# --- results ---------------------------------------------------------------------------------------------------------


def summary(rows: list[dict[str, Any]], task: str, cell: str) -> dict[str, Any] | None:
    found = [row for row in rows if (row["task"], row["cell"]) == (task, cell)]
    if not found:
        return None
    mean = float(np.mean([row["best"] for row in found]))
    return {
        "mean": mean, "solved": sum(row["solved"] for row in found), "seeds": len(found),
        "seconds": float(np.mean([row["seconds"] for row in found])),
        "updates": float(np.mean([row["updates"] for row in found])),
    }  # fmt: skip


def portion(task: Task, figure: float) -> float:
    """From what one knows without a memory, 0, to the goal, 1; errors by their logarithms."""
    a, b, c = (math.log(max(v, 1e-9)) if task.what in ("MSE", "nats") else v for v in (task.nothing, task.goal, figure))
    return min(1.0, max(0.0, (c - a) / (b - a)))


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a figure is the mean of the seeds; behind it how many solved the task, and in how many seconds."""
    shares = {row["share"] for row in rows}
    head = [f"{name}, {task.what}" for name, task in TASKS.items()]
    lines = ["| cell | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    lines.append("| *no memory* | " + " | ".join(f"{task.nothing:.3g}" for task in TASKS.values()) + " |")
    lines.append("| *goal* | " + " | ".join(f"{task.goal:.2g}" for task in TASKS.values()) + " |")
    for cell in CELLS:
        entries = []
        for name, task in TASKS.items():
            found = summary(rows, name, cell)
            if found is None:
                entries.append("")
                continue
            text = f"{found['mean']:.3g}"
            if found["solved"] == found["seeds"]:
                text = f"**{text}** in {found['seconds']:.1f} s"
            elif found["solved"]:
                text += f", {found['solved']} of {found['seeds']}"
            entries.append(text if portion(task, found["mean"]) > 0.1 else f"*{text}*")
        lines.append(f"| {cell} | " + " | ".join(entries) + " |")
    seeds = len({row["seed"] for row in rows})
    whole = "One seed" if seeds == 1 else f"Means of {seeds} seeds"
    note = (
        f"{whole}. Bold: all seeds reached the goal, in so many seconds of one processor; italic: hardly better than "
    )
    note += "without a memory. Empty: not run."
    if shares != {1.0}:
        note += f" Runs had {', '.join(f'{s:g}' for s in sorted(shares))} of the seconds that the tasks give."
    return "\n".join([*lines, "", note]) + "\n"


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """How near each cell comes to each goal."""
    from matplotlib.figure import Figure

    grid = np.full((len(CELLS), len(TASKS)), np.nan)
    for i, cell in enumerate(CELLS):
        for j, (name, task) in enumerate(TASKS.items()):
            if (found := summary(rows, name, cell)) is not None:
                grid[i, j] = portion(task, found["mean"])
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(grid, vmin=0.0, vmax=1.0, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(TASKS)), TASKS, rotation=30, ha="right")
    axes.set_yticks(range(len(CELLS)), CELLS)
    figure.colorbar(image, label="from no memory (0) to the goal (1)")
    figure.savefig(path, dpi=90)


def main() -> None:
    """Run what is missing, a process for each core; then write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="a regular expression for 'TASK, CELL'")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--share", type=float, default=1.0, help="of each task's seconds")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder")
    parser.add_argument("--text", type=Path, help="tinyshakespeare")
    options = parser.parse_args()
    if options.text is not None:
        os.environ["TASKS_TEXT"] = str(options.text)  # which the processes inherit
    path = options.out / "tasks.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["task"], row["cell"], row["seed"]) for row in rows}
    wanted = [
        (task, cell, seed)
        for seed in range(options.seeds)
        for task in TASKS
        for cell in CELLS
        if (task, cell, seed) not in done and re.search(options.only, f"{task}, {cell}")
        if task != "shakespeare" or "TASKS_TEXT" in os.environ
    ]
    if not options.table:
        with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
            for future in as_completed([pool.submit(learn, *row, options.share) for row in wanted]):
                rows.append(future.result())
                with path.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
                print(rows[-1], file=sys.stderr, flush=True)
    (options.out / "tasks.md").write_text(table(rows))
    picture(rows, options.out / "tasks.png")


if __name__ == "__main__":
    main()
