"""The page of a run that learned labels: how many are right, what is taken for what, and whether to trust it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn.cli.report.drawing import reliability
from xprnn.cli.report.page import Page, learned, shortened
from xprnn.estimators.text.report import NO_EVIDENCE, TextReport, percent
from xprnn.train import History

Host = np.ndarray[Any, Any]
BINS = 10  # of probabilities
FEW = 10  # mistakes that are shown
MOST = 40  # labels in a matrix


@dataclass(frozen=True)
class Answers:
    """What a classifier said of things that it had not seen: what each is called, and the probabilities (N, C)."""

    report: TextReport
    names: Sequence[str]
    probabilities: Host

    @property
    def right(self) -> Host:
        """Which answers are right (N,)."""
        pairs = zip(self.report.actual, self.report.predicted, strict=True)
        return np.array([bool(a == p) for a, p in pairs])


def label_page(title: str, answers: Answers, training: History | None, settings: dict[str, Any]) -> bytes:
    """The page, as HTML."""
    report = answers.report
    things, shares = report.things, report.accuracies()
    others = {name: share for name, share in shares.items() if name != report.name}
    best = max(others, key=others.__getitem__)
    verdict = "better than" if report.accuracy > others[best] else "no better than"
    page = Page(
        title,
        f"Of {len(report.actual)} {things} that it had not seen while learning, {report.accuracy:.1%} got the right "
        f"label. That is {verdict} \u201c{best}\u201d, which is right for {others[best]:.1%}.",
    )
    page.section(
        "How many are right",
        f"All were asked about the same {things}, which were put aside before anything was learned. "
        "A line with \u201calways\u201d answers with one and the same label: whoever learned something must beat it.",
    )
    page.table(
        ["who", "right"],
        [[name, percent(share)] for name, share in shares.items()],
        best=list(shares.values()).index(max(shares.values())),
    )
    page.section(
        "Label by label",
        "Precision: of those that were given this label, how many have it. Recall: of those that have it, how many "
        "were given it. F1 joins both in one number; 100 % is perfect.",
    )
    page.table(
        ["label", things, "precision", "recall", "F1"],
        [
            [row["label"], row[things], *(percent(row[name]) for name in ("precision", "recall", "f1"))]
            for row in report.scores()
        ],
    )
    _confusion(page, report)
    _trust(page, answers)
    _mistakes(page, answers)
    learned(page, training, settings)
    return page.html()


def _confusion(page: Page, report: TextReport) -> None:
    said, rows = report.confusion()
    page.section(
        "What is taken for what",
        "Each row is a label as it really is, each column what was said instead. On the diagonal from top left to "
        "bottom right the answer was right. The darker a field, the larger its share of the row.",
    )
    if len(said) > MOST:
        page.words(f"There are {len(said)} labels, too many for a table; the {FEW} most frequent mistakes:")
        pairs = [(count, label, other) for label, counts in rows for other, count in zip(said, counts, strict=True)]
        wrong = sorted((p for p in pairs if p[1] != p[2] and p[0]), key=lambda p: -p[0])[:FEW]
        page.table(["really", "said", report.things], [[a, _shown(b), count] for count, a, b in wrong], words=2)
        return
    page.matrix("really \\ said", [_shown(label) for label in said], [(str(label), counts) for label, counts in rows])


def _trust(page: Page, answers: Answers) -> None:
    """How often answers of each probability are right."""
    surest, right = answers.probabilities.max(axis=1), answers.right
    places = np.minimum((surest * BINS).astype(int), BINS - 1)
    filled = [k for k in range(BINS) if (places == k).any()]
    said, came = ([float(values[places == k].mean()) for k in filled] for values in (surest, right))
    counts = [int((places == k).sum()) for k in filled]
    gap = float(np.average(np.abs(np.array(said) - np.array(came)), weights=counts))
    page.section(
        "Can its probabilities be trusted?",
        "Each answer comes with a probability. Here answers with about the same one are put together, and it is "
        "counted how many of them were right: on the dashed line 70 % means right in 70 of 100 cases. Points above the "
        f"line are too modest, points below it too sure. On average they are {100 * gap:.1f} percentage points off.",
    )
    page.picture(
        lambda axes: reliability(axes, said, came, counts, f"{answers.report.things}, larger: more", "right"),
        "How often answers were right, by the probability that was said.",
        3.8,
    )


def _mistakes(page: Page, answers: Answers) -> None:
    report, surest = answers.report, answers.probabilities.max(axis=1)
    wrong = np.flatnonzero(~answers.right & np.array([label is not None for label in report.predicted], dtype=bool))
    if not len(wrong):
        page.section("Its mistakes", "There are none among those put aside.")
        return
    page.section(
        "Its surest mistakes",
        f"Of {len(wrong)} wrong answers those that it was surest of. See whether their labels are right at all.",
    )
    order = wrong[np.argsort(-surest[wrong], kind="stable")][:FEW]
    page.table(
        ["which", "really", "said", "sure"],
        [[shortened(answers.names[k]), report.actual[k], report.predicted[k], f"{surest[k]:.0%}"] for k in order],
        words=3,
    )


def _shown(label: Any) -> str:
    return NO_EVIDENCE if label is None else str(label)
