"""The page of what is unlike the rest: how strange each sequence is, where the line is drawn, and which step it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from xprnn.cli.report.drawing import BLACK, BLUE, COLOURS, VERMILION, by_tens, legend_below, name_ticks
from xprnn.cli.report.page import Page, learned
from xprnn.data.long_csv import LongCsv
from xprnn.estimators import AnomalyDetector
from xprnn.estimators.series.report import readable
from xprnn.train import History

Host = np.ndarray[Any, Any]
LISTED = 20  # anomalies in a table
DRAWN = 3  # anomalies in pictures of their own
LINES = 6  # columns in those


@dataclass(frozen=True)
class Scored:
    """How strange sequences are: the mean of e[t] of each (N,), e[t] (T_n,) at each step, and where anomalies begin."""

    source: LongCsv
    strangeness: Host
    steps: Sequence[Host]
    threshold: float
    things: str = "sequences"

    @classmethod
    def of(cls, detector: AnomalyDetector, source: LongCsv, things: str) -> Scored:
        """What a detector says of sequences."""
        steps = detector.step_errors(source.X)
        return cls(source, np.array([errors.mean() for errors in steps]), steps, -detector.offset_, things)

    @property
    def anomalies(self) -> Host:
        """The numbers of those above the threshold, the strangest first."""
        above = np.flatnonzero(self.strangeness > self.threshold)
        return above[np.argsort(-self.strangeness[above], kind="stable")]

    def worst(self, k: int) -> str:
        """What the step is called that was foreseen least."""
        return self.source.times[k][int(self.steps[k].argmax())]

    def rows(self) -> list[dict[str, Any]]:
        """Each sequence as plain values."""
        return [
            {
                "id": name,
                "strangeness": float(self.strangeness[k]),
                "anomaly": bool(self.strangeness[k] > self.threshold),
                "strangest_step": self.worst(k),
            }
            for k, name in enumerate(self.source.ids)
        ]


def anomaly_page(title: str, lead: str, scored: Scored, training: History | None, settings: dict[str, Any]) -> bytes:
    """The page, as HTML."""
    page, things = Page(title, lead), scored.things
    page.section(
        "How strange each is",
        f"The network says at each step what it expects. How far off it is, in deviations squared and on average over "
        f"the steps, is how strange one of the {things} is. Those above the line of {readable(scored.threshold)} are "
        "called anomalies, and are red. The axis goes by factors of ten.",
    )
    page.picture(lambda axes: _scores(axes, scored), f"The {things} in the order of the file.", 3.6)
    page.picture(lambda axes: _histogram(axes, scored), "How many are how strange, and where the line is.", 3.0)
    _strangest(page, scored)
    learned(page, training, settings)
    return page.html()


def _floored(values: Host) -> Host:
    """For an axis of logarithms, on which nothing is 0."""
    above = values[values > 0.0]
    return np.maximum(values, float(above.min()) if len(above) else 1e-12)


def _scores(axes: Any, scored: Scored) -> None:
    values, numbers = _floored(scored.strangeness), np.arange(len(scored.strangeness))
    above = scored.strangeness > scored.threshold
    size = 14 if len(values) < 500 else 5
    axes.scatter(numbers[~above], values[~above], s=size, color=BLUE, label="usual", rasterized=len(values) > 5000)
    axes.scatter(numbers[above], values[above], s=2 * size, color=VERMILION, marker="D", label="anomaly")
    axes.axhline(scored.threshold, color=BLACK, linestyle="--", linewidth=1.0, label="the line")
    by_tens(axes, "y")
    axes.set_ylabel("how strange")
    name_ticks(axes, lambda k: _short(scored.source.ids[k]), 0, len(values) - 1)
    legend_below(axes, 3)


def _histogram(axes: Any, scored: Scored) -> None:
    values = _floored(scored.strangeness)
    low, high = float(np.log10(values.min())), float(np.log10(values.max()))
    edges = np.logspace(low, max(high, low + 0.1), 31)
    counts, _ = np.histogram(values, edges)
    colours = [VERMILION if edge >= scored.threshold else BLUE for edge in edges[:-1]]
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colours)
    axes.axvline(scored.threshold, color=BLACK, linestyle="--", linewidth=1.0)
    by_tens(axes, "x")
    axes.set_xlabel("how strange")
    axes.set_ylabel(f"{scored.things}")


def _strangest(page: Page, scored: Scored) -> None:
    found, things = scored.anomalies, scored.things
    if not len(found):
        page.section("The strangest", f"None of the {things} is above the line.")
        return
    page.section(
        "The strangest",
        f"Of the {len(found)} anomalies " + (f"the first {LISTED}, " if len(found) > LISTED else "") + "the strangest "
        "first, and the step of each that was foreseen least.",
    )
    page.table(
        ["which", "strangest step", "how strange", "times the line"],
        [
            [
                scored.source.ids[k],
                scored.worst(k),
                readable(scored.strangeness[k]),
                f"{scored.strangeness[k] / scored.threshold:.1f}" if scored.threshold > 0.0 else "-",
            ]
            for k in found[:LISTED]
        ],
        words=2,
    )
    page.words(
        "Here are the strangest of them as they are in the file, each column less its mean and divided by its "
        "deviation. The redder the ground, the less was the step foreseen."
    )
    mean, deviation = _scale(scored.source.X)
    for k in found[:DRAWN]:
        page.picture(
            partial(_sequence, scored=scored, k=int(k), mean=mean, deviation=deviation),
            f"{scored.source.ids[k]}: strangest at {scored.worst(k)}.",
            3.6,
        )


def _scale(X: Sequence[Host]) -> tuple[Host, Host]:
    rows = np.concatenate(X)
    deviation = rows.std(axis=0)
    return rows.mean(axis=0), np.where(deviation > 0.0, deviation, 1.0)


def _sequence(axes: Any, scored: Scored, k: int, mean: Host, deviation: Host) -> None:
    values, errors, names = (scored.source.X[k] - mean) / deviation, scored.steps[k], scored.source.features
    steps = np.arange(len(values))
    for t in np.flatnonzero(errors > 0.02 * errors.max()):
        axes.axvspan(t - 0.5, t + 0.5, color=VERMILION, alpha=0.5 * float(errors[t] / errors.max()), linewidth=0)
    marker = "o" if len(steps) < 60 else None
    for column in range(min(len(names), LINES)):
        colour = (BLUE, BLACK, *COLOURS[1:3], *COLOURS[4:6])[column]
        axes.plot(steps, values[:, column], color=colour, marker=marker, markersize=3, label=names[column])
    axes.set_ylabel("deviations")
    name_ticks(axes, lambda t: _short(scored.source.times[k][t]), 0, len(steps) - 1)
    legend_below(axes, 3)


def _short(name: str, most: int = 19) -> str:
    return name if len(name) <= most else name[: most - 1] + "\u2026"
