"""What the minutes on a lent GPU go to, in two calls: bash benchmarks/gpu_session.sh 1, and then 2. See README.md.

A call is a list of stages, each with a limit of its own, and nothing stops at a failure. What is measured is in files
as soon as it is there, and whoever comes next measures what is missing. A stage is ended as Ctrl-C does, so that it
says what it has seen, and killed where that does not help.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
TOTAL = {1: 260.0, 2: 420.0}  # seconds of each call
PACKING = 10.0  # of them, at the end
GRACE = 10.0  # from the signal that a stage may answer to the one that it may not
WRITING, FITTING = 5.0, 15.0  # of a stage that measures, for its last table; and for what plans say of constants
LEAST = 25.0  # a stage that would get less is left out


class Stage(NamedTuple):
    """What runs for so long at the most; the command depends on the seconds that it gets."""

    name: str
    seconds: float
    command: Callable[[float], list[str]]


def stages(call: int, out: Path, python: str = sys.executable) -> list[Stage]:
    """Of a call, most important first."""
    gpu = [python, str(HERE / "gpu.py"), "--out", str(out)]

    def measure(*parts: str, compiling: int = 20) -> Callable[[float], list[str]]:
        """Parts of gpu_rows.py with their seconds; the last one gets what is left."""
        *fixed, last = parts
        used = WRITING + sum(float(part.partition(":")[2]) for part in fixed)

        def command(seconds: float) -> list[str]:
            named = [*fixed, f"{last}:{seconds - used:.0f}"]
            return [*gpu, "--compiling", str(compiling), *(f"--part={part}" for part in named)]

        return command

    if call == 1:
        first = measure("preflight:15", "checks:40", "micro:10", "first")
        return [Stage("the device", LEAST, lambda _: ["nvidia-smi"]), Stage("right, and how fast", 250.0, first)]
    return [
        Stage("tests", 110.0, lambda _: tests(out, python)),
        Stage("the rest of the grid", 180.0, measure("rest", compiling=40)),
        Stage("plans", 90.0, lambda seconds: [*gpu, "--tune", "--budget", f"{seconds - FITTING:.0f}"]),
        Stage("training, graphs", 120.0, measure("last")),
        Stage("memory of the persistent kernels", 120.0, lambda _: memory(python)),
    ]


def tests(out: Path, python: str) -> list[str]:
    """tests/gpu, side by side and past what hangs where pytest can. Some failures say more than the first."""
    more = ["-n", "8"] if importlib.util.find_spec("xdist") else []
    if importlib.util.find_spec("pytest_timeout"):
        more += ["--timeout", "60", "--timeout-method", "thread"]
    return [
        python, "-m", "pytest", "tests/gpu", "-m", "gpu and not slow", "-q", "--maxfail=10", "--tb=short",
        f"--junitxml={out / 'tests.xml'}", "-p", "no:cacheprovider", *more,
    ]  # fmt: skip


def memory(python: str) -> list[str]:
    """Some of them under NVIDIA's checker, without CuPy's pool: in there, it sees nothing."""
    chosen = "in_float64 and persistent and 33-17-20-130 and float32 and not peephole and (lstm or gru)"
    return [
        "compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9", python, "-m", "pytest",
        "tests/gpu/test_paths.py", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "gpu_no_pool", "-k", chosen,
    ]  # fmt: skip


def run(
    call: int,
    out: Path,
    execute: Callable[[list[str]], int] = lambda command: subprocess.run(command, check=False).returncode,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Go through a call."""
    start = clock()
    for stage in stages(call, out):
        passed = clock() - start
        seconds = min(stage.seconds, TOTAL[call] - PACKING - passed) - GRACE
        print(f"\n== {stage.name}, after {passed:.0f} s", flush=True)
        if seconds < LEAST - GRACE:
            print("== left out: no time is left", flush=True)
            continue
        status = execute(["timeout", "-s", "INT", "-k", f"{GRACE:.0f}", f"{seconds:.0f}", *stage.command(seconds)])
        if status:
            print(f"== ended with {status}", flush=True)


if __name__ == "__main__":
    run(int(sys.argv[1]), Path(sys.argv[2]))
