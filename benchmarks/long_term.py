"""Long-term dependencies: recall, adding and copy at full length, each cell with three seeds.

    python benchmarks/long_term.py

Tasks, networks and training are those of examples/long_term_dependencies.py. Writes long_term.json, long_term.md and a
picture of the learning curves.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
from cpu import device

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "examples"))

from common import plot, save  # noqa: E402
from long_term_dependencies import CELLS, LOOK, Task, adding, copy, label_panel, learn, recall  # noqa: E402

import xprnn  # noqa: E402

TASKS = [recall(50), recall(200), recall(500), adding(100), adding(200), copy(50, updates=4000)]


def summary(task: Task, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread over the seeds of one cell."""
    best = [run["best"] for run in runs]
    solved = [run for run in runs if task.solved(run["best"])]
    return {
        "task": task.name,
        "cell": runs[0]["cell"],
        "measured": task.measured,
        "without memory": task.baseline,
        "goal": task.goal,
        "mean": float(np.mean(best)),
        "spread": float(np.std(best)),
        "solved": len(solved),
        "seeds": len(runs),
        "updates to solve": [run["curve"][-1][0] for run in solved],
        "updates at most": max(run["curve"][-1][0] for run in runs),
        "seconds": float(np.mean([run["seconds"] for run in runs])),
    }


def table(report: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"{report['device']}, {report['date']}, xprnn {report['xprnn']}, Python {report['python']}.",
        "",
        f"{report['seeds']} seeds. The figure is the best one on 1000 held-out sequences, mean ± standard deviation;",
        "a run ends when it reaches the goal. Updates and seconds are means; of runs that fail, all there were.",
        "",
        "| task | without memory | goal | cell | held-out | solved | updates to solve | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        updates = row["updates to solve"]
        took = f"{np.mean(updates):.0f}" if updates else f"not in {row['updates at most']}"
        lines.append(
            f"| {row['task']} | {row['measured']} {row['without memory']:.3g} | {row['goal']:.3g} | {row['cell']} "
            f"| {row['mean']:.3g} ± {row['spread']:.1g} | {row['solved']} of {row['seeds']} | {took} "
            f"| {row['seconds']:.0f} |"
        )
    return "\n".join(lines)


def picture(report: dict[str, Any], folder: Path) -> None:
    """Learning curves: the mean over seeds, and a band from the worst to the best of them."""
    figure, panels = plot(2, 3, size=(14, 8))
    for axes, task in zip(panels.flat, TASKS, strict=True):
        for cell, (_, colour, style) in CELLS.items():
            curves = [r["curve"] for r in report["runs"] if (r["task"], r["cell"]) == (task.name, cell)]
            longest = max(map(len, curves))
            # A run that has ended, because it has solved the task, stays where it was.
            held = np.array([[f for _, f in curve] + [curve[-1][1]] * (longest - len(curve)) for curve in curves])
            at = LOOK * np.arange(1, longest + 1)
            axes.plot(at, held.mean(axis=0), color=colour, linestyle=style, label=cell)
            axes.fill_between(at, held.min(axis=0), held.max(axis=0), color=colour, alpha=0.2, linewidth=0)
        label_panel(axes, task)
    panels[0][0].legend(frameon=False)
    figure.suptitle(
        f"Mean of {report['seeds']} seeds, and from the worst to the best of them; lines end when all solve"
    )
    save(figure, folder, "long_term")


def main() -> None:
    """Train all, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder")
    options = parser.parse_args()
    report: dict[str, Any] = {
        "device": device(),
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "xprnn": xprnn.__version__,
        "seeds": options.seeds,
        "rows": [],
        "runs": [],
    }
    for task in TASKS:
        for cell in CELLS:
            runs = []
            for seed in range(options.seeds):
                runs.append({"task": task.name, **learn(task, cell, seed)})
                best, updates = runs[-1]["best"], runs[-1]["curve"][-1][0]
                print(f"{task.name}, {cell}, seed {seed}: {best:.4g}, {updates} updates", file=sys.stderr, flush=True)
            report["rows"].append(summary(task, runs))
            report["runs"] += runs
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "long_term.json").write_text(json.dumps(report) + "\n")
    (options.out / "long_term.md").write_text(table(report) + "\n")
    picture(report, options.out)
    print(table(report))


if __name__ == "__main__":
    main()
