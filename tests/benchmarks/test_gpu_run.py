"""The parts of benchmarks/gpu.py that need no GPU: what it measures, resuming, workers that fail, tables."""

import json
import math
import subprocess
import sys

import pytest
from gpu_benchmark import FOLDER, Clock, Device, gpu, main

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
    assert {row["precision"] for row in rows if row["what"] == "check"} == {"float32", "tf32", "bf16", "fp16"}
    parts = gpu.gpu_rows.parts()
    rest = [row for row in parts["rest"] if row["what"] == "grid" and row not in parts["first"]]
    assert all(row["precision"] != "fp16" and row["T"] == 128 for row in rest[: len(rest) // 4])
    assert {row["H"] for row in rest[:18]} == {512}


def test_the_first_rows_of_the_grid_are_those_of_the_plan(gpu):
    first = gpu.gpu_rows.parts()["first"]
    assert len(first) == 26
    assert {row["T"] for row in first} == {512}
    lstm = [(row["H"], row["B"]) for row in first if row["cell"] == "LSTM"]
    assert lstm[::4] == [(512, 16), (1024, 64), (1024, 16), (256, 64), (128, 16), (1024, 256)]
    assert all(lstm[k : k + 4] == [lstm[k]] * 4 for k in range(0, 24, 4))
    four = [(row["precision"], row["mode"]) for row in first[:4]]
    assert four == [("float32", "inference"), ("float32", "training"), ("bf16", "inference"), ("bf16", "training")]
    assert [(row["cell"], row["H"], row["B"]) for row in first[24:]] == [("GRU", 512, 16)] * 2


def test_a_part_that_is_unknown_is_named(gpu):
    with pytest.raises(SystemExit, match="--part frist is unknown; expected one of preflight, checks, micro, first"):
        main(gpu, Device(Clock()), "--part", "frist:3")


def test_floors_are_those_of_the_design_notes(gpu):
    import gpu_rows

    def floor(size, batch, precision, mode="inference"):
        return gpu_rows.floor({"cell": "LSTM", "mode": mode, "precision": precision, "B": batch, "H": size})

    assert round(floor(512, 1, "float32"), 1) == 1.1
    assert round(floor(512, 256, "tf32"), 1) == 2.5
    assert floor(512, 16, "bf16", "training") > 2 * floor(512, 16, "bf16")


class Failing(Device):
    """One row hangs, one kind ends the process, and one says why it cannot."""

    def seconds(self, task):
        return math.inf if task.get("name") == "barrier" else super().seconds(task)

    def answer(self, row):
        if row.get("cell") == "GRU" and row.get("mode") == "training":
            return {"error": "the process ended with 3"}
        return {"error": "E: no text"} if row.get("name") == "sentiment" else super().answer(row)


def test_what_was_cut_off_goes_on_and_failures_cost_only_themselves(gpu, tmp_path, capsys):
    wanted = "what=(check|micro|train)|precision=bf16 B=16 H=512 T=128"
    options = ["--only", wanted, "--out", tmp_path / "results", "--processes", 0]
    lines = tmp_path / "results" / "gpu-toy-gpu-1.jsonl"
    assert main(gpu, Failing(Clock()), "--budget", 0, *options) == 0
    assert "No cell of the grid was measured." in capsys.readouterr().out
    assert main(gpu, Failing(Clock()), *options) == 0
    found = gpu.measured(lines, "this code")
    everything = gpu.gpu_rows.rows()
    expected = [row for row in everything if gpu.re.search(wanted, gpu.key(row))]
    assert [gpu.key(row) for row in found] == [gpu.key(row) for row in expected]
    errors = {gpu.key(row): row["error"] for row in found if "error" in row}
    assert errors == {
        "what=micro name=barrier": "no answer within 60 s",
        "what=train name=sentiment precision=float32": "E: no text",
        "what=train name=sentiment precision=bf16": "E: no text",
        "what=grid cell=GRU mode=training precision=bf16 B=16 H=512 T=128": "the process ended with 3",
    }
    assert "# Toy GPU (1), " in capsys.readouterr().out
    text = lines.with_suffix(".md").read_text()
    for part in ("# Toy GPU (1), ", "| bf16 | 3 | 1.50 | 3 of 3 | 3 of 3 |", "1.0e-07 (x)", "E: no", "- thing: 1 us",
                 "| LSTM 16,512,128 | 2.00 (ours) | 3.00 | 1.50 |",
                 f"{len(everything) - len(expected)} rows are not measured yet",
                 "in fp16: 48 of 48; with the same bits each time: 48; declined or failed: 48.",
                 "| characters | bf16 | 2.50 | 25% | 40.00 | 0.50 | - | - | - |", "characters, large, bf16: gemm 75%",
                 "| sentiment | bf16 | - | - | - | - | - | - | E: no text |",
                 "- micro barrier: no answer within 60 s"):  # fmt: skip
        assert part in text, part
    before = lines.read_text()
    with lines.open("a") as file:
        file.write(json.dumps(found[0] | {"code": "older"}) + '\n{"what": "cut o')
    device = Failing(Clock())
    assert main(gpu, device, *options) == 0  # nothing is left to do, and nothing is done twice
    assert device.asked == []
    assert lines.read_text() == before


def test_another_session_goes_on_from_the_results(gpu, monkeypatch, tmp_path):
    options = ["--only", "what=check", "--processes", 0, "--out"]
    assert main(gpu, Device(Clock()), *options, tmp_path / "first") == 0
    monkeypatch.setattr(gpu, "RESULTS", tmp_path / "first")
    device = Device(Clock())
    assert main(gpu, device, *options, tmp_path / "second") == 0
    assert device.asked == []
    assert len(gpu.measured(tmp_path / "second" / "gpu-toy-gpu-1.jsonl", "this code")) == 48


def test_a_path_that_hangs_twice_is_left_out(gpu, tmp_path):
    class Hanging(Device):
        HANGS = ("one",)

    device = Hanging(Clock())
    rows = [{"what": "grid", "B": k} for k in range(4)]
    found = list(gpu.run(device, rows, tmp_path / "rows", "this code", 1000.0, device.clock, gpu.Counter()))
    assert [row.get("hung") for row in found] == ["one", "one", None, None]
    assert found[0]["error"] == "no answer within 30 s"


PROCESS = """
import json, os, sys, threading
for line in sys.stdin:
    row = json.loads(line)
    print(json.dumps({"trying": "one"}), flush=True)
    if row["what"] == "hang":
        threading.Event().wait()
    if row["what"] == "end":
        os._exit(3)
    print(json.dumps({"answer": os.getpid(), "fatal": row["what"] == "break"}), flush=True)
"""


def test_a_process_that_hangs_or_ends_is_replaced(gpu):
    worker = gpu.Worker([sys.executable, "-c", PROCESS], clock=lambda: 1e9 * (worker.trying == "one"))
    assert worker.ask({"what": "hang"}, 7.0) == {"error": "no answer within 7 s, in one", "hung": "one"}
    patient = gpu.Worker([sys.executable, "-c", PROCESS], clock=lambda: 0.0)
    first = patient.ask({"what": "work"}, 7.0)["answer"]
    assert patient.ask({"what": "work"}, 7.0) == {"answer": first}
    assert patient.ask({"what": "end"}, 7.0) == {"error": "the process ended with 3, in one"}
    second = patient.ask({"what": "break"}, 7.0)["answer"]
    assert len({first, second, patient.ask({"what": "work"}, 7.0)["answer"]}) == 3
    patient.stop()


def cell(**paths):
    row = {"what": "grid", "cell": "GRU", "mode": "training", "precision": "float32", "B": 1, "H": 512, "T": 128}
    return row | {"paths": paths, "chosen": "slow"}


def test_a_fast_path_that_is_wrong_is_no_result(gpu):
    import gpu_table

    fast, slow = {"us_step": 1.0, "worst": math.nan, "where": "x"}, {"us_step": 4.0, "worst": 1e-6, "where": "x"}
    row = cell(fast=fast, slow=slow, torch={"us_step": 2.0, "worst": 1e-6})
    assert gpu_table.ours(row) == ("slow", slow)
    assert gpu_table.ratio(row) == 0.5
    assert gpu_table.regret(row) == ("slow", 1.0)
    text = gpu_table.table({"device": "d", "date": "today", "missing": 0, "rows": [row]})
    assert "- grid GRU training float32 1 512 128, fast: WRONG by nan (x)" in text
    assert "| float32 | 1 | 0.50 | 0 of 1 | 1 of 1 |" in text
    nothing = row | {"paths": {"fast": fast, "torch": row["paths"]["torch"]}}  # counts, as not reached
    assert "| float32 | 2 | 0.50 | 0 of 2 | 1 of 2 |" in "\n".join(gpu_table._summary([row, nothing]))
    alone = row | {"paths": {"slow": slow | {"us_step": 1.5}}}
    assert "| float32 | 1 | - | 0 of 0 | 1 of 1 |" in "\n".join(gpu_table._summary([alone]))


def test_the_ratio_is_that_of_what_dispatch_chooses_and_what_it_loses_is_listed(gpu):
    import gpu_table

    fast, slow = {"us_step": 1.0, "worst": 1e-6}, {"us_step": 4.0, "worst": 1e-6}
    row = cell(fast=fast, slow=slow, torch={"us_step": 2.0, "worst": 1e-6})
    assert gpu_table.ratio(row) == 0.5
    assert gpu_table.regret(row) == ("fast", 4.0)
    text = gpu_table.table({"device": "d", "date": "today", "missing": 0, "rows": [row]})
    assert "- grid GRU training float32 1 512 128: slow was chosen, and fast is 4.00 times as fast" in text
    wrong = cell(fast=fast, slow=slow | {"worst": 1.0}, torch={"us_step": 2.0, "worst": 1e-6})
    assert math.isnan(gpu_table.ratio(wrong))
    text = gpu_table.table({"device": "d", "date": "today", "missing": 0, "rows": [wrong]})
    assert "slow was chosen, and fast is the only one of ours that is right" in text
    right = cell(fast=slow, slow=fast)
    assert "should have chosen" not in gpu_table.table({"device": "d", "date": "", "missing": 0, "rows": [right]})


@pytest.mark.parametrize(
    ("worst", "torch", "expected"),
    [(1e-5, 1e-7, False), (3e-5, 1e-7, True), (1e-4, 4e-5, False), (2e-4, 4e-5, True), (3e-5, math.nan, True)],
)
def test_wrong_is_past_the_limit_and_past_three_times_what_pytorch_is_off_by(gpu, worst, torch, expected):
    import gpu_table

    path = {"us_step": 1.0, "worst": worst, "where": "x"}
    assert gpu_table.wrong(cell(slow=path, torch={"us_step": 2.0, "worst": torch}), path) is expected
    assert not gpu_table.wrong(cell(slow=path), path | {"where": "no float64: out of memory", "worst": math.nan})
