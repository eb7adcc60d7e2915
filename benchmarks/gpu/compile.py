"""Compiles the kernels that rows need in many processes at once, into the caches on disk, before anything is measured.

The worker would compile each at its first use, one after the other: 0.5 to 2 s for each of some hundreds. What fails
here, or is cut off, is compiled there. CuPy writes each file of its cache under a temporary name first, so that no
process reads half of one.
"""

from __future__ import annotations

import importlib
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.gpu import tune as gpu_tune
from benchmarks.gpu.rows import Row

Job = tuple[Any, ...]
COMMAND = [sys.executable, "-m", "benchmarks.gpu.compile"]
"""A kernel's file, name and options; or the name of a step's kernel and a dtype."""
POINTWISE = ("lstm_forward", "float32")  # or any other: they are one text


def jobs(rows: Iterable[Row], *device: int) -> list[Job]:
    """What the rows need on a device, in their order, each once."""
    persistent, found = importlib.import_module("xprnn.kernels.cuda.persistent"), dict[Job, None]()
    for row in rows:
        if row["what"] not in ("grid", "check", "tune"):
            continue
        cell, precision = gpu_tune.CELLS[row["cell"]], row["precision"]
        batch, size = (row["shape"][1], row["shape"][3]) if "shape" in row else (row["B"], row["H"])
        ways = 1 if row.get("mode") == "inference" else 2
        with patch.object(persistent, "SURELY", math.inf):  # as the worker has it
            both = persistent._plans(cell, precision, batch, size, *device)
        plans = [] if isinstance(both, str) else list(both[:ways])
        if row["what"] == "tune":
            plans += gpu_tune.promising(row, *device)
        found[POINTWISE] = None
        for plan in plans:
            found[plan.source, plan.name, plan.options] = None
    return list(found)


def compile_one(job: Job) -> str:
    """In a process of the pool; why it failed, or nothing."""
    try:
        launch = importlib.import_module("xprnn.kernels.cuda.launch")
        if len(job) == 2:
            _ = launch.loaded(*job).num_regs
        else:
            importlib.import_module("xprnn.kernels.cuda.persistent")._kernel(launch.facts().number, *job)
    except Exception as error:  # a compiler raises what it likes, and the worker will say it of the row
        return f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return ""


def ahead(
    rows: list[Row], processes: int, seconds: float, root: Path, clock: Callable[[], float] = time.monotonic
) -> str:
    """Compile in so many processes for so long at the most; what came of it, in words."""
    start = clock()
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [*COMMAND, str(processes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=True,
    )
    try:
        said = _said(process, json.dumps(rows), lambda: clock() >= start + seconds).strip()
    finally:
        _end(process)
    last = said.splitlines()[-1] if said else "nothing was compiled"
    return f"{last}, in {clock() - start:.0f} s with {processes} processes"


def _said(process: subprocess.Popen[str], text: str, over: Callable[[], bool]) -> str:
    """What it answers; until the time is over, and then it is ended."""
    given: str | None = text
    while True:
        try:
            return process.communicate(given, timeout=0.05)[0]
        except subprocess.TimeoutExpired:
            given = None  # it has been sent
            if over():
                _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """And those of its pool."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    """Rows as JSON on the standard input; a line for each kernel that is done on the output."""
    launch = importlib.import_module("xprnn.kernels.cuda.launch")
    facts = launch.facts()
    todo = jobs(json.load(sys.stdin), facts.multiprocessors, facts.shared_memory, facts.largest_cluster)
    failed = 0
    spawning = multiprocessing.get_context("spawn")  # a forked process has no use of a device
    with ProcessPoolExecutor(min(int(sys.argv[1]), len(todo) or 1), spawning) as pool:
        for done, future in enumerate(as_completed([pool.submit(compile_one, job) for job in todo]), 1):
            if reason := future.result():
                failed += 1
                print(f"compile.py: {reason}", file=sys.stderr, flush=True)
            print(f"{done} of {len(todo)} kernels compiled, {failed} of them failed", flush=True)


if __name__ == "__main__":
    main()
