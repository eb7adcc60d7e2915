"""What every measurement shares: results compared, memory that was NaN, errors as lines, samples in turns, and answers.

run.py reads the answers of the process that measures; here is where they go.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

from benchmarks.gpu.contenders import Arrays
from benchmarks.gpu.rows import Row

ROUNDS, SAMPLE = 7, 0.004  # samples of each contender in turns, each of so many seconds at least
LARGE, SMALL = 28, 24  # see poison
STICKY = ("illegal", "misaligned", "launch failure", "unspecified", "cudaErrorLaunch", "hardware", "ECC")


class Answers:
    """Lines of JSON to whoever asked; nowhere until a stream is given."""

    def __init__(self) -> None:
        self._stream: TextIO | None = None

    def go_to(self, stream: TextIO) -> None:
        """From now on."""
        self._stream = stream

    def say(self, answer: Row) -> None:
        """One line, at once."""
        if self._stream is not None:
            self._stream.write(json.dumps(answer) + "\n")
            self._stream.flush()


answers = Answers()


def trying(path: str) -> None:
    """Say what runs next, so that it is known what hung."""
    answers.say({"trying": path})


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


def attempt(work: Callable[[], Any]) -> Row:
    """What it gives, or its error as a line."""
    try:
        return work()
    except Exception as error:  # any path may fail in any way, and the others go on
        text = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        return {"error": text, "fatal": any(word.lower() in text.lower() for word in STICKY)}
