"""Long-term dependencies: three tasks that ask at the end for what was seen long ago. RNNs fail, LSTM and GRU succeed.

Recall: which was the first of T random bits? Adding: the sum of the two marked ones of T numbers. Copy: say ten symbols
again after a delay. Every batch is drawn anew, and training stops once held-out sequences are solved. LSTM and GRU
start with memories of many lengths (chrono initialisation, Tallec and Ollivier 2018); all start with Xavier's input
weights and orthogonal recurrent ones, but for "RNN, default". One seed here: benchmarks/long_term.py runs three, and
longer tasks.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common import COLOURS, example, plot, save, table

import xprnn
from xprnn import nn
from xprnn.data import Drawn, adding_problem, copy_memory, first_element_recall, memoryless_copy_loss
from xprnn.nn import chrono_init, init
from xprnn.randomness import generator
from xprnn.train import Adam, Callback, Run, bce_with_logits, cross_entropy, fit, mse

CELLS = {
    "RNN, default": (nn.RNN, COLOURS[7], ":"),
    "RNN": (nn.RNN, COLOURS[3], "-"),
    "LSTM": (nn.LSTM, COLOURS[0], "-"),
    "GRU": (nn.GRU, COLOURS[1], "-"),
}
HELD_OUT, LOOK = 1000, 25  # sequences never trained on; updates between two looks at them


@dataclass(frozen=True)
class Task:
    """What is drawn, what is asked, what one reaches without memory, and what counts as solved."""

    name: str
    measured: str
    draw: Callable[..., Any]
    length: int
    inputs: int
    outputs: int
    loss: Callable[..., Any]
    baseline: float
    goal: float
    updates: int  # at most
    hidden: int = 32
    batch: int = 64

    def figure(self, prediction: Any, y: Any) -> float:
        if self.measured == "accuracy":
            return float(xprnn.to_numpy((prediction.data > 0) == (y > 0.5)).mean())
        return self.loss(prediction, y).item()

    def solved(self, figure: float) -> bool:
        return figure >= self.goal if self.goal > self.baseline else figure <= self.goal


def recall(steps: int, updates: int = 800) -> Task:
    draw, batch = functools.partial(first_element_recall, steps), 64 if steps < 200 else 128
    return Task(f"recall {steps}", "accuracy", draw, steps, 1, 1, bce_with_logits, 0.5, 0.999, updates, batch=batch)


def adding(steps: int, updates: int = 1000) -> Task:
    draw = functools.partial(adding_problem, steps)
    return Task(f"adding {steps}", "MSE", draw, steps, 2, 1, mse, 1 / 6, 0.001, updates, batch=32)


def copy(delay: int, updates: int = 1000) -> Task:
    draw, baseline = functools.partial(copy_memory, delay), memoryless_copy_loss(delay)
    sizes, goal = (delay + 20, 10, 10), 0.1 * baseline
    return Task(f"copy {delay}", "cross-entropy", draw, *sizes, cross_entropy, baseline, goal, updates, hidden=64)


class Network(nn.Module):
    """A recurrent layer and a linear readout: of the last step, or of every step where symbols come and go."""

    def __init__(self, task: Task, cell: str, seed: int) -> None:
        draws, symbols = generator(seed), task.outputs > 1
        self.recurrent = CELLS[cell][0](task.inputs, task.hidden, rng=draws)
        gated = cell in ("LSTM", "GRU")
        if cell != "RNN, default":
            # Gates that stay nearly closed for long let little in: larger input weights make up for some of it.
            inputs = functools.partial(init.xavier_uniform, gain=2.0 if gated else 1.0)
            init.redraw(self.recurrent, weight_ih=inputs, weight_hh=init.orthogonal, rng=draws)
        if gated:
            chrono_init(self.recurrent, 2 * task.length, rng=draws)
        self.table = nn.Embedding(task.inputs, task.inputs, rng=draws) if symbols else None
        self.head = nn.Linear(task.hidden, task.outputs, rng=draws)

    def forward(self, x: Any) -> Any:
        if self.table is not None:
            return self.head(self.recurrent(self.table(x))[0])
        return self.head(self.recurrent(x)[0][-1])


class HeldOut(Callback):
    """Looks at the held-out sequences after each epoch, and stops when they are solved."""

    def __init__(self, task: Task, seed: int) -> None:
        self.task, (self.x, self.y) = task, task.draw(HELD_OUT, rng=10_000 + seed)
        self.curve: list[tuple[int, float]] = []

    def on_epoch_end(self, run: Run) -> None:
        with xprnn.no_grad():
            figure = self.task.figure(run.model(self.x), self.y)
        self.curve.append((LOOK * run.epoch, figure))
        run.stop = self.task.solved(figure)


def learn(task: Task, cell: str, seed: int) -> dict[str, Any]:
    """Train one network; its curve (updates, held-out figure), its best figure, and the time it took."""
    network, held_out = Network(task, cell, seed), HeldOut(task, seed)
    optimizer = Adam(network.parameters(), lr=1e-3 if "RNN" in cell else 1e-2)  # at 1e-2 the RNN only jumps about
    began = time.perf_counter()
    fit(
        network,
        Drawn(functools.partial(task.draw, task.batch), updates=LOOK, rng=seed),
        lambda model, batch: task.loss(model(batch[0]), batch[1]),
        optimizer,
        epochs=-(-task.updates // LOOK),
        clip_norm=1.0,
        callbacks=[held_out],
        progress=False,
    )
    seconds, figures = time.perf_counter() - began, [figure for _, figure in held_out.curve]
    best = max(figures) if task.goal > task.baseline else min(figures)
    return {"cell": cell, "seed": seed, "curve": held_out.curve, "best": best, "seconds": seconds}


def row(task: Task, run: dict[str, Any]) -> list[Any]:
    """A line of the table: the best held-out figure is also the last one where the task was solved."""
    updates = run["curve"][-1][0]
    verdict = f"solved after {updates} updates" if task.solved(run["best"]) else f"not solved in {updates} updates"
    return [task.name, run["cell"], task.measured, task.baseline, run["best"], verdict, f"{run['seconds']:.1f} s"]


def draw_curves(tasks: list[Task], runs: dict[str, list[dict[str, Any]]]) -> Any:
    """One panel for each task: the held-out figure over updates, a line for each cell."""
    figure, panels = plot(-(-len(tasks) // 2), 2, size=(11, 8 if len(tasks) > 2 else 4.5), squeeze=False)
    for axes, task in zip(panels.flat, tasks, strict=True):
        for run in runs[task.name]:
            _, colour, style = CELLS[run["cell"]]
            axes.plot(*zip(*run["curve"], strict=True), color=colour, linestyle=style, label=run["cell"])
            axes.plot(*run["curve"][-1], "o" if task.solved(run["best"]) else "x", color=colour)
        label_panel(axes, task)
    panels[0][0].legend(frameon=False)
    figure.suptitle("What is remembered: a dot is a solved task, a cross one given up")
    return figure


def label_panel(axes: Any, task: Task) -> None:
    """Title, units and the line of one who remembers nothing."""
    axes.axhline(task.baseline, color="#888888", linestyle="--", linewidth=1, label="without memory")
    if task.measured != "accuracy":
        axes.set_yscale("log")
    kind, steps = task.name.split()
    what = {
        "recall": f"Recall the first of {steps} bits",
        "adding": f"Add two of {steps} numbers",
        "copy": f"Copy ten symbols {steps} steps later",
    }
    unit = " (nats a step)" if task.measured == "cross-entropy" else ""
    axes.set(title=what[kind], xlabel="updates", ylabel=f"held-out {task.measured}{unit}")
    axes.grid(alpha=0.25)


@example
def main(quick: bool, output: Path) -> None:
    """Train RNN, LSTM and GRU to remember, beside those who need no memory."""
    tasks = [recall(50), recall(200), adding(100), copy(20, updates=1500)]
    if quick:
        tasks = [replace(task, updates=2 * LOOK) for task in (recall(20), adding(20))]
    runs = {task.name: [learn(task, cell, 0) for cell in CELLS] for task in tasks}
    rows = [row(task, run) for task in tasks for run in runs[task.name]]
    table(rows, ("task", "cell", "figure", "without memory", "best held-out", "verdict", "time"))
    save(draw_curves(tasks, runs), output, "long_term_dependencies")


if __name__ == "__main__":
    main()
