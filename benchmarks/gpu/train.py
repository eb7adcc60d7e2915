"""Training from end to end: milliseconds a step, how busy the GPU is, and what each step launches and waits for.

The texts are drawn here, so that the models have the sizes of README.md without any file: characters from a process of
order 2, and sentences of about 21 words, some of which decide the label.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from gpu_rows import Row
from gpu_trace import meter

import xprnn
from xprnn.estimators import CharacterModel, TextClassifier
from xprnn.train import Callback

WARM, TIMED, TRACED = 30, 60, 30  # steps, all of them within one epoch
LARGE = {"hidden": 1024, "chunk": 128, "batch_size": 128}


class EnoughError(Exception):
    """Ends a fit of which enough was seen."""


class Watch(Callback):
    """Times some steps, counts in some more, and ends the fit."""

    def __init__(self, counter: Any, synchronize: Callable[[], None], steps: tuple[int, int, int]) -> None:
        self._counter, self._synchronize, self._steps, self._done = counter, synchronize, steps, 0
        self.seconds, self.counts = 0.0, dict[str, Any]()

    def on_batch_end(self, run: Any) -> None:
        warm, timed, traced = self._steps
        self._done += 1
        if self._done == warm:
            self._synchronize()
            self.seconds = -time.perf_counter()
        elif self._done == warm + timed:
            self._synchronize()
            self.seconds += time.perf_counter()
            self._counter.start()
        elif self._done == warm + timed + traced:
            self.counts = self._counter.stop(traced, self._synchronize)
            raise EnoughError


def train(row: Row, backend: str = "cupy", steps: tuple[int, int, int] = (WARM, TIMED, TRACED)) -> Row:
    """A model's training: ``ms`` a step without the profiler, ``busy``, and the counts of a step."""
    watch = Watch(meter(), _waiting(backend), steps)
    # Kernels that hung in checks would hang here.
    kernels = "cuda-step" if "cuda-persistent" in row.get("without", ()) else "auto"
    with xprnn.use_precision(row["precision"]), xprnn.use_kernels(kernels):
        try:
            MODELS[row["name"]](sum(steps), backend, watch)
        except EnoughError:
            pass
        else:
            raise RuntimeError("the text was too short for the steps that are wanted")
    step = watch.seconds / steps[1]
    found = {"ms": 1e3 * step, "kernels chosen": kernels, **watch.counts}
    if "kernel us" in found:
        found["busy"] = 1e-6 * found["kernel us"] / step
    return found


def _waiting(backend: str) -> Callable[[], None]:
    """What waits for the device."""
    if backend == "numpy":
        return lambda: None
    import cupy

    wait: Callable[[], None] = cupy.cuda.Device().synchronize
    return wait


def _characters(steps: int, backend: str, watch: Watch, **sizes: int) -> None:
    model = CharacterModel(epochs=1, validation=0.0, backend=backend, **sizes)
    options = model.settings
    model.fit(characters((steps + 1) * options["chunk"] * options["batch_size"]), callbacks=[watch])


def _sentiment(steps: int, backend: str, watch: Watch) -> None:
    model = TextClassifier(epochs=1, batch_size=50, backend=backend)
    model.fit(*sentences(60 * (steps + 1)), callbacks=[watch])  # a tenth is held out


MODELS: dict[str, Callable[[int, str, Watch], None]] = {
    "characters": _characters,
    "characters, large": lambda *arguments: _characters(*arguments, **LARGE),
    "sentiment": _sentiment,
}


def characters(length: int, different: int = 60, choices: int = 4, seed: int = 0) -> str:
    """A text in which any two characters are followed by one of a few others."""
    draws = np.random.default_rng(seed)
    followers = draws.integers(0, different, (different, different, choices)).tolist()
    written, before, last = [], 0, 0
    for choice in draws.integers(0, choices, length).tolist():
        before, last = last, followers[before][last][choice]
        written.append(chr(ord("0") + last))
    return "".join(written)


def sentences(number: int, words: int = 15000, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts of words whose frequency falls as 1 / rank, and their labels: whether good or bad words prevail."""
    draws, shares = np.random.default_rng(seed), 1.0 / np.arange(1, words + 1)
    lengths = draws.normal(21, 9, number).clip(4, 50).astype(int)
    drawn = draws.choice(words, lengths.sum(), p=shares / shares.sum())
    parts = np.split(drawn, np.cumsum(lengths)[:-1])
    labels = ["good" if (part % 3 == 0).sum() >= (part % 3 == 1).sum() else "bad" for part in parts]
    return [" ".join(map("word{}".format, part)) for part in parts], labels
