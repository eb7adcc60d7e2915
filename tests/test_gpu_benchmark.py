"""The parts of benchmarks/gpu.py that need no GPU: what it measures, resuming, workers that fail, and the tables."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import xprnn

FOLDER = Path(xprnn.__file__).parents[1] / "benchmarks"
if not FOLDER.exists():
    pytest.skip("these tests run in a checkout", allow_module_level=True)

WORKER = """
import json, os, sys, time
for line in sys.stdin:
    row = json.loads(line)
    if row["what"] == "environment":
        answer = {"device": "Toy GPU (1)", "cupy": "0"}
    elif row.get("cell") == "GRU" and row.get("mode") == "training":
        os._exit(3)
    elif row["what"] == "micro" and row["name"] == "barrier":
        time.sleep(60)
    elif row["what"] == "micro":
        answer = {"found": {"thing": "1 us"}}
    elif row["what"] == "check":
        ours = {"worst": 1e-7, "where": "x", "moved": 0, "repeats": 2}
        answer = {"paths": {"ours": ours, "other": {"error": "E: no"}}}
    else:
        ours = {"us_step": 2.0, "worst": 1e-7, "peak": 5000000}
        answer = {"paths": {"ours": ours, "torch": {"us_step": 3.0, "worst": 1e-6, "peak": 7000000}}}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import gpu

    monkeypatch.setattr(gpu, "ROW_SECONDS", 5.0)
    monkeypatch.setattr(gpu, "code_digest", lambda: "this code")
    return gpu


def main(gpu, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["gpu.py", *map(str, arguments)])
    return gpu.main()


def test_without_a_gpu_it_says_so(tmp_path):
    try:
        import cupy

        if cupy.cuda.is_available():
            pytest.skip("there is a GPU")
    except ImportError:
        pass
    done = subprocess.run(
        [sys.executable, str(FOLDER / "gpu.py"), "--out", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "gpu.py: no GPU to measure: " in done.stderr
    assert not list(tmp_path.iterdir())


def test_rows_cover_the_grid_once_and_matter_most_first(gpu):
    rows = gpu.rows()
    grid = [row for row in rows if row["what"] == "grid"]
    assert len({gpu.key(row) for row in rows}) == len(rows)
    assert len(grid) == 4 * 4 * 2 * 2 * 2 * 4
    assert [row["what"] for row in rows] == sorted((row["what"] for row in rows), key=["check", "micro", "grid"].index)
    first = grid[: len(grid) // 4]
    assert all(row["precision"] != "fp16" and row["T"] == 128 for row in first)
    assert {row["H"] for row in grid[:18]} == {512}


def test_floors_are_those_of_the_design_notes(gpu):
    import gpu_rows

    def floor(size, batch, precision, mode="inference"):
        return gpu_rows.floor({"cell": "LSTM", "mode": mode, "precision": precision, "B": batch, "H": size})

    assert round(floor(512, 1, "float32"), 1) == 1.1
    assert round(floor(512, 256, "tf32"), 1) == 2.5
    assert floor(512, 16, "bf16", "training") > 2 * floor(512, 16, "bf16")


def test_what_was_cut_off_goes_on_and_failures_cost_only_themselves(gpu, monkeypatch, tmp_path, capsys):
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    wanted = "what=(check|micro)|precision=bf16 B=16 H=512 T=128"
    options = ["--only", wanted, "--out", tmp_path / "results", "--worker", sys.executable, worker]
    assert main(gpu, monkeypatch, "--budget", 0, *options) == 0
    lines = tmp_path / "results" / "gpu-toy-gpu-1.jsonl"
    assert "No cell of the grid was measured." in capsys.readouterr().out
    assert main(gpu, monkeypatch, *options) == 0
    found = gpu.measured(lines, "this code")
    expected = [row for row in gpu.rows() if gpu.re.search(wanted, gpu.key(row))]
    assert [gpu.key(row) for row in found] == [gpu.key(row) for row in expected]
    errors = {gpu.key(row): row["error"] for row in found if "error" in row}
    assert errors == {
        "what=micro name=barrier": "no answer within 5 s",
        "what=grid cell=GRU mode=training precision=bf16 B=16 H=512 T=128": "the process ended with 3",
    }
    text = capsys.readouterr().out
    for part in ("# Toy GPU (1), ", "| bf16 | 3 | 1.50 | 3 of 3 | 3 of 3 |", "1.0e-07 (x)", "E: no", "- thing: 1 us",
                 "| LSTM 16,512,128 | 2.00 (ours) | 3.00 | 1.50 |", "rows are not measured yet",
                 "- micro barrier: no answer within 5 s"):  # fmt: skip
        assert part in text, part
    report = json.loads((tmp_path / "results" / "gpu-toy-gpu-1.json").read_text())
    assert report["missing"] == len(gpu.rows()) - len(expected)
    before = lines.read_text()
    with lines.open("a") as file:
        file.write(json.dumps(found[0] | {"code": "older"}) + '\n{"what": "cut o')
    assert main(gpu, monkeypatch, *options) == 0  # nothing is left to do, and nothing is done twice
    assert lines.read_text() == before


def test_the_worker_checks_and_times(gpu, monkeypatch):
    import gpu_worker

    monkeypatch.setattr(gpu_worker, "REPEATS", 2)
    monkeypatch.setattr(gpu_worker, "poison", lambda: None)
    monkeypatch.setattr(gpu_worker, "paths", lambda: ["compiled", "nonsense"])
    for control in (False, True):
        row = {"what": "check", "cell": "GRU", "precision": "float32", "shape": [4, 3, 2, 6], "control": control}
        paths = gpu_worker.check(row, backend="numpy")["paths"]
        assert paths["compiled"]["worst"] < 1e-5
        assert paths["compiled"]["moved"] == 0
        assert "nonsense" in paths["nonsense"]["error"]
    assert math.isnan(gpu_worker.worst({"a": np.array([np.nan])}, {"a": np.ones(1)})["worst"])
    assert gpu_worker.attempt(lambda: 1 / 0) == {"error": "ZeroDivisionError: division by zero", "fatal": False}

    class Toy:
        def __init__(self, cost):
            self.clock, self.cost, self.runs = self, cost, 0

        def repeat(self, times):
            self.runs = times

        def seconds(self, work):
            work()
            return self.runs * self.cost

    times = gpu_worker.samples({"slow": Toy(0.5), "fast": Toy(1e-4)})
    assert np.allclose(times["slow"], 0.5)
    assert np.allclose(times["fast"], 1e-4)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_contenders_compute_the_same(gpu, cell):
    pytest.importorskip("torch")
    import gpu_contenders
    import gpu_worker

    arrays = gpu_contenders.problem(cell, 5, 3, 4, 7, seed=0)
    exact = gpu_contenders.Torch(cell, arrays, True, "float64", "cpu").repeat(1)
    ours = gpu_contenders.Ours(cell, arrays, True, "compiled", "float32", backend="numpy").repeat(2)
    theirs = gpu_contenders.Torch(cell, arrays, True, "bf16", "cpu").repeat(2)
    assert ours.keys() == theirs.keys() == exact.keys() == {"output", "x", *gpu_contenders.names(1)}
    assert gpu_worker.errors_on_device(ours, exact)["worst"] < 1e-5
    assert 1e-4 < gpu_worker.errors_on_device(theirs, exact)["worst"] < 0.1
    for training in (False, True):
        output = gpu_contenders.Ours(cell, arrays, training, "compiled", "float32", backend="numpy").repeat(1)["output"]
        assert np.array_equal(output, ours["output"])


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_the_kernel_that_times_the_barrier_compiles(gpu, tmp_path):
    import gpu_micro
    from xprnn.kernels.cuda import source

    (tmp_path / "meet.cu").write_text("\n".join(source.expanded(gpu_micro.BARRIER, set())))
    command = ["nvcc", "-arch=sm_80", "-std=c++17", "-cubin", "-o", str(tmp_path / "meet.cubin")]
    subprocess.run([*command, str(tmp_path / "meet.cu")], check=True)
