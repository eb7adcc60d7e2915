"""benchmarks.gpu.run --tune, what follows from its times, and compiling beforehand."""

import importlib.util
import math
import os
import shutil
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from gpu_benchmark import Clock, Device, gpu, main

__all__ = ["gpu"]

H100 = (132, 232448, 8)  # multiprocessors, shared memory of a block, largest cluster


def test_what_rows_need_is_compiled_once(gpu):
    from xprnn.kernels.cuda import persistent, plan

    from benchmarks.gpu import compile as gpu_compile

    row = {"what": "grid", "cell": "LSTM", "mode": "inference", "precision": "bf16", "B": 16, "H": 512}
    forth = plan.best("Lstm", False, "bf16", 16, 512, *H100)
    assert gpu_compile.jobs([row, row], *H100) == [
        ("lstm_forward", "float32"),
        ("forward.cu", "persistent_forward", forth.options),
    ]
    both = gpu_compile.jobs([row | {"mode": "training"}], *H100)
    assert [job[1] for job in both] == ["float32", "persistent_forward", "persistent_backward"]
    assert gpu_compile.jobs([{"what": "micro", "name": "launch"}], *H100) == []
    check = {"what": "check", "cell": "GRU", "precision": "fp16", "shape": [7, 3, 10, 100], "control": True}
    assert len(gpu_compile.jobs([check], *H100)) == 3
    slow = row | {"B": 256, "H": 1024, "precision": "float32"}  # dispatch would take a launch for each step
    assert len(gpu_compile.jobs([slow], *H100)) == 2
    assert not math.isinf(persistent.SURELY), "that is for the benchmark alone"
    every = gpu_compile.jobs(gpu.gpu_rows.rows(), *H100)
    assert len(set(every)) == len(every) > 100


def test_compiling_beforehand_fails_without_harm(gpu, monkeypatch, tmp_path):
    from benchmarks.gpu import compile as gpu_compile

    script = tmp_path / "compile.py"
    monkeypatch.setattr(gpu_compile, "COMMAND", [sys.executable, str(script)])
    script.write_text("raise SystemExit('no device')")
    said = gpu_compile.ahead([], 2, 30.0, tmp_path, clock=lambda: 0.0)
    assert said == "nothing was compiled, in 0 s with 2 processes"


OUTLIVING = """
import pathlib, subprocess, sys
print("1 of 2 kernels", flush=True)
child = "import sys, time; pipe = open(sys.argv[1], 'w'); open(sys.argv[2], 'w'); time.sleep(600); pipe.write('late')"
subprocess.run([sys.executable, "-c", child, {pipe!r}, {ready!r}])
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a POSIX system")
def test_compiling_beforehand_ends_with_all_its_processes(gpu, monkeypatch, tmp_path):
    """A process of the pool holds one end of a pipe, and the other end is read until nobody does."""
    from benchmarks.gpu import compile as gpu_compile

    script, pipe, ready = (tmp_path / name for name in ("compile.py", "pipe", "ready"))
    monkeypatch.setattr(gpu_compile, "COMMAND", [sys.executable, str(script)])
    script.write_text(OUTLIVING.format(pipe=str(pipe), ready=str(ready)))
    os.mkfifo(pipe)
    reader = os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
    said = gpu_compile.ahead([], 2, 1.5, tmp_path, clock=lambda: 9.0 * ready.exists())
    assert said == "1 of 2 kernels, in 9 s with 2 processes"
    os.set_blocking(reader.fileno(), True)
    assert reader.read() == ""


def test_promising_plans_are_the_best_and_different(gpu):
    from xprnn.kernels.cuda import plan

    from benchmarks.gpu import tune as gpu_tune

    rows = gpu_tune.rows()
    assert len(rows) == len({gpu.key(row) for row in rows}) == 4 * 4 * 3 * 2 * 2
    assert (rows[0]["B"], rows[0]["H"]) == (16, 512)
    for row in rows:
        found = gpu_tune.promising(row, *H100)
        shape = gpu_tune.CELLS[row["cell"]], row["way"] == "backward", row["precision"], row["B"], row["H"]
        best = plan.best(*shape, *H100)
        assert (found[0] if found else None) == best
        assert len({(one.units, one.warps, one.cluster, one.polls) for one in found}) == len(found) <= gpu_tune.MOST


def test_fitted_constants_predict_what_was_measured(gpu):
    """Times made with other constants are found again, wherever they depend on them."""
    from xprnn.kernels.cuda import plan

    from benchmarks.gpu import fit as gpu_fit
    from benchmarks.gpu import tune as gpu_tune

    truth = {"BARRIER": 900.0, "EXCHANGE_BYTES": 60.0, "ROUND_TRIP": 1400.0}
    truth["MULTIPLY_ADDS"] = plan.MULTIPLY_ADDS | {"Bf16": 250.0}
    draws, found, before = np.random.default_rng(0), [], plan.BARRIER
    for row in gpu_tune.rows()[::3]:
        tried = gpu_tune.promising(row, *H100)
        with patch.multiple(plan, **truth):
            times = [plan.microseconds(one) * draws.uniform(0.98, 1.02) for one in tried]
        plans = [
            {"plan": gpu_tune.dataclasses.asdict(one), "predicted": plan.microseconds(one), "measured": time}
            for one, time in zip(tried, times, strict=True)
        ]
        found.append(row | {"plans": plans} | ({"step": {"measured": 5.0}} if row["way"] == "forward" else {}))
    said = gpu_fit.conclusions(found)
    now, after = said["plan.microseconds"]["off by"]
    assert now > 1.15
    assert after < 1.03
    worse, better = said["plan.microseconds"]["slower than the best"]
    assert better <= worse
    assert better < 1.02
    _, value = said["plan.microseconds"]["constants"]["MULTIPLY_ADDS"]
    assert value["Bf16"] == pytest.approx(250.0, rel=0.1)
    assert value["Fp16"] == plan.MULTIPLY_ADDS["Fp16"]  # nothing was measured that depends on it
    assert before == plan.BARRIER
    assert said["plan.step_microseconds"]["off by"][1] < said["plan.step_microseconds"]["off by"][0]


def test_the_tuner_measures_what_is_missing_and_says_what_follows(gpu, tmp_path, capsys):
    options = ["--tune", "--only", "B=16 H=512", "--out", tmp_path / "results", "--processes", 0]
    assert main(gpu, Device(Clock()), *options, "--budget", 0) == 0
    assert main(gpu, Device(Clock()), *options) == 0
    assert "180 shapes are not measured yet" in capsys.readouterr().out
    lines = tmp_path / "results" / "gpu-tune-toy-gpu-1.jsonl"
    text = lines.with_suffix(".md").read_text()
    for part in ("180 shapes are not measured yet", "plan.microseconds, fitted to 24 measurements", "- BARRIER: 1500",
                 "plan.step_microseconds, fitted to 6 measurements",
                 "| LSTM forward bf16 16,512 | 8, 8, 1, 1, 0, 0, 2* | 2.00 | 3.00 | 1.0e-03 | 9.00 |",
                 "| 16, 8, 1, 1, 0, 0, 2 | 2.50 | 2.75 (bits moved) |",
                 "| 32, 8, 1, 1, 0, 0, 2 | 4.00 | E: too large | - | 9.00 |",
                 "its choice is 1.091 times slower"):  # fmt: skip
        assert part in text, part
    assert len(gpu.measured(lines, "this code")) == 12


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None or sys.platform != "linux", reason="needs a C++ compiler on Linux")
@pytest.mark.parametrize(("cell", "way"), [("LSTM", "forward"), ("GRU", "backward")])
def test_the_tuner_launches_the_plans_it_names(gpu, monkeypatch, tmp_path_factory, cell, way):
    """On the emulator, beside the host's kernels in place of those with a launch for each step."""
    from xprnn.kernels.cpu import sequence
    from xprnn.kernels.cuda import launch, persistent, step

    from benchmarks.gpu import tune as gpu_tune

    path = Path(__file__).parents[1] / "kernels" / "cuda" / "test_persistent_emulated.py"
    spec = importlib.util.spec_from_file_location("emulated", path)
    emulated = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(emulated)
    build = emulated.build.__wrapped__ if hasattr(emulated.build, "__wrapped__") else emulated.build._fixture_function
    place = emulated.Emulated(build(tmp_path_factory))
    without = lambda function: lambda *given, precision: function(*given)
    monkeypatch.setattr(step, "forward", without(sequence.forward))
    monkeypatch.setattr(step, "backward", without(sequence.backward))
    monkeypatch.setattr(launch, "facts", lambda: place.facts)
    monkeypatch.setattr(persistent, "_place", lambda precision, backward: place)
    declined = []
    monkeypatch.setattr(persistent, "_reason_against", lambda number, plan: "no" if plan in declined else "")
    monkeypatch.setattr(gpu_tune, "poison", lambda: None)
    monkeypatch.setattr(gpu_tune, "ROUNDS", 2)
    monkeypatch.setattr(gpu_tune, "MOST", 2)
    row = {"what": "tune", "cell": cell, "way": way, "precision": "float32", "B": 3, "H": 9}
    best, other = gpu_tune.promising(row, 12, 65536)
    declined.append(best)

    class Clock:
        def seconds(self, work):
            work()
            return 3e-6

    found = gpu_tune.measure(row, steps=3, xp=np, clock=Clock())
    first, second = found["plans"]
    assert first["error"] == "ValueError: no"
    assert second["measured"] == pytest.approx(1.0)
    assert second["worst"] < 1e-5
    assert not second["moved"]
    assert not found["fatal"]
    assert ("step" in found) == (way == "forward")
    assert place.plans.count(other) == 3
