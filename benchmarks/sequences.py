"""Estimators of sequences on tasks whose answers are known, beside what needs no recurrent layer.

    python benchmarks/sequences.py

- digits: the 1,797 handwritten digits that come with scikit-learn, eight rows of eight pixels as eight steps; a quarter
  of each class is the test part, drawn by the seed. Beside it a support vector machine on all 64 pixels at once.
- order: noise of 30 steps with two pulses, of values 2 and 3 and at random places; the class is which of them came
  first. Everything that a single step says is the same in both classes. Beside it the same machine.
- tags: the parity, at each step, of the pulses so far. Beside it the most frequent tag.
- anomalies: sine waves of random phase with noise, 1 % of them with one step moved by 3; the share of those that are
  found at contamination 0.01, and the share of whole ones among all that are found.

The recurrent ones have the defaults of their classes. Means over the seeds, with the least and the most.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cpu import device

import xprnn
from xprnn.estimators import AnomalyDetector, SequenceClassifier, SequenceTagger

Host = np.ndarray[Any, Any]
Scores = dict[str, float]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and the seconds it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def machine(train: Host, labels: Host, test: Host, right: Host) -> float:
    """The accuracy of a support vector machine on flat, scaled rows."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    flat = train.reshape(len(train), -1), test.reshape(len(test), -1)
    return float(make_pipeline(StandardScaler(), SVC()).fit(flat[0], labels).score(flat[1], right))


def digits(seed: int) -> Scores:
    """Accuracies on a quarter of the digits."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    parts = train_test_split(X.reshape(-1, 8, 8), y, test_size=0.25, random_state=seed, stratify=y)
    train, test, labels, right = parts
    model, seconds = timed(lambda: SequenceClassifier(bidirectional=True, seed=seed).fit(train, labels))
    chosen = model.predict_proba(test)
    surest = chosen.max(axis=1)
    return {
        "accuracy": model.score(test, right),
        "beside it": machine(train, labels, test, right),
        "sureness minus accuracy": float(surest.mean()) - model.score(test, right),
        "seconds": seconds,
    }


def pulses(count: int, draws: np.random.Generator) -> tuple[Host, Host]:
    """Noise with two pulses (N, 30, 1), and whether the smaller came first."""
    X = 0.3 * draws.normal(size=(count, 30))
    places = np.argsort(draws.random((count, 30)), axis=1)[:, :2]
    rows = np.arange(count)
    X[rows, places[:, 0]], X[rows, places[:, 1]] = 2.0, 3.0
    return X[:, :, None], places[:, 0] < places[:, 1]


def order(seed: int) -> Scores:
    """Accuracies on which pulse came first, of 1,000 sequences after learning from 2,000."""
    draws = np.random.default_rng(seed)
    (train, labels), (test, right) = pulses(2000, draws), pulses(1000, draws)
    model, seconds = timed(lambda: SequenceClassifier(seed=seed).fit(train, labels))
    beside = machine(train, labels, test, right)
    return {"accuracy": model.score(test, right), "beside it": beside, "seconds": seconds}


def tags(seed: int) -> Scores:
    """The share of steps whose parity of pulses is right, of 500 sequences after learning from 1,000."""
    draws = np.random.default_rng(seed)
    beats = draws.random((1500, 20)) < 0.3
    X, y = beats + 0.2 * draws.normal(size=beats.shape), np.cumsum(beats, axis=1) % 2
    model, seconds = timed(lambda: SequenceTagger(seed=seed).fit(X[:1000, :, None], y[:1000]))
    beside = max(np.mean(y[1000:] == tag) for tag in (0, 1))
    return {"accuracy": model.score(X[1000:, :, None], y[1000:]), "beside it": float(beside), "seconds": seconds}


def anomalies(seed: int, kind: str) -> Scores:
    """The shares of broken waves that are found, and of found ones that are whole."""
    draws = np.random.default_rng(seed)
    waves = np.sin(np.arange(24.0) / 2.0 + draws.uniform(0, 6.3, size=(2000, 1))) + 0.1 * draws.normal(size=(2000, 24))
    broken = draws.choice(2000, size=20, replace=False)
    waves[broken, draws.integers(4, 24, size=20)] += 3.0
    detector, seconds = timed(lambda: AnomalyDetector(kind=kind, contamination=0.01, seed=seed).fit(waves))
    found = np.flatnonzero(detector.predict(waves) < 0)
    caught = len(np.intersect1d(found, broken))
    return {"found": caught / 20, "false": 1.0 - caught / len(found), "seconds": seconds}


TASKS: dict[str, Callable[[int], Scores]] = {
    "digits": digits,
    "order": order,
    "tags": tags,
    "anomalies, forecast": lambda seed: anomalies(seed, "forecast"),
    "anomalies, reconstruction": lambda seed: anomalies(seed, "reconstruction"),
}


def table(report: dict[str, list[Scores]]) -> str:
    """Markdown."""
    lines = ["| task | measure | mean | least | most |", "|---|---|---|---|---|"]
    for task, seeds in report.items():
        for measure in seeds[0]:
            values = [scores[measure] for scores in seeds]
            numbers = " | ".join(f"{number:.4g}" for number in (np.mean(values), min(values), max(values)))
            lines.append(f"| {task} | {measure} | {numbers} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--json", type=Path, help="also write all numbers to this file")
    arguments = parser.parse_args()
    report: dict[str, list[Scores]] = {}
    for task in arguments.tasks:
        report[task] = []
        for seed in range(arguments.seeds):
            report[task].append(TASKS[task](seed))
            print(task, seed, report[task][-1], flush=True)
    print(f"{device()}, xprnn {xprnn.__version__}, numpy {np.__version__}, {arguments.seeds} seeds.\n\n{table(report)}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
