"""Measures rows for run.py: reads one as JSON a line, and answers in the same way."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import math
import os
import platform
import sys
from functools import lru_cache
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.gpu.contenders import Arrays, Ours, Torch, control_for, problem
from benchmarks.gpu.measuring import (
    SMALL,
    answers,
    attempt,
    largest,
    on_host,
    poison,
    release,
    same,
    samples,
    trying,
    worst,
)
from benchmarks.gpu.rows import Row

REPEATS = 12  # of each check, to see whether any bit moves


def environment() -> Row:
    """The device and what drives it. Raises where there is none."""
    import cupy

    device = cupy.cuda.Device()
    facts = cupy.cuda.runtime.getDeviceProperties(device.id)
    versions = {name: _version(name) for name in ("numpy", "numba", "torch", "array-api-compat")}
    return {
        "device": facts["name"].decode(),
        "multiprocessors": facts["multiProcessorCount"],
        "capability": device.compute_capability,
        "clock_mhz": device.attributes.get("ClockRate", 0) // 1000,
        "memory_gb": round(facts["totalGlobalMem"] / 1e9, 1),
        "driver": cupy.cuda.runtime.driverGetVersion(),
        "runtime": cupy.cuda.runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
        "cudnn": _cudnn(),
        **versions,
        "python": platform.python_version(),
        "paths": ", ".join(paths({})),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _cudnn() -> str:
    try:
        return str(importlib.import_module("torch").backends.cudnn.version())
    except Exception as error:
        return f"missing ({error})"


def paths(row: Row) -> list[str]:
    """Our implementations that could run on a device, without those that hung in other rows."""
    dispatch = importlib.import_module("xprnn.engine.dispatch")
    others = (*dispatch.HOST, dispatch.SCAN, dispatch.MANY)  # the host's, and what no row has a cell for
    return [
        impl.name for impl in dispatch.IMPLEMENTATIONS if impl not in others and impl.name not in row.get("without", ())
    ]


def measure(row: Row) -> Row:
    """Times, errors and peaks of memory of a cell of the grid, for each path and for PyTorch."""
    import cupy

    training, precision = row["mode"] == "training", row["precision"]
    release()
    arrays = problem(row["cell"], row["T"], row["B"], row["H"], row["H"], seed=row["B"] + row["H"], xp=cupy)
    makers: dict[str, Any] = {"torch": lambda: Torch(row["cell"], arrays, training, precision)}
    for path in paths(row):
        if path != "reference":  # a launch for every elementwise operation: checked, not timed
            makers[path] = lambda path=path: Ours(row["cell"], arrays, training, path, precision)
    exact = attempt(lambda: Torch(row["cell"], arrays, training, "float64").repeat(1))
    contenders, found = {}, {}
    for name, make in makers.items():
        trying(name)
        made = attempt(lambda make=make: {"contender": make()})
        contender = made.pop("contender", None)
        if contender is not None:
            poison()
            made = attempt(lambda c=contender: errors_on_device(c.repeat(1), exact))
        found[name] = made
        if "error" not in made:
            contenders[name] = contender
    exact.clear()
    for name, times in samples(contenders).items():
        found[name] |= {
            "us_step": 1e6 * float(np.median(times)) / row["T"],
            "spread": float(np.subtract(*np.percentile(times, [75, 25])) / 2 / np.median(times)),
        } | attempt(lambda c=contenders[name]: {"peak": c.clock.peak(lambda: c.repeat(1))})
    return {"paths": found}


class _ChosenError(Exception):
    """Carries the name of a path."""


def choice(row: Row, backend: str = "cupy") -> str:
    """The path that dispatch takes for a cell of the grid. Nothing is run."""
    dispatch, xp = (importlib.import_module(name) for name in ("xprnn.engine.dispatch", backend))
    arrays = problem(row["cell"], row["T"], row["B"], row["H"], row["H"], seed=0, xp=xp)

    def stop(call: Any) -> None:
        raise _ChosenError(dispatch.select(call).name)

    contender = Ours(row["cell"], arrays, row["mode"] == "training", "auto", row["precision"], backend=backend)
    try:
        with patch.object(dispatch, "run_forward", stop):
            contender.repeat(1)
    except _ChosenError as chosen:
        return str(chosen)
    raise RuntimeError("dispatch was not asked")


def errors_on_device(found: Arrays, exact: Arrays) -> Row:
    """As :func:`worst`, of arrays that may be large, without bringing them to the host."""
    if "error" in exact:
        return {"worst": math.nan, "where": f"no float64: {exact['error']}"}
    import torch

    pairs = {name: (torch.from_dlpack(array.detach() if hasattr(array, "detach") else array), exact[name])
             for name, array in found.items()}  # fmt: skip
    return largest({name: float((f.double() - e).norm() / e.norm().clamp_min(1e-30)) for name, (f, e) in pairs.items()})


def check(row: Row, backend: str = "cupy") -> Row:
    """Results of every path against float64 in memory that was NaN, and again and again on the same input.

    With control, the layer runs in both directions, with lengths, a mask and resets.
    """
    arrays, control, exact = _exactly(row["cell"], tuple(row["shape"]), row["control"])

    def one(path: str) -> Row:
        trying(path)
        contender = Ours(row["cell"], arrays, True, path, row["precision"], control, backend=backend)
        moved, first = 0, None
        repeats = min(REPEATS, 2) if path == "reference" else REPEATS  # which is slow, and has nothing to race
        for _ in range(repeats):
            poison(SMALL)
            found = contender.repeat(1)
            first = found if first is None else first
            moved += any(not same(first[name], found[name]) for name in found)
        return worst(on_host(first or {}), exact) | {"moved": moved, "repeats": repeats}

    return {"paths": {path: attempt(lambda path=path: one(path)) for path in paths(row)}}


@lru_cache(maxsize=4)  # rows that differ in precision follow each other
def _exactly(cell: str, shape: tuple[int, ...], controlled: bool) -> tuple[Arrays, dict[str, Any] | None, Arrays]:
    """A problem, its control, and its results by the reference engine in float64 on the host."""
    steps, batch, inputs, size = shape
    arrays = problem(cell, steps, batch, inputs, size, seed=steps, directions=2 if controlled else 1)
    control = control_for(arrays) if controlled else None
    exact = Ours(cell, arrays, True, "reference", "float32", control, backend="numpy", dtype="float64")
    return arrays, control, on_host(exact.repeat(1))


def answer(task: Row) -> Row:
    """To one line."""
    if task["what"] == "environment":
        return environment()
    if task["what"] == "micro":
        return {"found": getattr(importlib.import_module("benchmarks.gpu.micro"), task["name"])()}
    if task["what"] == "train":
        release()
        return {"found": importlib.import_module("benchmarks.gpu.train").train(task)}
    if task["what"] == "tune":
        release()
        return dict(importlib.import_module("benchmarks.gpu.tune").measure(task))
    more: Row = {}
    if task["what"] == "grid":
        chosen = attempt(lambda: {"path": choice(task)})
        more = {"chosen": chosen.get("path") or chosen["error"]}
    # Any shape is tried, whatever an estimate says of it.
    with patch.multiple("xprnn.kernels.cuda.persistent", SURELY=math.inf):
        found = check(task) if task["what"] == "check" else measure(task)
    fatal = [path.pop("fatal", False) for path in found["paths"].values()]
    return found | more | {"fatal": any(fatal)}


def main() -> None:
    """Answer until nobody asks."""
    answers.go_to(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)  # libraries print, in C too, and must not answer
    for line in sys.stdin:
        answers.say(attempt(lambda line=line: answer(json.loads(line))))


if __name__ == "__main__":
    main()
