"""Spans that labels of tokens mark, such as names: read, compared, and counted."""

from __future__ import annotations

from collections.abc import Sequence

BEGIN, GO_ON, END = frozenset("BSU"), frozenset("IEL"), frozenset("ESLU")
Span = tuple[str, int, int]


def spans(labels: Sequence[str]) -> list[Span]:
    """The spans that labels mark, each (kind, its first token, the one after its last).

    >>> spans(["B-PER", "I-PER", "O", "B-LOC"])
    [('PER', 0, 2), ('LOC', 3, 4)]

    Labels are "O" for none, or a mark and a kind: B, I, or besides them E or L for the last and S or U for the only one
    of a span (IOB2, IOBES, BILOU). As conlleval has it, I begins a span too where none of its kind goes on.

    Raises ValueError for other labels.
    """
    found: list[Span] = []
    start, kind = -1, ""  # of the span that is open, -1 for none
    for t, label in enumerate(labels):
        mark, dash, name = str(label).partition("-")
        if label != "O" and not (dash and mark in BEGIN | GO_ON):
            raise ValueError(f"label {t} is {label!r}; expected 'O', or a mark and a kind such as 'B-PER' and 'I-PER'")
        if start >= 0 and not (mark in GO_ON and name == kind):
            found.append((kind, start, t))
            start = -1
        if label == "O":
            continue
        if start < 0:
            start, kind = t, name
        if mark in END:
            found.append((kind, start, t + 1))
            start = -1
    return found if start < 0 else [*found, (kind, start, len(labels))]


def span_f1(actual: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float:
    """2 TP / (2 TP + FP + FN) over the spans of all sentences: right are those of the same kind and tokens.

    0 where there are no spans at all. Raises ValueError for other labels than :func:`spans` reads, and for sentences of
    other lengths, naming the first.
    """
    if len(actual) != len(predicted):
        raise ValueError(f"span_f1: {len(actual)} sentences and {len(predicted)} predicted; expected as many")
    right = total = 0
    for k, (labels, said) in enumerate(zip(actual, predicted, strict=True)):
        if len(labels) != len(said):
            raise ValueError(
                f"span_f1: sentence {k} has {len(labels)} labels and {len(said)} predicted; expected as many"
            )
        try:
            there, found = set(spans(labels)), set(spans(said))
        except ValueError as error:
            raise ValueError(f"span_f1: sentence {k}: {error}") from None
        right, total = right + len(there & found), total + len(there) + len(found)
    return 2.0 * right / total if total else 0.0
