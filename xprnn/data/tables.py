"""Tables as columns of numbers, and the dates of their rows.

Frames of pandas and polars, tables of Arrow, dicts and structured arrays are asked what they can do; no library of
theirs is imported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np

from xprnn.backend import to_numpy
from xprnn.data.csv_numbers import EXACT, require_apart
from xprnn.data.csv_rows import looks_dated, parse_date

Host = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Columns:
    """The numbers of a table (N, F), the names of its columns, and the dates of its rows where it has some."""

    values: Host
    names: tuple[str, ...]
    dates: list[date] | Host | None
    flags: Mapping[str, Any] = field(default_factory=dict)
    """Of columns that are True or False, which are 1 and 0 in ``values``, their dtypes."""


def columns_of(table: Any, owner: str) -> Columns | None:
    """What a table holds, missing numbers as NaN, True and False as 1 and 0; None for what is no table.

    Dates are those of the index or of the one column of dates. Raises TypeError for a column of anything else, for more
    than one of dates, for none of numbers, and for an index of several levels, of dates as text, or of time spans;
    ValueError for columns of several lengths, and for missing dates.
    """
    if hasattr(table, "to_native"):  # what narwhals wraps
        table = table.to_native()
    named = named_columns(table)
    if named is None:
        return None
    moments = dates_of_index(owner, table)
    dates = [] if moments is None else [("the index", moments)]
    found: list[tuple[str, Host]] = []
    flags: dict[str, Any] = {}
    for name, column in named:
        shown = f"column {name!r}"
        array = array_of(owner, shown, column)
        if array.ndim != 1:
            raise ValueError(f"{owner}: {shown} has shape {array.shape}; expected one number a row")
        if array.dtype.kind == "b":
            flags[name] = getattr(column, "dtype", array.dtype)
        if array.dtype.kind in "biuf":
            found.append((name, in_float64(owner, shown, array)))
        elif (moments := dates_of(owner, shown, column, array)) is not None:
            dates.append((shown, moments))
        else:
            raise no_numbers(owner, shown, getattr(column, "dtype", array.dtype))
    if len(dates) > 1:
        raise TypeError(f"{owner}: {' and '.join(shown for shown, _ in dates)} hold dates; leave out all but one")
    if not found:
        raise TypeError(f"{owner}: no column of numbers")
    lengths = [*((f"column {name!r}", len(column)) for name, column in found), *((name, len(d)) for name, d in dates)]
    if len({length for _, length in lengths}) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths)
        raise ValueError(f"{owner}: {told} rows; expected as many")
    values = np.stack([column for _, column in found], axis=1)
    return Columns(values, tuple(name for name, _ in found), dates[0][1] if dates else None, flags)


def dates_of_index(owner: str, table: Any) -> list[date] | Host | None:
    """The dates of pandas' index. Raises TypeError for several series in one, for dates as text, and for spans."""
    table = table.to_native() if hasattr(table, "to_native") else table
    index: Any = getattr(table, "index", None) if hasattr(table, "iloc") else None
    if index is None:
        return None
    if hasattr(index, "to_timestamp"):  # periods
        index = index.to_timestamp()
    if getattr(index, "nlevels", 1) > 1:
        raise TypeError(
            f"{owner}: the index has {index.nlevels} levels; expected one row after another: droplevel() leaves levels "
            "out, and estimators.Panel takes several series"
        )
    if len(index) and isinstance(index[0], str) and (parse_date(index[0]) is not None or looks_dated(index[0])):
        raise TypeError(f"{owner}: the index holds dates as text: pandas.to_datetime(index) makes dates of them")
    array = np.asarray(index.to_numpy())
    if array.dtype.kind == "m":
        raise TypeError(
            f"{owner}: the index holds time spans: add them to a date, as pandas.Timestamp('2000-01-01') + index does, "
            "or number the rows: reset_index(drop=True)"
        )
    return dates_of(owner, "the index", index, array)


def require_plain(owner: str, name: str, given: Any) -> None:
    """Raise TypeError for kinds of NumPy arrays that would lose their meaning: a mask, or rows that stay rows."""
    if isinstance(given, np.ma.MaskedArray):
        raise TypeError(f"{owner}: {name} is a masked array; fill or drop what is masked first")
    if isinstance(given, np.matrix):
        raise TypeError(f"{owner}: {name} is an np.matrix; expected an array, as np.asarray makes of it")


def is_missing(value: Any) -> bool:
    """None, NaN, or what pandas has for either, of which nobody may ask whether it differs from itself."""
    try:
        return value is None or bool(value != value)
    except TypeError:
        return True
    except ValueError:  # an array
        return False


def is_table(given: Any) -> bool:
    """Whether it has columns by names: a frame, a table, a dict of columns, a structured array."""
    named = isinstance(given, np.ndarray) and given.dtype.names is not None
    return isinstance(given, Mapping) or hasattr(given, "columns") or named


def names_given(table: Any) -> list[Any]:
    """What the columns of a table are called, as it has them: text, or anything else; none of what is no table."""
    if isinstance(table, Mapping):
        return list(table)
    if isinstance(table, np.ndarray):
        return list(table.dtype.names or ())
    return list(getattr(table, "column_names", getattr(table, "columns", ())))  # the columns of Arrow are arrays


def named_columns(table: Any) -> list[tuple[str, Any]] | None:
    if isinstance(table, Mapping):
        return _by_names(list(table), list(table.values()))
    if isinstance(table, np.ndarray):
        return None if table.dtype.names is None else [(name, table[name]) for name in table.dtype.names]
    if hasattr(table, "iloc") and hasattr(table, "columns"):  # pandas
        return _by_names(list(table.columns), [table.iloc[:, k] for k in range(len(table.columns))])
    if hasattr(table, "get_columns"):  # polars
        return [(column.name, column) for column in table.get_columns()]
    if hasattr(table, "column_names") and hasattr(table, "columns"):  # Arrow
        return _by_names(table.column_names, table.columns)
    if hasattr(table, "to_numpy") and getattr(table, "ndim", 1) == 1:  # a single column of any of them
        return [(str(getattr(table, "name", None) or 0), table)]
    return None


def no_column(owner: str, table: Any, name: Any, columns: Iterable[str]) -> ValueError:
    """The error for a column that a table has not, or has in its index."""
    levels = getattr(getattr(table, "index", None), "names", ())
    told = (
        "it is in the index, and reset_index() makes it a column"
        if name in levels
        else f"expected one of {', '.join(columns)}"
    )
    return ValueError(f"{owner}: there is no column {name!r}; {told}")


def _by_names(names: Sequence[Any], columns: Sequence[Any]) -> list[tuple[str, Any]]:
    """Columns by their names as text, with their places where several have one: twice "a", or 1 and "1"."""
    texts = [str(name) for name in names]
    count = Counter(texts)
    unique = [text if count[text] == 1 else f"{text} ({k})" for k, text in enumerate(texts)]
    return list(zip(unique, columns, strict=True))


def array_of(owner: str, name: str, column: Any) -> Host:
    """A column as an array; missing numbers are NaN. Raises TypeError for categories, which numbers may name."""
    require_plain(owner, name, column)
    dtype = getattr(column, "dtype", None)
    if hasattr(dtype, "categories"):
        raise no_numbers(owner, name, dtype)
    if not isinstance(dtype, np.dtype) and (getattr(dtype, "kind", None) or "O") in "fiu":  # pandas' own numbers
        whole = column.dtype.kind in "iu" and not column.isna().any()
        return column.to_numpy() if whole else column.to_numpy(dtype="float64", na_value=np.nan)
    if isinstance(column, (list, tuple)):
        return np.asarray(column)
    if not any(hasattr(column, way) for way in ("to_numpy", "shape", "__array__")):
        raise TypeError(f"{owner}: {name} is a {type(column).__name__}; expected an array or a list")
    return np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else to_numpy(column))


def in_float64(owner: str, name: str, numbers: Host) -> Host:
    """Numbers of any dtype. Raises ValueError for integers that differ, and would not any more."""
    found = numbers.astype(np.float64)
    if numbers.dtype.kind in "iu" and numbers.size and np.abs(found).max() > EXACT:
        require_apart(f"{owner}: {name}", np.unique(numbers).tolist())
    return found


def no_numbers(owner: str, name: str, kind: Any) -> TypeError:
    """The error for a column of something else."""
    return TypeError(f"{owner}: {name} is of {kind}; expected numbers: make it numbers, or leave it out")


def dates_of(owner: str, name: str, column: Any, array: Host) -> list[date] | Host | None:
    """The dates of a column, which has been made an array; None where it holds something else.

    A list, or datetime64[us] where no zone is known. Raises ValueError for missing dates, and such as Python has not.
    """
    dtype = getattr(column, "dtype", None)
    zone = getattr(dtype, "tz", None) or getattr(dtype, "time_zone", None)
    if array.dtype.kind == "M" and zone is None:
        return _moments(owner, name, array)
    if array.dtype.kind not in "MO":
        return None
    items = column.to_list() if hasattr(column, "to_list") else array.tolist()
    items = [item.to_timestamp() if hasattr(item, "to_timestamp") else item for item in items]  # periods
    found = [item.to_pydatetime() if hasattr(item, "to_pydatetime") else item for item in items]
    # NaT is what pandas has for no date; it is a date that differs from itself.
    if not any(isinstance(item, date) and item == item for item in found):
        return None
    wrong = [k for k, moment in enumerate(found) if not isinstance(moment, date) or moment != moment]
    if wrong:
        raise ValueError(f"{owner}: row {wrong[0]} of {name} is {found[wrong[0]]!r}; expected a date")
    return found


def _moments(owner: str, name: str, array: Host) -> Host:
    """datetime64 of any unit in microseconds. Raises ValueError where Python's datetime has no such date."""
    moments = array.astype("datetime64[us]")
    missing = np.flatnonzero(np.isnat(moments))
    if len(missing):
        raise ValueError(f"{owner}: row {missing[0]} of {name} is NaT; expected a date")
    if (moments != array).any():
        raise ValueError(f"{owner}: {name} has dates finer than microseconds; round or leave it out")
    if len(moments) and not all(isinstance(end.item(), date) for end in (moments.min(), moments.max())):
        raise ValueError(f"{owner}: {name} has dates outside the years 1 to 9999")
    return moments
