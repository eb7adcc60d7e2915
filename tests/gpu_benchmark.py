"""What the tests of benchmarks.gpu.run share: its modules, a clock that only they move, and a device of that time."""

import math
from pathlib import Path

import pytest

import xprnn

ROOT = Path(xprnn.__file__).parents[1]
FOLDER = ROOT / "benchmarks" / "gpu"
if not FOLDER.exists():
    pytest.skip("these tests run in a checkout", allow_module_level=True)


class Clock:
    """Stands still."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Device:
    """In place of a process that measures: answers made up, and seconds as on an H100."""

    SECONDS = {"environment": 6.0, "check": 0.6, "micro": 3.0, "train": 6.0, "grid": 4.0, "tune": 2.0}
    HANGS = ()  # paths that do

    def __init__(self, clock):
        self.clock, self.asked, self.limits = clock, [], []

    def ask(self, task, limit):
        """As gpu.Worker, in no time."""
        from benchmarks.gpu import rows as gpu_rows

        if task["what"] != "environment":
            self.asked.append(gpu_rows.key(task))
            self.limits.append(limit)
        hung = [path for path in self.HANGS if path not in task.get("without", ()) and task["what"] == "grid"]
        took = math.inf if hung else self.seconds(task)
        self.clock.now += min(took, limit)
        if took > limit:
            return {"error": f"no answer within {limit:.0f} s"} | ({"hung": hung[0]} if hung else {})
        return self.answer(task)

    def seconds(self, task):
        return self.SECONDS[task["what"]]

    def answer(self, row):
        """Something of each kind."""
        if row["what"] == "environment":
            return {"device": "Toy GPU (1)", "cupy": "0"}
        if row["what"] == "micro":
            return {"found": {"thing": "1 us"}}
        if row["what"] == "train":
            return {"found": {"ms": 2.5, "busy": 0.25, "kernels": 40.0, "to host": 0.5, "most": {"gemm": 0.75}}}
        if row["what"] == "check":
            ours = {"worst": 1e-7, "where": "x", "moved": 0, "repeats": 2}
            return {"paths": {"ours": ours, "other": {"error": "E: no"}}}
        if row["what"] == "grid":
            ours = {"us_step": 2.0, "worst": 1e-7, "peak": 5000000}
            peer = {"us_step": 3.0, "worst": 1e-6, "peak": 7000000}
            return {"paths": {"ours": ours, "torch": peer}, "chosen": "ours"}
        plan = {
            "backward": row["way"] == "backward", "cell": "Lstm", "number": "Bf16", "units": 8, "inner": 512,
            "warps": 8, "sides": 1, "held": 1, "tiles": 1, "cluster": 0, "polls": 0, "blocks": 64,
            "groups": 2, "group_rows": 8,
        }  # fmt: skip
        plans = [
            {"plan": plan, "predicted": 2.0, "measured": 3.0, "worst": 1e-3, "moved": False},
            {"plan": plan | {"units": 16}, "predicted": 2.5, "measured": 2.75, "worst": 1e-3, "moved": True},
            {"plan": plan | {"units": 32}, "predicted": 4.0, "error": "E: too large"},
        ]
        return {"plans": plans} | ({"step": {"measured": 9.0}} if row["way"] == "forward" else {})

    def stop(self):
        pass


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.gpu import run

    monkeypatch.setattr(run, "code_digest", lambda: "this code")
    monkeypatch.setattr(run, "RESULTS", tmp_path / "no results")  # of earlier sessions
    return run


def main(gpu, device, *arguments):
    """The benchmark, with a device."""
    return gpu.main([*map(str, arguments)], worker=device, clock=device.clock)
