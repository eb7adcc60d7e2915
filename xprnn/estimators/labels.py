"""Labels of what is classified: checked, numbered, held out, and counted where they are right."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import pairwise
from typing import Any

import numpy as np

from xprnn.data.tables import is_missing, require_plain

Host = np.ndarray[Any, Any]
KINDS: dict[str, Any] = {"bool": bool, "number": (int, float), "str": str}


def encode_labels(owner: str, labels: Any, count: int, things: str = "texts") -> tuple[tuple[Any, ...], Host]:
    """The sorted classes, and the number of each label's class, of so many things. Raises TypeError and ValueError."""
    labels = listed(owner, "labels", labels, "a list")
    if len(labels) != count:
        raise ValueError(f"{owner}: {count} {things} and {len(labels)} labels; expected as many")
    if not count:
        raise ValueError(f"{owner}: there are no {things}")
    plain = [label.item() if isinstance(label, np.generic) else label for label in labels]
    if missing := [k for k, label in enumerate(plain) if _is_missing(label)]:
        places = ", ".join(map(str, missing[:5])) + ", ..." * (len(missing) > 5)
        raise ValueError(f"{owner}: {len(missing)} {things} have no label: {places}; label them or leave them out")
    kinds = _kinds(plain)
    if len(kinds) > 1 or not kinds <= set(KINDS):
        raise TypeError(f"{owner}: labels are of kind {', '.join(sorted(kinds))}; expected all str or all numbers")
    if kinds == {"str"}:
        plain = [str.__str__(label) for label in plain]  # of an enum too
    classes = tuple(sorted(set(plain)))
    if len(classes) < 2:
        raise ValueError(
            f"{owner}: all {count} labels are {classes[0]!r}; expected at least two different ones, not one class"
        )
    places_of = {label: k for k, label in enumerate(classes)}
    return classes, np.array([places_of[label] for label in plain], np.int64)


def number_labels(owner: str, labels: Any, count: int, things: str = "texts") -> tuple[tuple[Any, ...], Host, Host]:
    """As :func:`encode_labels`, with the classes in the labels' own dtype between the two."""
    dtype, found = getattr(labels, "dtype", None), listed(owner, "labels", labels, "a list")
    classes, target = encode_labels(owner, found, count, things)
    if not isinstance(dtype, np.dtype):  # of a list, or of a table's own column
        dtype = np.asarray(found).dtype
    return classes, label_array(classes, dtype), target


def label_array(classes: Sequence[Any], dtype: Any = None) -> Host:
    """Classes (C,) in a dtype of booleans or numbers, or in the one that suits them; objects where none does."""
    if dtype is None or dtype.kind not in "biuf":
        dtype = np.asarray(classes).dtype
    array = np.array(classes, dtype=dtype.newbyteorder("="))
    return array if array.tolist() == list(classes) else np.array(classes, dtype=object)


def classes_described(own: Host) -> tuple[dict[str, Any], list[Any]]:
    """What a file holds of classes in their own dtype: that in an array, where they themselves do not tell it."""
    classes = own.tolist()
    return {} if own.dtype == label_array(classes).dtype else {"labels": own}, classes


def classes_restored(arrays: Mapping[str, Host], classes: Sequence[Any]) -> Host:
    """Those of a file. Raises ValueError where they are not what :func:`encode_labels` gives."""
    kinds = _kinds(classes)
    if len(kinds) > 1 or not kinds <= set(KINDS) or any(map(_is_missing, classes)):
        raise ValueError(f"classes are {reprlib.repr(classes)}; expected all str or all numbers")
    if len(classes) < 2 or any(a >= b for a, b in pairwise(classes)):
        raise ValueError(f"classes are {reprlib.repr(classes)}; expected at least two, sorted, each once")
    own = label_array(classes, arrays["labels"].dtype if "labels" in arrays else None)
    if own.tolist() != arrays.get("labels", own).tolist():
        raise ValueError("labels are not the classes")
    return own


def hold_out(target: Host, part: float, rng: np.random.Generator) -> Host:
    """A share of each class, drawn: True where held out."""
    held = np.zeros(len(target), dtype=bool)
    for k in np.unique(target):
        rows = rng.permutation(np.flatnonzero(target == k))
        held[rows[: min(round(part * len(rows)), len(rows) - 1)]] = True
    return held


def share_right(owner: str, predicted: Host, labels: Sequence[Any], classes: Sequence[Any], weight: Host) -> float:
    """The share of predictions, by their weights (N,), that are the label; None never is.

    Raises ValueError for none, for other lengths, and for labels none of which is among the classes: "1" is not 1.
    """
    labels = listed(owner, "labels", labels, "a list")
    if len(predicted) != len(labels) or not len(predicted):
        counts = f"{len(predicted)} texts and {len(labels)} labels"
        raise ValueError(f"{owner}: {counts}; expected as many, and at least one")
    if not any(label in classes for label in labels):
        given, known = reprlib.repr(list(dict.fromkeys(labels))), reprlib.repr(list(classes))
        raise ValueError(f"{owner}: none of the labels is known: {given}; expected some of {known}")
    right = [p is not None and bool(p == label) for p, label in zip(predicted, labels, strict=True)]
    return float(np.average(right, weights=weight))


def listed(owner: str, name: str, things: Any, expected: str) -> list[Any]:
    """A list of things that come in an order, in that order; columns of tables may count their rows otherwise."""
    if hasattr(things, "columns"):  # a table, which gives the names of its columns
        raise TypeError(f"{owner}: {name} is a {type(things).__name__}; expected {expected}: give one column of it")
    require_plain(owner, name, things)
    if isinstance(things, (str, bytes, Mapping, Set)) or not isinstance(things, Iterable):
        raise TypeError(f"{owner}: {name} is a {type(things).__name__}; expected {expected}")
    return list(things.to_pylist() if hasattr(things, "to_pylist") else things)  # Arrow's


def _kinds(labels: Iterable[Any]) -> set[str]:
    return {next((kind for kind, types in KINDS.items() if isinstance(x, types)), type(x).__name__) for x in labels}


def _is_missing(label: Any) -> bool:
    """None, NaN, what pandas has for either, or a text of spaces."""
    return not label.strip() if isinstance(label, str) else is_missing(label)
