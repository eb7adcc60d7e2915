"""What benchmarks/tasks.py asks, and how it says what came of it; no cell is trained."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "tasks.py"
if not PATH.exists():
    pytest.skip("these tests run in a checkout", allow_module_level=True)


@pytest.fixture(scope="module")
def tasks():
    spec = importlib.util.spec_from_file_location("tasks", PATH)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tasks", module)  # where its dataclasses look for it
        spec.loader.exec_module(module)
        yield module


def test_tasks_ask_what_was_seen(tasks):
    rng = np.random.default_rng(0)
    x, y, asked = tasks.selective_copying(3, rng)
    for b in range(3):
        assert x[:40, b][x[:40, b] < 8].tolist() == y[asked[:, b], b].tolist()
    assert (x[40:] == 9).all()
    x, y, asked = tasks.parity(2, rng, steps=40)
    assert ((x[:, :, 0] > 0).cumsum(axis=0) % 2 == y).all()
    assert asked.sum() == 40
    for name, task in tasks.TASKS.items():
        if name not in ("shakespeare", "permuted digits"):  # of files, and of another library
            x, y, _ = (task.held_out or task.draw)(2, rng=rng)
            assert x.shape[:2] == (task.steps, 2), name
            assert y.max() < max(task.outputs, 3), name


def test_every_cell_fits_the_parameters(tasks):
    for cell in ("GRU", "MGU", "CTRNN", "antisymmetric", "sLSTM", "mLSTM", "LRU", "TCN"):
        hidden = tasks.width(cell, "timing 80")
        layer = tasks.CELLS[cell](tasks.TASKS["timing 80"], 1, hidden, 0)
        assert sum(p.data.size for p in layer.parameters()) <= tasks.PARAMETERS, cell
        assert hidden <= tasks.MOST


def test_the_table_says_who_solved_what(tasks):
    rows = [
        {"task": "parity 40", "cell": cell, "seed": seed, "best": best, "solved": best > 0.99, "updates": 5,
         "seconds": 2.0, "hidden": 3, "share": 1.0}
        for cell, figures in {"GRU": (1.0, 0.998), "LRU": (0.5, 0.51), "LSTM": (1.0, 0.6)}.items()
        for seed, best in enumerate(figures)
    ]  # fmt: skip
    lines = tasks.table(rows).splitlines()
    assert "| **0.999** in 2.0 s |" in next(line for line in lines if line.startswith("| GRU"))
    assert "| *0.505* |" in next(line for line in lines if line.startswith("| LRU"))
    assert "| 0.8, 1 of 2 |" in next(line for line in lines if line.startswith("| LSTM"))
    assert lines[-1].startswith("Means of 2 seeds. Bold: all seeds reached the goal, in so many seconds")
    assert tasks.portion(tasks.TASKS["adding 100"], 0.002) == 1.0
    assert tasks.portion(tasks.TASKS["parity 40"], 0.4) == 0.0
