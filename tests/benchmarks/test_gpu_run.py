"""The parts of benchmarks/gpu.py that need no GPU: what it measures, resuming, workers that fail, tables, sessions."""

import json
import math
import os
import shutil
import subprocess
import sys

import pytest
from gpu_benchmark import FOLDER, WORKER, gpu, main

__all__ = ["gpu"]


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
    rows = gpu.gpu_rows.rows()
    grid = [row for row in rows if row["what"] == "grid"]
    assert len({gpu.key(row) for row in rows}) == len(rows)
    assert len(grid) == 4 * 4 * 2 * 2 * 2 * 4
    assert [row["what"] for row in rows] == sorted(
        (row["what"] for row in rows), key=["check", "micro", "train", "grid"].index
    )
    assert {row["precision"] for row in rows if row["what"] == "check"} == {"float32", "tf32", "bf16", "fp16"}
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
    wanted = "what=(check|micro|train)|precision=bf16 B=16 H=512 T=128"
    options = ["--only", wanted, "--out", tmp_path / "results", "--processes", 0, "--worker", sys.executable, worker]
    assert main(gpu, monkeypatch, "--budget", 0, *options) == 0
    lines = tmp_path / "results" / "gpu-toy-gpu-1.jsonl"
    assert "No cell of the grid was measured." in capsys.readouterr().out
    assert main(gpu, monkeypatch, *options) == 0
    found = gpu.measured(lines, "this code")
    everything = gpu.gpu_rows.rows()
    expected = [row for row in everything if gpu.re.search(wanted, gpu.key(row))]
    assert [gpu.key(row) for row in found] == [gpu.key(row) for row in expected]
    errors = {gpu.key(row): row["error"] for row in found if "error" in row}
    assert errors == {
        "what=micro name=barrier": "no answer within 5 s",
        "what=train name=sentiment precision=float32": "E: no text",
        "what=train name=sentiment precision=bf16": "E: no text",
        "what=grid cell=GRU mode=training precision=bf16 B=16 H=512 T=128": "the process ended with 3",
    }
    text = capsys.readouterr().out
    for part in ("# Toy GPU (1), ", "| bf16 | 3 | 1.50 | 3 of 3 | 3 of 3 |", "1.0e-07 (x)", "E: no", "- thing: 1 us",
                 "| LSTM 16,512,128 | 2.00 (ours) | 3.00 | 1.50 |", "rows are not measured yet",
                 "in fp16: 64 of 64; with the same bits each time: 64; declined or failed: 64.",
                 "| characters | bf16 | 2.50 | 25% | 40.00 | 0.50 | - | - | - |", "characters, large, bf16: gemm 75%",
                 "| sentiment | bf16 | - | - | - | - | - | - | E: no text |",
                 "- micro barrier: no answer within 5 s"):  # fmt: skip
        assert part in text, part
    report = json.loads((tmp_path / "results" / "gpu-toy-gpu-1.json").read_text())
    assert report["missing"] == len(everything) - len(expected)
    before = lines.read_text()
    with lines.open("a") as file:
        file.write(json.dumps(found[0] | {"code": "older"}) + '\n{"what": "cut o')
    assert main(gpu, monkeypatch, *options) == 0  # nothing is left to do, and nothing is done twice
    assert lines.read_text() == before


HANGING = """
import json, sys, time
for line in sys.stdin:
    row = json.loads(line)
    for path in ("torch", "one", "two"):
        if path not in row["without"]:
            print(json.dumps({"trying": path}), flush=True)
            time.sleep(60 if path == "one" else 0.1)
    print(json.dumps({"paths": {}}), flush=True)
"""


def test_a_path_that_hangs_twice_is_left_out(gpu, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "ROW_SECONDS", 1.0)
    worker = gpu.Worker([sys.executable, "-c", HANGING])
    rows = [{"what": "grid", "B": k} for k in range(4)]
    found = list(gpu.run(worker, rows, tmp_path / "rows", "this code", 30.0))
    worker.stop()
    assert [row.get("hung") for row in found] == ["one", "one", None, None]
    assert found[0]["error"] == "no answer within 1 s, in one"
    assert found[2] == {"what": "grid", "B": 2, "paths": {}, "code": "this code"}


def test_a_fast_path_that_is_wrong_is_no_result(gpu):
    import gpu_table

    fast, slow = {"us_step": 1.0, "worst": math.nan, "where": "x"}, {"us_step": 4.0, "worst": 1e-6, "where": "x"}
    row = {"what": "grid", "cell": "GRU", "mode": "training", "precision": "float32", "B": 1, "H": 512, "T": 128}
    row["paths"] = {"fast": fast, "slow": slow, "torch": {"us_step": 2.0, "worst": 1e-6}}
    assert gpu_table.best(row) == ("slow", slow)
    assert gpu_table.ratio(row) == 0.5
    text = gpu_table.table({"device": "d", "date": "today", "missing": 0, "rows": [row]})
    assert "- grid GRU training float32 1 512 128, fast: WRONG by nan (x)" in text
    assert "| float32 | 1 | 0.50 | 0 of 1 | 1 of 1 |" in text
    unknown = row | {"paths": {"fast": fast | {"where": "no float64: out of memory"}}}
    assert gpu_table.best(unknown)[0] == "fast"
    nothing = row | {"paths": {"fast": fast, "torch": row["paths"]["torch"]}}  # counts, as not reached
    assert "| float32 | 2 | 0.50 | 0 of 2 | 1 of 2 |" in "\n".join(gpu_table._summary([row, nothing]))
    alone = row | {"paths": {"slow": slow | {"us_step": 1.5}}}
    assert "| float32 | 1 | - | 0 of 0 | 1 of 1 |" in "\n".join(gpu_table._summary([alone]))


PYTHON = """#!/bin/sh
echo "python $*"
case "$*" in
*"-m pytest"*) exec sleep 60 ;;
*--tune*) exit 3 ;;
*gpu.py*) echo "# Toy GPU" ; ls "$OUT" "$CUPY_CACHE_DIR" ; touch "$CUPY_CACHE_DIR/new" ; echo "path $PYTHONPATH" ;;
esac
"""


@pytest.mark.skipif(shutil.which("timeout") is None or shutil.which("tar") is None, reason="needs a POSIX system")
def test_a_session_goes_through_all_of_it(tmp_path):
    """Past what fails and what does not end, from the files of an earlier session, and leaves those for the next."""
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    script = tmp_path / "benchmarks" / "gpu_session.sh"
    script.write_bytes((FOLDER / script.name).read_bytes())
    (tmp_path / "benchmarks" / "results" / "gpu-toy.jsonl").write_text("{}\n")
    (tmp_path / ".gpu" / "cupy").mkdir(parents=True)
    (tmp_path / ".gpu" / "cupy" / "old.cubin").write_text("")
    carried, out, python = tmp_path / ".gpu", tmp_path / "out", tmp_path / "python"
    subprocess.run(["tar", "-czf", "cache.tar.gz", "cupy"], cwd=carried, check=True)
    (carried / "some-1.whl").write_text("")
    python.write_text(PYTHON)
    python.chmod(0o755)
    wanted = {"OUT": str(out), "PYTHON": str(python), "TESTS": "1", "GRID": "5", "TOTAL": "58"}
    done = subprocess.run(["bash", str(script)], env=os.environ | wanted, capture_output=True, text=True, check=True)
    said = done.stdout
    assert said == (out / "gpu-session.log").read_text()
    assert "== ended with 124" in said, "tests that hang"
    assert "== ended with 3" in said, "a tuner that fails"
    for part in ("python -m pytest tests/gpu -m", "--budget 5", "# Toy GPU", "gpu-toy.jsonl", "old.cubin",
                 f"path {carried / 'some-1.whl'}"):  # fmt: skip
        assert part in said, part
    listed = subprocess.run(["tar", "-tzf", str(out / "cache.tar.gz")], capture_output=True, text=True, check=True)
    assert {"cupy/old.cubin", "cupy/new"} <= set(listed.stdout.split())
