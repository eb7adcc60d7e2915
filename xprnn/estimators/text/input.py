"""What a TextClassifier is given: texts and labels, checked, numbered, and parted."""

from __future__ import annotations

import math
import numbers
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from xprnn.backend import Rng, generator

Host = np.ndarray[Any, Any]
Labelled = tuple[list[str], list[Any]]
KINDS: dict[str, Any] = {"bool": bool, "number": (int, float), "str": str}


def check_texts(owner: str, texts: Any) -> list[str]:
    """Texts as a list of str. Raises TypeError for anything else, and names the position."""
    found = _listed(owner, "texts", texts, "a list of str")
    for k, text in enumerate(found):
        if not isinstance(text, str):
            raise TypeError(f"{owner}: text {k} is a {type(text).__name__}, {reprlib.repr(text)}; expected a str")
    return [str(text) for text in found]  # NumPy's str too


def cut_texts(owner: str, texts: Any, tokenize: Callable[[str], Iterable[str]]) -> list[list[str]]:
    """The tokens of texts. Raises TypeError for what is no text, and for what are no tokens."""
    found = []
    for k, text in enumerate(check_texts(owner, texts)):
        given = tokenize(text)
        tokens = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [None]
        if not all(isinstance(token, str) for token in tokens):
            shown = f"{reprlib.repr(given)} for text {k}"
            raise TypeError(f"{owner}: the tokenizer gave {shown}; expected a list of str")
        found.append([str(token) for token in tokens])
    return found


def encode_labels(owner: str, labels: Sequence[Any], texts: int) -> tuple[tuple[Any, ...], Host]:
    """The sorted classes, and the number of each label's class. Raises TypeError and ValueError."""
    labels = _listed(owner, "labels", labels, "a list")
    if len(labels) != texts:
        raise ValueError(f"{owner}: {texts} texts and {len(labels)} labels; expected as many")
    if not texts:
        raise ValueError(f"{owner}: there are no texts")
    plain = [label.item() if isinstance(label, np.generic) else label for label in labels]
    if missing := [k for k, label in enumerate(plain) if _is_missing(label)]:
        places = ", ".join(map(str, missing[:5])) + ", ..." * (len(missing) > 5)
        raise ValueError(f"{owner}: {len(missing)} texts have no label: {places}; label them or leave them out")
    kinds = {next((kind for kind, types in KINDS.items() if isinstance(x, types)), type(x).__name__) for x in plain}
    if len(kinds) > 1 or not kinds <= set(KINDS):
        raise TypeError(f"{owner}: labels are of kind {', '.join(sorted(kinds))}; expected all str or all numbers")
    if kinds == {"str"}:
        plain = [str.__str__(label) for label in plain]  # of an enum too
    classes = tuple(sorted(set(plain)))
    if len(classes) < 2:
        raise ValueError(f"{owner}: all {texts} labels are {classes[0]!r}; expected at least two different ones")
    places_of = {label: k for k, label in enumerate(classes)}
    return classes, np.array([places_of[label] for label in plain], np.int64)


def hold_out(target: Host, share: float, rng: np.random.Generator) -> Host:
    """A share of each class, drawn: True where held out."""
    held = np.zeros(len(target), dtype=bool)
    for k in np.unique(target):
        rows = rng.permutation(np.flatnonzero(target == k))
        held[rows[: min(round(share * len(rows)), len(rows) - 1)]] = True
    return held


def split_texts(texts: Sequence[str], labels: Sequence[Any], test: float, rng: Rng = None) -> tuple[Labelled, Labelled]:
    """Texts and labels to learn from, and a share of each label's, drawn, to test on; each in the order given.

    Raises ValueError for a share that is not from 0 to below 1, and as ``fit`` for texts and labels.
    """
    owner = "split_texts"
    texts, labels = check_texts(owner, texts), _listed(owner, "labels", labels, "a list")
    if not 0.0 <= test < 1.0:
        raise ValueError(f"{owner}: test is {test}; expected a share from 0 to below 1")
    held = hold_out(encode_labels(owner, labels, len(texts))[1], test, generator(rng))
    train, rest = ([k for k in range(len(texts)) if held[k] == part] for part in (False, True))
    return _chosen(texts, labels, train), _chosen(texts, labels, rest)


def _chosen(texts: Sequence[str], labels: Sequence[Any], rows: list[int]) -> Labelled:
    return [texts[k] for k in rows], [labels[k] for k in rows]


def log_count_ratios(ids: Sequence[Host], target: Host, tokens: int, classes: int) -> Host:
    """log p(t | c) - log p(t | not c) for each token and class (V, C), as Wang and Manning 2012 have it.

    ids are the numbers of each text's tokens, target their classes. p(t | c) = (n + 1) / sum over t of (n + 1), with n
    the number of texts of class c that hold t.
    """
    counts = np.zeros((tokens, classes))
    for numbers_of, c in zip(ids, target, strict=True):
        counts[np.unique(numbers_of), c] += 1
    inside, outside = counts + 1.0, counts.sum(axis=1, keepdims=True) - counts + 1.0
    return np.log(inside / inside.sum(axis=0)) - np.log(outside / outside.sum(axis=0))


def share_right(owner: str, predicted: Host, labels: Sequence[Any], classes: Sequence[Any]) -> float:
    """The share of predictions that are the label; None never is.

    Raises ValueError for none, for other lengths, and for labels none of which is among the classes: "1" is not 1.
    """
    labels = _listed(owner, "labels", labels, "a list")
    if len(predicted) != len(labels) or not len(predicted):
        counts = f"{len(predicted)} texts and {len(labels)} labels"
        raise ValueError(f"{owner}: {counts}; expected as many, and at least one")
    if not any(label in classes for label in labels):
        given, known = reprlib.repr(list(dict.fromkeys(labels))), reprlib.repr(list(classes))
        raise ValueError(f"{owner}: none of the labels is known: {given}; expected some of {known}")
    return sum(p is not None and bool(p == label) for p, label in zip(predicted, labels, strict=True)) / len(labels)


def _listed(owner: str, name: str, things: Any, expected: str) -> list[Any]:
    """A list of things that come in an order, in that order; columns of tables may count their rows otherwise."""
    if isinstance(things, (str, bytes, Mapping, Set)) or not isinstance(things, Iterable):
        raise TypeError(f"{owner}: {name} is a {type(things).__name__}; expected {expected}")
    return list(things)


def _is_missing(label: Any) -> bool:
    """None, NaN, or a text of spaces."""
    if isinstance(label, str):
        return not label.strip()
    return label is None or (isinstance(label, numbers.Real) and math.isnan(label))
