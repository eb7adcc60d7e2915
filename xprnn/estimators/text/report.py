"""What a classifier did on texts that it had not seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

NO_EVIDENCE = "no evidence"


@dataclass(frozen=True)
class TextReport:
    """The labels of texts, at least one, beside those predicted for them, None where a text is no evidence.

    ``name`` is how tables call the classifier; ``others`` are the accuracies of further ones on the same texts.
    ``things`` is what texts are called, where they are something else.
    """

    classes: Sequence[Any]
    actual: Sequence[Any]
    predicted: Sequence[Any]
    name: str = "classifier"
    others: Mapping[str, float] = field(default_factory=dict)
    things: str = "texts"

    @property
    def accuracy(self) -> float:
        """The share of right ones; no evidence is not right."""
        return sum(self._counts[label, label] for label in self.classes) / len(self.actual)

    def accuracies(self) -> dict[str, float]:
        """The accuracy, those of the others, and that of always saying the label that is the most frequent here."""
        label, count = Counter(self.actual).most_common(1)[0]
        return {self.name: self.accuracy, **self.others, f"always {label}": count / len(self.actual)}

    def scores(self) -> list[dict[str, Any]]:
        """For each label: how many things, precision, recall and F1, each None where there is nothing to divide by."""
        rows = []
        for label in self.classes:
            right = self._counts[label, label]
            count = sum(self._counts[label, other] for other in (*self.classes, None))
            said = sum(self._counts[other, label] for other in self.classes)
            rows.append(
                {
                    "label": label,
                    self.things: count,
                    "precision": right / said if said else None,
                    "recall": right / count if count else None,
                    "f1": 2 * right / (count + said) if count + said else None,
                }
            )
        return rows

    def table(self) -> str:
        """Accuracy beside its baseline, the scores of each label, and how often which label was taken for which."""
        said, confusion = self.confusion()
        names = [NO_EVIDENCE if label is None else str(label) for label in said]
        width, widths = max(5, *map(len, names)), [max(6, len(name)) for name in names]
        wide, most = max(map(len, self.accuracies())), max(6, len(self.things))
        lines = [
            f"{len(self.actual)} {self.things} held out, right:",
            *[f"  {name:{wide}}  {share:6.1%}" for name, share in self.accuracies().items()],
            f"labels as {self.name} gives them",
            f"  {'label':{width}}  {self.things:>{most}}  {'precision':>9}  {'recall':>6}  {'F1':>6}",
        ]
        for row in self.scores():
            precision, recall, f1 = (percent(row[name]) for name in ("precision", "recall", "f1"))
            lines.append(f"  {row['label']!s:{width}}  {row[self.things]:{most}}  {precision:>9}  {recall:>6}  {f1:>6}")
        lines.append("taken for (columns), by label (rows)")
        lines.append(f"  {'':{width}}  " + "  ".join(f"{name:>{w}}" for name, w in zip(names, widths, strict=True)))
        for label, counts in confusion:
            cells = [f"{count:{w}}" for count, w in zip(counts, widths, strict=True)]
            lines.append(f"  {label!s:{width}}  " + "  ".join(cells))
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            self.things: len(self.actual),
            "accuracy": self.accuracies(),
            "without_evidence": self._silent,
            "labels": self.scores(),
            "confusion": [[self._counts[a, p] for p in self.classes] for a in self.classes],
        }

    def confusion(self) -> tuple[list[Any], list[tuple[Any, list[int]]]]:
        """What was said, None too where it was, and of each label how often it was taken for each of those."""
        said = [*self.classes, *([None] if self._silent else [])]
        return said, [(label, [self._counts[label, other] for other in said]) for label in self.classes]

    @cached_property
    def _counts(self) -> Counter[tuple[Any, Any]]:
        return Counter(zip(self.actual, self.predicted, strict=True))

    @property
    def _silent(self) -> int:
        """How many texts have no known word."""
        return sum(label is None for label in self.predicted)


def percent(share: float | None) -> str:
    """A share as tables show it."""
    return "-" if share is None else f"{share:.1%}"
