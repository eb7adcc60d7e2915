"""What classifiers of sequences learn to say: classes, several labels at once, or a label each step."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn.arguments import at_least_zero
from xprnn.backend import to_numpy
from xprnn.data.tables import require_plain
from xprnn.estimators.labels import classes_described, classes_restored, number_labels

Host = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Classes:
    """The labels that there are.

    ``own`` (C,) are the classes in the labels' own dtype; with ``several`` labels a row, their two values 0 and 1.
    """

    own: Host
    several: int = 0

    @property
    def count(self) -> int:
        """How many numbers the network says."""
        return self.several or len(self.own)

    def chosen(self, probabilities: Host) -> Host:
        """The labels (N,) or (N, L) of probabilities, in their own dtype."""
        return self.own[(probabilities > 0.5).astype(int) if self.several else probabilities.argmax(axis=-1)]

    def described(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arrays and the metadata that a file holds of them."""
        arrays, plain = classes_described(self.own)
        return arrays, {"classes": plain, "several": self.several}

    @classmethod
    def restored(cls, arrays: Mapping[str, Host], metadata: Mapping[str, Any]) -> Classes:
        """Those of a file. Raises ValueError for what fits nothing."""
        own, several = classes_restored(arrays, metadata["classes"]), metadata["several"]
        if several < 0 or several == 1 or (several and own.tolist() != [0, 1]):
            raise ValueError(f"several is {several}, with the classes {reprlib.repr(own.tolist())}")
        return cls(own, several)


def read_labels(owner: str, y: Any, count: int) -> tuple[Classes, Host]:
    """Labels (N,), or (N, L) of 0 and 1, as classes and their numbers. Raises TypeError and ValueError."""
    given = host_labels(owner, y)
    if given.ndim == 2 and given.shape[1] > 1:
        return _several(owner, given, count)
    if given.ndim == 2 and given.shape[1] == 1:
        given = y = given[:, 0]
    if given.ndim == 0:
        raise TypeError(f"{owner}: y is a {type(y).__name__}; expected a list or an array of labels")
    if given.ndim != 1:
        raise ValueError(f"{owner}: y has shape {given.shape}; expected (N,), or (N, L) of 0 and 1 for several labels")
    _require_discrete(owner, given)
    _, own, target = number_labels(owner, y if isinstance(y, (list, tuple)) else given, count, "rows")
    return Classes(own), target


def read_tags(owner: str, y: Any, lengths: list[int]) -> tuple[Classes, list[Host]]:
    """The labels of :func:`tag_rows` as classes and their numbers. Raises TypeError and ValueError."""
    rows = tag_rows(owner, y, lengths)
    flat = np.concatenate([row.astype(object) if row.dtype.kind == "U" else row for row in rows])
    _require_discrete(owner, flat)
    _, own, target = number_labels(owner, flat, len(flat), "steps")
    return Classes(own), np.split(target, np.cumsum(lengths)[:-1])


def tag_rows(owner: str, y: Any, lengths: list[int]) -> list[Host]:
    """Labels of each step, a list of (T_n,) or an array (N, T). Raises TypeError and ValueError, naming the row."""
    given = y if isinstance(y, (list, tuple)) else host_labels(owner, y)
    if not isinstance(given, list) and np.ndim(given) == 0:
        raise TypeError(f"{owner}: y is {reprlib.repr(y)}; expected labels of each step, a list of (T_n,) or (N, T)")
    rows = [host_labels(owner, row) for row in given]
    if len(rows) != len(lengths):
        raise ValueError(f"{owner}: X has {len(lengths)} rows and y {len(rows)}; expected as many")
    for k, (row, steps) in enumerate(zip(rows, lengths, strict=True)):
        if row.shape != (steps,):
            raise ValueError(f"{owner}: row {k} of y has shape {row.shape}; expected ({steps},), a label for each step")
    return rows


def those_kept(owner: str, y: Any, kept: Host) -> Any:
    """The labels of the rows where ``kept`` (N,) is True; of other than N rows all, for which there is an error."""
    if y is None or kept.all():
        return y
    given = y if isinstance(y, (list, tuple)) else host_labels(owner, y)
    if isinstance(given, (list, tuple)):
        return [given[k] for k in np.flatnonzero(kept)] if len(given) == len(kept) else y
    return given[kept] if given.shape[:1] == kept.shape else y


def host_labels(owner: str, y: Any) -> Host:
    """Labels of any library or list as an array of the host, of objects where a list has texts.

    Raises TypeError and ValueError.
    """
    if y is None:
        raise ValueError(f"{owner}: requires y to be passed, but the target y is None")
    require_plain(owner, "y", y)
    if hasattr(y, "toarray"):
        raise TypeError(f"{owner}: y is a sparse {type(y).__name__}; expected a dense array, as y.toarray() is")
    try:
        found = np.asarray(y if isinstance(y, (list, tuple, np.ndarray)) or not hasattr(y, "shape") else to_numpy(y))
    except ValueError:
        raise ValueError(f"{owner}: y has rows of several lengths; expected (N,) or (N, L)") from None
    if found.ndim == 1 and found.dtype.kind == "U" and isinstance(y, (list, tuple)):
        # NumPy makes text of whatever stands beside one, such as NaN for no label.
        return np.array([str.__str__(label) if isinstance(label, str) else label for label in y], dtype=object)
    return found


def _require_discrete(owner: str, y: Host) -> None:
    """Raise ValueError for labels that are measured numbers."""
    if y.dtype.kind == "f":
        wrong = np.flatnonzero(~np.isnan(y) & ((y != np.floor(y)) | np.isinf(y)))
        if len(wrong):
            raise ValueError(
                f"{owner}: y is continuous, such as {y[wrong[0]]} in row {wrong[0]}; expected classes: whole numbers "
                "or names; for numbers that are measured there is SequenceRegressor"
            )


def _several(owner: str, y: Host, count: int) -> tuple[Classes, Host]:
    if len(y) != count:
        raise ValueError(f"{owner}: {count} rows and {len(y)} rows of labels; expected as many")
    if y.dtype.kind not in "biuf":
        raise TypeError(
            f"{owner}: y has shape {y.shape} and dtype {y.dtype}; expected 0 and 1 for several labels a row"
        )
    wrong = np.argwhere((y != 0) & (y != 1))
    if len(wrong):
        row, label = wrong[0]
        raise ValueError(f"{owner}: row {row}, label {label} of y is {y[row, label]}; expected 0 or 1")
    return Classes(np.array([0, 1], dtype=y.dtype), int(y.shape[1])), y.astype(np.int64)


def class_weight(owner: str, name: str, given: Any) -> Any:
    """None, "balanced", or weights by label, as pairs that a file can hold. Raises ValueError for anything else."""
    if given is None or (isinstance(given, str) and given == "balanced"):
        return given
    pairs = list(given.items()) if isinstance(given, Mapping) else given
    if not isinstance(pairs, list) or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        raise ValueError(f"{owner}: {name} is {reprlib.repr(given)}; expected None, 'balanced' or a dict by label")
    plain = [(label.item() if isinstance(label, np.generic) else label, weight) for label, weight in pairs]
    for label, _ in plain:
        if not isinstance(label, (str, int, float)):
            raise ValueError(f"{owner}: {name} is of {reprlib.repr(label)}; expected the labels themselves")
    return [[label, at_least_zero(owner, f"{name}[{label!r}]", weight)] for label, weight in plain]


def weights_of_classes(owner: str, given: Any, classes: Classes, target: Host) -> Host:
    """What a class weighs (C,); with several labels, what 0 and 1 of each weigh (L, 2). Raises ValueError."""
    if classes.several:
        if given not in (None, "balanced"):
            raise ValueError(f"{owner}: class_weight is a dict; expected None or 'balanced' for several labels a row")
        ones = target.sum(axis=0)
        counts = np.stack([len(target) - ones, ones], axis=1)
        return np.ones(counts.shape) if given is None else len(target) / (2.0 * np.maximum(counts, 1))
    if given == "balanced":
        return len(target) / (classes.count * np.bincount(target, minlength=classes.count))
    weights, known = np.ones(classes.count), classes.own.tolist()
    for label, weight in given or ():
        if label not in known:
            raise ValueError(f"{owner}: class_weight has {label!r}; expected labels of y, {reprlib.repr(known)}")
        weights[known.index(label)] = weight
    if not weights[np.unique(target)].any():
        raise ValueError(f"{owner}: every class_weight is zero; expected at least one above")
    return weights


def step_weights(weight: Host, of_class: Host, tags: list[Host], dtype: str) -> tuple[Host, Host]:
    """What each sequence (N,) and class (C,) counts, so that all steps together count one each on average."""
    total = sum(w * of_class[row].sum() for w, row in zip(weight, tags, strict=True))
    return (weight * (sum(map(len, tags)) / total)).astype(dtype), of_class.astype(dtype)
