"""Long tables, a row for each step of each series, as sequences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timezone
from typing import Any

import numpy as np

from xprnn.data.gaps import calendars_of
from xprnn.data.tables import array_of, dates_of, dates_of_index, in_float64, is_missing, named_columns, no_column

Host = np.ndarray[Any, Any]
INDEX = "the index"


@dataclass(frozen=True)
class LongTable:
    """The series of a long table, in the order in which their ids come first.

    Attributes
    ----------
    ids
        (N,) of each series.
    X
        A list of N arrays (T_n, F), the features at each step.
    y
        (N,) the target of each series, or None.
    tags
        A list of N arrays (T_n,), the label of each step, or None.
    features
        The names of the F columns.
    """

    ids: Host
    X: list[Host]
    y: Host | None
    tags: list[Host] | None
    features: tuple[str, ...]
    times: list[Host] | None = None
    """N arrays (T_n,), when each step was: numbers, dates, or datetimes of a time zone. None without a time."""

    def dates(self) -> dict[Any, Host | None]:
        """The times of each series by its id, None where they are no dates."""
        if self.times is None or self.times[0].dtype.kind not in "MO":
            return dict.fromkeys(self.ids.tolist())
        return dict(zip(self.ids.tolist(), self.times, strict=True))


def long_table(
    table: Any,
    *,
    id: str,  # noqa: A002 - what it is called everywhere
    time: str | None = None,
    target: str | None = None,
    tag: str | None = None,
) -> LongTable:
    """The series of a table that has a row for each step of each: what estimators of sequences learn from.

    >>> found = long_table({"id": [7, 7, 8], "t": [1, 0, 0], "x": [2.0, 1.0, 5.0]}, id="id", time="t")
    >>> found.ids.tolist(), [series.tolist() for series in found.X]
    ([7, 8], [[[1.0], [2.0]], [[5.0]]])

    Parameters
    ----------
    table
        A frame of pandas or polars, a table of Arrow, a dict of columns, or a structured array.
    id, time
        The columns that say whose step a row is, and when: numbers or dates. Without ``time`` it is the index
        of a frame of pandas, if that holds dates, and else rows are in their order.
    target, tag
        The columns of a value that all steps of a series share, and of a label of each step. All others are features.

    Raises TypeError for what is no table and for features that are not numbers; ValueError for columns that are not
    there, no features, values that are missing, a time that comes twice in a series, and a target that changes in one;
    the message names the series and the column. Warns of dates that are missing in a series.
    """
    found = read_long(table, id, time, target, tag)
    calendars_of("long_table", found.dates(), 3)
    return found


def read_long(table: Any, id: str, time: str | None, target: str | None = None, tag: str | None = None) -> LongTable:  # noqa: A002
    """As :func:`long_table`, without a word about dates that are missing."""
    owner = "long_table"
    table = table.to_native() if hasattr(table, "to_native") else table
    named = named_columns(table)
    if named is None:
        raise TypeError(f"{owner}: a {type(table).__name__}; expected a table: a frame, or a dict of columns")
    columns = dict(named)
    if time is None and (dates := index_of_dates(owner, table)) is not None:
        time, columns = INDEX, columns | {INDEX: dates}
    roles = [name for name in (id, time, target, tag) if name is not None]
    for name in roles:
        if not isinstance(name, str) or name not in columns:
            raise no_column(owner, table, name, columns)
    features = tuple(name for name in columns if name not in roles)
    if not features:
        raise ValueError(f"{owner}: there are no columns beside {', '.join(roles)}; expected at least one feature")
    arrays = {name: _values(owner, name, columns[name]) for name in roles}
    if time is not None and arrays[time].dtype.kind not in "biufM":
        kind = getattr(columns[time], "dtype", arrays[time].dtype)
        raise TypeError(
            f"{owner}: column {time!r} is of {kind}, whose order is not that of time: make it numbers or dates, as "
            "pandas.to_datetime does of text"
        )
    if time is not None and arrays[time].dtype.kind == "f" and not np.isfinite(arrays[time]).all():
        raise ValueError(f"{owner}: column {time!r} has infinite times; expected finite ones")
    numbers = {name: _numbers(owner, name, columns[name]) for name in features}
    count = len(arrays[id])
    for name, array in (arrays | numbers).items():
        if len(array) != count:
            raise ValueError(f"{owner}: column {name!r} has {len(array)} rows; column {id!r} has {count}")
    if not count:
        raise ValueError(f"{owner}: the table has no rows")
    places: dict[Any, int] = {}
    series = np.array([places.setdefault(key, len(places)) for key in arrays[id].tolist()])
    order = np.argsort(series, kind="stable") if time is None else np.lexsort((arrays[time], series))
    ends = np.cumsum(np.bincount(series))[:-1]
    parts = {name: np.split(array[order], ends) for name, array in (arrays | numbers).items()}
    times = None if time is None else np.split(_zoned(owner, time, columns[time], arrays[time])[order], ends)
    for k, key in enumerate(places):
        _check_series(owner, key, {name: part[k] for name, part in parts.items()}, time, target, features)
    return LongTable(
        np.array([part[0] for part in parts[id]], dtype=arrays[id].dtype),
        [np.stack(columns_of, axis=1) for columns_of in zip(*(parts[name] for name in features), strict=True)],
        None if target is None else np.array([part[0] for part in parts[target]], dtype=arrays[target].dtype),
        None if tag is None else parts[tag],
        features,
        times,
    )


def index_of_dates(owner: str, table: Any) -> Any:
    """The dates of the one level of an index; None where there are none. Raises as :func:`dates_of_index`."""
    one = getattr(getattr(table, "index", None), "nlevels", 1) == 1
    return dates_of_index(owner, table) if one else None


def _values(owner: str, name: str, column: Any) -> Host:
    """A column of ids, times or labels; dates as datetime64. Raises ValueError where one is missing."""
    array = np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)
    if array.ndim != 1:
        raise ValueError(f"{owner}: column {name!r} has shape {array.shape}; expected one value a row")
    moments = dates_of(owner, f"column {name!r}", column, array)
    if moments is not None:
        return np.array([_without_zone(m) for m in moments], "datetime64[us]") if isinstance(moments, list) else moments
    missing = [k for k, value in enumerate(array.tolist()) if is_missing(value)]
    if array.dtype == object and any(hasattr(value, "__len__") and not isinstance(value, str) for value in array):
        raise TypeError(f"{owner}: column {name!r} holds lists or tuples; expected one name, number or date a row")
    if missing:
        raise ValueError(f"{owner}: row {missing[0]} of column {name!r} is missing")
    return array


def _zoned(owner: str, name: str, column: Any, values: Host) -> Host:
    """Times as they were given, which are values, but for datetimes of a time zone."""
    if values.dtype.kind != "M":
        return values
    array = np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)
    moments = dates_of(owner, f"column {name!r}", column, array)
    zoned = isinstance(moments, list) and any(getattr(moment, "tzinfo", None) for moment in moments)
    return np.array(moments, dtype=object) if zoned else values


def _without_zone(moment: date) -> date:
    """A date or time as it is called in Greenwich, where it has a zone."""
    if isinstance(moment, datetime) and moment.tzinfo is not None:
        return moment.astimezone(timezone.utc).replace(tzinfo=None)
    return moment


def _numbers(owner: str, name: str, column: Any) -> Host:
    array = array_of(owner, f"column {name!r}", column)
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        kind = getattr(column, "dtype", array.dtype)
        raise TypeError(f"{owner}: column {name!r} is of {kind}; expected numbers: make it numbers, or leave it out")
    return in_float64(owner, f"column {name!r}", array)


def _check_series(
    owner: str, key: Any, part: dict[str, Host], time: str | None, target: str | None, features: tuple[str, ...]
) -> None:
    if time is not None:
        twice = np.flatnonzero(part[time][1:] == part[time][:-1])
        if len(twice):
            how = "; reset_index(drop=True) leaves rows in their order" if time == INDEX else ""
            raise ValueError(f"{owner}: series {key!r} has {time} {part[time][twice[0]]} twice{how}")
    if target is not None and (part[target] != part[target][0]).any():
        values = list(dict.fromkeys(part[target].tolist()))[:2]
        raise ValueError(f"{owner}: series {key!r} has several values of {target}: {values[0]!r}, {values[1]!r}")
    for name in features:
        wrong = np.flatnonzero(~np.isfinite(part[name]))
        if len(wrong):
            at = f"step {wrong[0]}" if time is None else f"{time} {part[time][wrong[0]]}"
            raise ValueError(f"{owner}: series {key!r}, column {name!r} is {part[name][wrong[0]]} at {at}")
