"""Measures rows for gpu.py: reads one as JSON a line, and answers in the same way."""

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
from gpu_contenders import Arrays, Ours, Torch, control_for, problem
from gpu_rows import Row

ROUNDS, SAMPLE = 7, 0.004  # samples of each contender in turns, each of so many seconds at least
REPEATS = 10  # of each check, to see whether any bit moves
LARGE, SMALL = 28, 24  # see poison
STICKY = ("illegal", "misaligned", "launch failure", "unspecified", "cudaErrorLaunch", "hardware", "ECC")


def environment() -> Row:
    """The device and what drives it. Raises where there is none."""
    import cupy

    device = cupy.cuda.Device()
    facts = cupy.cuda.runtime.getDeviceProperties(device.id)
    versions = {name: _version(name) for name in ("numpy", "numba-cuda", "torch", "array-api-compat")}
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
    dispatch, left_out = importlib.import_module("xprnn.engine.dispatch"), ("compiled", *row.get("without", ()))
    return [impl.name for impl in dispatch.IMPLEMENTATIONS if impl.name not in left_out]


_answers: Any = None  # where main answers


def trying(path: str) -> None:
    """Say what runs next, so that it is known what hung."""
    if _answers is not None:
        _answers.write(json.dumps({"trying": path}) + "\n")
        _answers.flush()


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


def errors_on_device(found: Arrays, exact: Arrays) -> Row:
    """As :func:`worst`, of arrays that may be large, without bringing them to the host."""
    if "error" in exact:
        return {"worst": math.nan, "where": f"no float64: {exact['error']}"}
    import torch

    pairs = {name: (torch.from_dlpack(array.detach() if hasattr(array, "detach") else array), exact[name])
             for name, array in found.items()}  # fmt: skip
    return largest({name: float((f.double() - e).norm() / e.norm().clamp_min(1e-30)) for name, (f, e) in pairs.items()})


def samples(contenders: dict[str, Any]) -> dict[str, list[float]]:
    """Seconds of a run, sample by sample in turns, so that a slow moment of the device hits all."""
    counts = {}
    for name, contender in contenders.items():
        contender.repeat(3)
        once = contender.clock.seconds(lambda c=contender: c.repeat(1))
        counts[name] = max(1, math.ceil(SAMPLE / max(once, 1e-6)))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, contender in contenders.items():
            trying(name)
            count = counts[name]
            times[name].append(contender.clock.seconds(lambda c=contender, n=count: c.repeat(n)) / count)
    return times


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


def on_host(arrays: Arrays) -> Arrays:
    """In float64."""
    to_numpy = importlib.import_module("xprnn").backend.to_numpy
    return {name: to_numpy(array).astype("float64") for name, array in arrays.items()}


def same(a: Any, b: Any) -> bool:
    """Whether two arrays are equal, NaN where NaN is; they stay on their device."""
    return bool(((a == b) | ((a != a) & (b != b))).all())


def worst(found: Arrays, exact: Arrays, xp: Any = np) -> Row:
    """The largest relative error of any result, in the Euclidean norm, and of which; arrays of xp."""

    def norm(array: Any) -> float:
        return float(xp.sqrt(xp.sum(xp.square(array), dtype="float64")))

    return largest({name: norm(found[name] - exact[name]) / max(norm(exact[name]), 1e-30) for name in exact})


def largest(errors: dict[str, float]) -> Row:
    """NaN is larger than anything."""
    where = max(errors, key=lambda name: math.inf if math.isnan(errors[name]) else errors[name])
    return {"worst": errors[where], "where": where}


def release() -> None:
    """Give back what CuPy's and PyTorch's pools hold: each may need what the other keeps."""
    import cupy

    cupy.get_default_memory_pool().free_all_blocks()
    if "torch" in sys.modules:
        sys.modules["torch"].cuda.empty_cache()


def poison(most: int = LARGE) -> None:
    """Fill what CuPy's pool gives out next with NaN: blocks of 2**most numbers and less."""
    import cupy

    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    sizes = [size for size in (28, 26, 24, 22, 22, 20, 20, 18, 18, 16, 16, 14, 12, 10) if size <= most]
    held = [cupy.full(1 << size, cupy.nan, "float32") for size in sizes]
    del held


def attempt(work: Any) -> Row:
    """What it gives, or its error as a line."""
    try:
        return work()
    except Exception as error:  # any path may fail in any way, and the others go on
        text = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        return {"error": text, "fatal": any(word.lower() in text.lower() for word in STICKY)}


def answer(task: Row) -> Row:
    """To one line."""
    if task["what"] == "environment":
        return environment()
    if task["what"] == "micro":
        return {"found": getattr(importlib.import_module("gpu_micro"), task["name"])()}
    if task["what"] == "train":
        release()
        return {"found": importlib.import_module("gpu_train").train(task)}
    if task["what"] == "tune":
        release()
        return dict(importlib.import_module("gpu_tune").measure(task))
    # Any shape is tried, whatever an estimate says of it.
    with patch.multiple("xprnn.kernels.cuda.persistent", SURELY=math.inf):
        found = check(task) if task["what"] == "check" else measure(task)
    fatal = [path.pop("fatal", False) for path in found["paths"].values()]
    return found | {"fatal": any(fatal)}


def main() -> None:
    """Answer until nobody asks."""
    global _answers
    _answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print, in C too, and must not answer
    for line in sys.stdin:
        _answers.write(json.dumps(attempt(lambda line=line: answer(json.loads(line)))) + "\n")
        _answers.flush()


if __name__ == "__main__":
    sys.modules["gpu_worker"] = sys.modules["__main__"]  # what others import is this, not a second one
    main()
