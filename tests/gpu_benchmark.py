"""What the tests of benchmarks/gpu.py share: its modules, and a worker that needs no GPU."""

import sys
from pathlib import Path

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
    elif row["what"] == "train" and row["name"] == "sentiment":
        answer = {"error": "E: no text"}
    elif row["what"] == "train":
        answer = {"found": {"ms": 2.5, "busy": 0.25, "kernels": 40.0, "to host": 0.5, "most": {"gemm": 0.75}}}
    elif row["what"] == "tune":
        plan = dict(backward=row["way"] == "backward", cell="Lstm", number="Bf16", units=8, inner=512, warps=8, held=1,
                    tiles=1, blocks=64, groups=2, group_rows=8)
        plans = [{"plan": plan, "predicted": 2.0, "measured": 3.0, "worst": 1e-3, "moved": False},
                 {"plan": plan | {"units": 16}, "predicted": 2.5, "measured": 2.75, "worst": 1e-3, "moved": True},
                 {"plan": plan | {"units": 32}, "predicted": 4.0, "error": "E: too large"}]
        answer = {"plans": plans} | ({"step": {"measured": 9.0}} if row["way"] == "forward" else {})
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
