"""Machines that will fail: which they are, when it began, and days that are unlike all others.

A made-up pump is measured each hour: pressure and vibration. Some pumps develop a fault, after which vibration grows
slowly and its beat doubles. Three questions, one estimator each: does this pump have a fault (SequenceClassifier), from
which hour on (SequenceTagger), and which pumps are strange, asked of someone who was shown healthy ones only
(AnomalyDetector)?
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, example, plot, save, table

from xprnn.estimators import AnomalyDetector, SequenceClassifier, SequenceTagger

BLUE, ORANGE, GREEN, VERMILION = COLOURS[:4]


def pumps(count: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pumps of 48 to 96 hours, (T, 2) each, and whether each hour is one with a fault (T,)."""
    draws, series, faults = np.random.default_rng(seed), [], []
    for _ in range(count):
        hours = int(draws.integers(48, 97))
        t = np.arange(hours)
        begin = int(draws.integers(12, hours - 12)) if draws.random() < 0.4 else hours
        faulty = t >= begin
        beat = np.sin(np.where(faulty, 1.6, 0.8) * t + draws.uniform(0.0, 6.0))
        vibration = (1.0 + 0.02 * np.maximum(t - begin, 0)) * beat + 0.5 * draws.standard_normal(hours)
        pressure = 5.0 + np.sin(2.0 * np.pi * t / 24.0) + 0.3 * draws.standard_normal(hours)
        series.append(np.stack([pressure, vibration], axis=1))
        faults.append(np.where(faulty, "fault", "well"))
    return series, faults


def named(faults: list[np.ndarray]) -> list[str]:
    """The label of each pump: that of its last hour."""
    return [str(hours[-1]) for hours in faults]


@example
def main(quick: bool, output: Path) -> None:
    """Which pumps have a fault, since when, and which are strange."""
    count, epochs = (80, 2) if quick else (600, 40)
    (X, faults), (fresh, came) = pumps(count, 0), pumps(200, 1)
    y, really = named(faults), named(came)

    options: dict[str, Any] = {"hidden": 16, "epochs": epochs, "learning_rate": 0.01, "seed": 0}
    classifier = SequenceClassifier(class_weight="balanced", **options).fit(X, y)
    tagger = SequenceTagger(**options).fit(X, faults)
    healthy = [pump for pump, label in zip(X, y, strict=True) if label == "well"]
    detector = AnomalyDetector(contamination=0.05, **options).fit(healthy)

    strange = np.where(detector.predict(fresh) < 0, "fault", "well")
    frequent = max(set(really), key=really.count)
    rows = [
        ("SequenceClassifier", "which pumps", classifier.score(fresh, really)),
        ("AnomalyDetector", "which pumps, from healthy ones only", float(np.mean(strange == np.array(really)))),
        (f"always {frequent}", "which pumps", really.count(frequent) / len(really)),
        ("SequenceTagger", "which hours", tagger.score(fresh, came)),
        ("always well", "which hours", float(np.mean(np.concatenate(came) == "well"))),
    ]
    print(f"{count} pumps to learn from, 200 others to test on")
    table(rows, ["who", "asked", "right"])
    save(picture(fresh, came, classifier, tagger, detector), output, "labelled_sequences")


def picture(
    X: list[np.ndarray],
    came: list[np.ndarray],
    classifier: SequenceClassifier,
    tagger: SequenceTagger,
    detector: AnomalyDetector,
) -> Any:
    """One faulty pump with what is said of its hours, and how the other two part the pumps."""
    figure, (above, below) = plot(2, 2, (11, 7.0))
    shown = next(k for k, hours in enumerate(came) if 20 < int((hours == "well").sum()) < len(hours))
    begin, t = int((came[shown] == "well").sum()), np.arange(len(X[shown]))
    fault = list(tagger.classes_).index("fault")
    for axes, values, name, colour in (
        (above[0], X[shown][:, 1], "vibration", BLUE),
        (below[0], 100 * tagger.predict_proba([X[shown]])[0][:, fault], "probability of a fault, %", VERMILION),
    ):
        axes.plot(t, values, color=colour)
        axes.axvline(begin, color="black", linestyle="--", label="the fault begins")
        axes.set_ylabel(name)
        axes.set_xlabel("hour")
        axes.legend(frameon=False, loc="upper left")
    above[0].set_title("A pump, and what SequenceTagger says of its hours")
    bad = np.array([hours[-1] == "fault" for hours in came])
    said = classifier.predict_proba(X)[:, list(classifier.classes_).index("fault")]
    scores = -detector.score_samples(X)
    panels = (
        (above[1], 100 * said, np.linspace(0, 100, 21), "probability of a fault, %", "SequenceClassifier"),
        (below[1], scores, np.linspace(scores.min(), scores.max(), 21), "how strange", "AnomalyDetector"),
    )
    for axes, values, bins, name, title in panels:
        axes.hist([values[~bad], values[bad]], bins=bins, stacked=True, color=[GREEN, ORANGE], label=["well", "fault"])
        axes.set_xlabel(name)
        axes.set_ylabel("pumps")
        axes.set_title(title)
        axes.legend(frameon=False)
    below[1].axvline(-detector.offset_, color="black", linestyle="--")
    return figure


if __name__ == "__main__":
    main()
