"""Weights of 8 and 16 bits in three tasks, in their own scores: see low_precision.py.

Models are trained for a short time on the daily minimum temperatures of Melbourne, rt-polarity and tinyshakespeare.
"bf16 inference" and "int8" score the weights of "float32"; "bf16 training" is trained in bfloat16 and scored in
float32; another seed shows how far scores go apart by chance.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from xprnn import use_precision
from xprnn.data import read_csv, read_lines
from xprnn.estimators import CharacterModel, Forecaster, SequenceRegressor, TextClassifier, split_texts

SCORES = ("float32", "bf16 inference", "bf16 training", "int8", "float32, another seed")
DAYS = 30  # that an LSTM alone sees
LETTERS = 400_000  # of tinyshakespeare, so many to learn and an eighth as many to be scored on


def in_each(fit: Callable[[int], Any], score: Callable[[Any], float]) -> dict[str, float]:
    """Scores of a model, which is fitted with a seed."""
    model = fit(0)
    with use_precision("bf16"):
        rounded, lower = score(model), fit(0)
    found = score(model), rounded, score(lower), score(model.quantized()), score(fit(1))
    return dict(zip(SCORES, found, strict=True))


def temperatures(data: Path) -> tuple[np.ndarray, int]:
    """Daily minima in degrees, and where the last fifth begins, which is not learned."""
    values = np.asarray(read_csv(data / "daily-min-temperatures.csv", fill="previous").values, "float64").ravel()
    return values, len(values) * 4 // 5


def forecasts(data: Path) -> dict[str, float]:
    """The error of a Forecaster for the next day, most of which is its autoregression."""
    values, first = temperatures(data)

    def fit(seed: int) -> Any:
        return Forecaster("lstm", periods=[365.25], epochs=15, seed=seed).fit(values[:first])

    def score(model: Any) -> float:
        return rmse(model.forecast(values, np.arange(first, len(values)), 1), values[first:])

    return in_each(fit, score)


def windows(data: Path) -> dict[str, float]:
    """The same of an LSTM alone."""
    values, first = temperatures(data)
    x = np.lib.stride_tricks.sliding_window_view(values, DAYS)[:-1, :, None]
    y, cut = values[DAYS:], first - DAYS

    def fit(seed: int) -> Any:
        return SequenceRegressor("lstm", epochs=10, seed=seed).fit(x[:cut], y[:cut])

    return in_each(fit, lambda model: rmse(model.predict(x[cut:]), y[cut:]))


def rmse(found: Any, expected: np.ndarray) -> float:
    """The root of the mean squared error."""
    return float(np.sqrt(np.mean((np.ravel(found) - expected) ** 2)))


def polarity(data: Path) -> dict[str, float]:
    """Accuracy on a tenth of the sentences."""
    sides = [read_lines(data / f"rt-polarity.{side}", "latin-1").texts for side in ("neg", "pos")]
    texts, labels = [text for side in sides for text in side], [k for k, side in enumerate(sides) for _ in side]
    train, test = split_texts(texts, labels, 0.1, 0)
    return in_each(lambda seed: TextClassifier(epochs=4, seed=seed).fit(*train), lambda model: model.score(*test))


def characters(data: Path) -> dict[str, float]:
    """Bits a character of what comes after the text that was learned."""
    text = (data / "tinyshakespeare.txt").read_text(encoding="utf-8")

    def fit(seed: int) -> Any:
        return CharacterModel("gru", hidden=128, epochs=1, validation=0.0, seed=seed).fit(text[:LETTERS])

    return in_each(fit, lambda model: model.bits_per_character(text[LETTERS : LETTERS * 9 // 8]))


TASKS = {
    "Melbourne, RMSE in degrees (Forecaster with an LSTM)": (forecasts, ["daily-min-temperatures.csv"]),
    "Melbourne, RMSE in degrees (LSTM alone)": (windows, ["daily-min-temperatures.csv"]),
    "rt-polarity, accuracy (GRU both ways)": (polarity, ["rt-polarity.neg", "rt-polarity.pos"]),
    "tinyshakespeare, bits a character (GRU)": (characters, ["tinyshakespeare.txt"]),
}


def tasks(data: Path) -> dict[str, dict[str, float]]:
    """Scores by task and precision, of tasks whose files are there."""
    found = {}
    for name, (task, files) in TASKS.items():
        if missing := [file for file in files if not (data / file).exists()]:
            print(f"{name}: left out, since there is no {' and no '.join(missing)} in {data}", file=sys.stderr)
            continue
        found[name] = task(data)
        print(name, found[name], file=sys.stderr, flush=True)
    return found
