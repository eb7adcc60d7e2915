"""What estimators of sequences are given: arrays, tables and lists as sequences, and weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xprnn.backend import to_numpy
from xprnn.data.tables import columns_of, in_float64, is_table, require_plain
from xprnn.estimators.sequences.feature_names import feature_names

Host = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Sequences:
    """Sequences (T_n, F) of finite float64, and the columns of the table that they were the rows of, 0 for none.

    ``names`` of those columns, or of the features of each step, where they have some.
    """

    rows: list[Host]
    width: int
    names: tuple[str, ...] = ()

    @property
    def features(self) -> int:
        """F."""
        return int(self.rows[0].shape[1])

    @property
    def lengths(self) -> list[int]:
        """T_n."""
        return [len(row) for row in self.rows]

    def taken(self, flags: Host) -> Sequences:
        """Those where ``flags`` (N,) is True."""
        return replace(self, rows=[self.rows[k] for k in np.flatnonzero(flags)])


def as_sequences(owner: str, X: Any, steps: int | None = None) -> Sequences:
    """Sequences from an array (N, T, F), a table (N, C), or a list, or column, of arrays (T_n, F) or (T_n,) or tables.

    A row of a table is a sequence of one value a step or, with ``steps``, of so many steps of C / steps values.

    Raises TypeError for what is no array of numbers, sparse or masked; ValueError for other shapes, no sequences, one
    without steps, and values that are not finite; the message names the first row.
    """
    if hasattr(X, "toarray"):
        raise TypeError(f"{owner}: X is a sparse {type(X).__name__}; expected a dense array, as X.toarray() is")
    X = _unpacked(X)
    array = None if _is_list(X) else _table(owner, X)
    if array is None:
        if steps is not None:
            raise ValueError(f"{owner}: steps is {steps}, which is for tables (N, C); X is a list of sequences")
        found = Sequences(_listed(owner, X), 0, feature_names(owner, X))
    elif array.ndim == 2:
        found = Sequences(_cut(owner, array, steps), int(array.shape[1]), feature_names(owner, X))
    elif array.ndim != 3:
        shape = f"X has shape {array.shape}; expected (N, T, F), or (N, T) for one value a step"
        raise ValueError(f"{owner}: {shape}. Reshape your data: X[None] is one sequence")
    elif steps is not None:
        raise ValueError(f"{owner}: steps is {steps}, which is for tables (N, C); X has shape {array.shape}")
    elif 0 in array.shape:
        raise ValueError(f"{owner}: X has shape {array.shape}; expected at least one sequence, step and feature")
    else:
        found = Sequences(list(array), 0)
    _require_finite(owner, found, array)
    return found


def _unpacked(X: Any) -> Any:
    """A column of a table whose cells are sequences as a list of them; all else as it is."""
    way = getattr(X, "to_pylist", getattr(X, "to_list", None))  # Arrow's, and all others'
    if way is None or hasattr(X, "columns"):
        return X
    cells = way()
    return cells if cells and all(hasattr(cell, "__len__") and not isinstance(cell, str) for cell in cells) else X


def _is_list(X: Any) -> bool:
    """Whether it is a list of arrays, or of lists of several lengths, and no table that is written as a list."""
    if isinstance(X, np.ndarray):
        return X.dtype == object and X.ndim == 1 and len(X) > 0 and hasattr(X[0], "__len__")
    if not isinstance(X, (list, tuple)) or not X:
        return False
    if any(is_table(each) or (hasattr(each, "shape") and np.ndim(each)) for each in X):
        return True
    return all(isinstance(each, (list, tuple)) for each in X) and len({len(each) for each in X}) > 1


def _table(owner: str, X: Any, name: str = "X") -> Host:
    """An array of any library, a frame, or a list of lists as float64."""
    if hasattr(X, "reset_index"):  # the dates of a frame's index tell of rows, and rows are no steps here
        X = X.reset_index(drop=True)
    if not isinstance(X, np.ndarray) and (hasattr(X, "columns") or isinstance(X, dict)):
        table = columns_of(X, owner)
        if table is not None and table.dates is not None:
            raise TypeError(f"{owner}: {name} has a column of dates; leave it out or, for a row a step, use long_table")
        if table is not None:
            return table.values
    return _numbers(owner, name, X)


def _numbers(owner: str, name: str, X: Any) -> Host:
    require_plain(owner, name, X)
    if not isinstance(X, (list, tuple)) and not hasattr(X, "shape") and not hasattr(X, "__array__"):
        raise TypeError(f"{owner}: {name} is a {type(X).__name__}; expected numbers in an array, a list or a table")
    try:
        array = np.asarray(to_numpy(X) if hasattr(X, "shape") else X)
    except ValueError as error:  # lists of several lengths
        raise ValueError(f"{owner}: {name}: {error}") from None
    if array.dtype.kind == "c":
        raise ValueError(f"{owner}: {name} is complex. Complex data not supported: give both parts as features")
    if array.dtype.kind not in "biufO":
        raise TypeError(f"{owner}: {name} has dtype {array.dtype}; expected numbers")
    if array.dtype.kind in "iu":
        return in_float64(owner, name, array)
    try:
        return array.astype(np.float64)
    except OverflowError:
        raise ValueError(f"{owner}: {name} holds a number too large for float64") from None
    except (TypeError, ValueError) as error:
        raise type(error)(f"{owner}: {name} holds other things than numbers: {error}") from None


def _cut(owner: str, array: Host, steps: int | None) -> list[Host]:
    """The rows of a table, cut into steps."""
    count, columns = array.shape
    if columns == 0:
        raise ValueError(f"{owner}: X has 0 feature(s) (shape=({count}, 0)) while a minimum of 1 is required.")
    if count == 0:
        raise ValueError(f"{owner}: X has shape {array.shape}; expected at least one sequence")
    if columns % (steps or columns):
        raise ValueError(f"{owner}: X has {columns} columns, which are not {steps} steps of as many values")
    return list(array.reshape(count, steps or columns, -1))


def _listed(owner: str, X: Any) -> list[Host]:
    found: list[Host] = []
    for k, each in enumerate(X):
        row = _table(owner, each, f"row {k}") if is_table(each) else _numbers(owner, f"row {k}", each)
        row = row[:, None] if row.ndim == 1 else row
        if row.ndim != 2 or 0 in row.shape:
            raise ValueError(f"{owner}: row {k} has shape {np.shape(each)}; expected (T, F) or (T,), T at least 1")
        if found and row.shape[1] != found[0].shape[1]:
            raise ValueError(f"{owner}: row {k} has {row.shape[1]} features a step; row 0 has {found[0].shape[1]}")
        found.append(row)
    return found


def _require_finite(owner: str, found: Sequences, array: Host | None) -> None:
    if array is not None and np.isfinite(array).all():
        return
    for k, row in enumerate(found.rows):
        wrong = np.argwhere(~np.isfinite(row))
        if len(wrong):
            step, feature = wrong[0]
            shown = "NaN" if np.isnan(row[step, feature]) else "inf"
            where = f"column {step * row.shape[1] + feature}" if found.width else f"step {step}, feature {feature}"
            raise ValueError(f"{owner}: row {k}, {where} of X is {shown}; fill what is not finite, or drop the row")


def as_weights(owner: str, weights: Any, count: int, each: str = "row of X") -> Host:
    """Weights (N,) of sequences, or what else ``each`` is, all 1 by default.

    Raises TypeError and ValueError, naming the first wrong row.
    """
    if weights is None:
        return np.ones(count)
    array = _numbers(owner, "sample_weight", weights)
    if array.shape != (count,):
        shape = f"sample_weight has shape {array.shape}"
        raise ValueError(f"{owner}: {shape}; expected ({count},), one for each {each}")
    wrong = np.flatnonzero(~(np.isfinite(array) & (array >= 0.0)))
    if len(wrong):
        raise ValueError(f"{owner}: sample_weight of row {wrong[0]} is {array[wrong[0]]}; expected at least 0")
    if not array.any():
        raise ValueError(f"{owner}: every sample_weight is zero; expected at least one weight above zero")
    return array


def as_numbers(owner: str, y: Any, count: int) -> Host:
    """Targets (N,) or (N, K) of finite numbers. Raises TypeError and ValueError, naming the first wrong row."""
    if y is None:
        raise ValueError(f"{owner}: requires y to be passed, but the target y is None")
    numbers = _numbers(owner, "y", y)
    if numbers.ndim not in (1, 2) or 0 in numbers.shape[1:]:
        raise ValueError(f"{owner}: y has shape {numbers.shape}; expected (N,) or (N, K)")
    if len(numbers) != count:
        raise ValueError(f"{owner}: X has {count} rows and y {len(numbers)}; expected as many")
    wrong = np.argwhere(~np.isfinite(numbers))
    if len(wrong):
        raise ValueError(f"{owner}: row {wrong[0][0]} of y is {numbers[wrong[0][0]]}; expected finite numbers")
    return numbers
