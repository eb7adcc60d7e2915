"""Tables that go on: rows to come, of the kind of frame that a series was given in, with their dates."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import numpy as np

from xprnn.data.calendar import Calendar
from xprnn.data.tables import columns_of, named_columns

Host = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TableForm:
    """A frame or a column of pandas or polars, or a table of Arrow, without its rows.

    ``names`` are the columns of numbers; ``time`` that of dates, None where the index has them or there are none.
    """

    empty: Any
    names: tuple[str, ...]
    time: str | None
    calendar: Calendar | None
    wrapped: type | None = None
    """What narwhals had around it."""
    days: bool = False
    """Whether dates were days without a clock."""
    numbered: tuple[int, int] | None = None
    """The number of the first row, and from one to the next, where pandas' index has numbers at one distance."""

    @classmethod
    def of(cls, table: Any, owner: str) -> TableForm | None:
        """That of a table, None for arrays, lists, dicts and structured arrays, which are answered by arrays.

        Raises what :func:`columns_of` does.
        """
        wrapped = type(table) if hasattr(table, "to_native") else None
        table = table.to_native() if wrapped is not None else table
        for way in ("iloc", "head", "slice"):  # pandas, polars, Arrow
            if hasattr(table, way) and hasattr(table, "to_numpy" if way != "slice" else "column_names"):
                break
        else:
            return None
        found = columns_of(table, owner)
        if found is None:
            return None
        empty = table.iloc[:0] if way == "iloc" else table.head(0) if way == "head" else table.slice(0, 0)
        others = [name for name, _ in named_columns(table) or () if name not in found.names]
        dates = found.dates
        calendar = Calendar(dates) if dates is not None and len(dates) > 1 else None
        days = isinstance(dates, list) and bool(dates) and type(dates[0]) is date
        rows = _numbered(table.index) if way == "iloc" else None
        return cls(empty, found.names, others[0] if others else None, calendar, wrapped, days, rows)

    @classmethod
    def of_columns(cls, table: Any, names: Sequence[str], owner: str) -> TableForm | None:
        """That of some columns of a table, whose rows are of several series: of no dates yet, and of no numbers."""
        found = cls.of(first_row(selected(table, names)), owner) if not isinstance(table, Mapping) else None
        return None if found is None else replace(found, calendar=None, numbered=None)

    def counted_from(self, row: int) -> TableForm:
        """That of the same table where so many rows came before it."""
        if self.numbered is None:
            return self
        first, step = self.numbered
        return replace(self, numbered=(first - step * row, step))

    def made(self, values: Host, first: int, dated: int | None = None) -> Any:
        """Rows (H, F), the first of which has this number, counted from the first of the table.

        ``dated`` is the number that it has by its date, where that is another.
        """
        begins = (first, first if dated is None else dated)
        rows, moments = (range(begin, begin + len(values)) for begin in begins)
        dates: Sequence[date] | None = None if self.calendar is None else self.calendar.dates_of(moments)
        if dates is not None and self.days:
            dates = [moment.date() for moment in dates if isinstance(moment, datetime)]
        if hasattr(self.empty, "iloc"):
            found = self._pandas(values, rows, dates)
        elif hasattr(self.empty, "get_columns"):
            found = self._polars(values, dates)
        elif hasattr(self.empty, "column_names"):
            found = self._arrow(values, dates)
        else:  # a column of polars
            found = type(self.empty)(self.empty.name, values[:, 0])
        if self.wrapped is None:
            return found
        own = getattr(sys.modules[self.wrapped.__module__], "from_native", None) or sys.modules["narwhals"].from_native
        return own(found, allow_series=True)

    def _pandas(self, values: Host, rows: range, dates: Sequence[date] | None) -> Any:
        empty, index = self.empty, self._index(rows, dates)
        if not hasattr(empty, "columns"):
            return type(empty)(values[:, 0], index=index, name=empty.name)
        if self.time is None:
            return type(empty)(values, index=index, columns=empty.columns)
        place = [name for name, _ in named_columns(empty) or ()].index(self.time)
        found = type(empty)(values, index=index, columns=empty.columns.delete(place))
        column = empty.iloc[:, place]
        given = [None] * len(values) if dates is None else dates
        moments = type(column)(given, index=index, dtype=object).astype(column.dtype)
        found.insert(place, empty.columns[place], moments, allow_duplicates=True)
        return found

    def _index(self, rows: range, dates: Sequence[date] | None) -> Any:
        """That of rows of a frame of pandas: dates or numbers that go on, or else the rows' own numbers."""
        index = self.empty.index
        if self.time is None and dates is not None:
            more = {"freq": index.freq} if hasattr(index, "to_timestamp") else {}
            found = type(index)(dates, name=index.name, **more)
            return found if hasattr(index, "categories") else found.astype(index.dtype)
        if self.numbered is None:
            return rows
        first, step = self.numbered
        numbers: Any = range(first + step * rows.start, first + step * rows.stop, step)
        if not hasattr(index, "step"):
            numbers = list(numbers)
        try:
            return type(index)(numbers, name=index.name, dtype=index.dtype)
        except (OverflowError, TypeError):  # beyond what the type holds
            return type(index)(numbers, name=index.name)

    def _polars(self, values: Host, dates: Sequence[date] | None) -> Any:
        frame = type(self.empty)
        found = frame(dict(zip(self.names, values.T, strict=True)))
        if self.time is not None:
            count = [None] * len(values) if dates is None else dates
            found = found.hstack(frame({self.time: count}, schema={self.time: self.empty.schema[self.time]}))
        return found.select(self.empty.columns)

    def _arrow(self, values: Host, dates: Sequence[date] | None) -> Any:
        columns: dict[str, Any] = dict(zip(self.names, values.T, strict=True))
        if self.time is not None:
            columns[self.time] = [None] * len(values) if dates is None else dates
        names = [name for name, _ in named_columns(self.empty) or ()]  # each another, as the table's own need not be
        found = type(self.empty).from_pydict({name: columns[name] for name in names})
        found = found.rename_columns(self.empty.column_names)
        if self.time is None:
            return found
        place = names.index(self.time)
        return found.cast(found.schema.set(place, self.empty.schema.field(self.time)))


def selected(table: Any, names: Sequence[str]) -> Any:
    """A table of these columns alone, in this order, of the same kind."""
    if isinstance(table, Mapping):
        columns = {str(name): column for name, column in table.items()}
        return {name: columns[name] for name in names}
    if hasattr(table, "iloc"):  # pandas, whose columns may be called by anything
        places = {str(name): k for k, name in enumerate(table.columns)}
        return table.iloc[:, [places[name] for name in names]]
    return table.select(list(names)) if hasattr(table, "select") else table[list(names)]


def first_row(table: Any) -> Any:
    """The first row of a table, as a table."""
    if hasattr(table, "iloc"):
        return table.iloc[:1]
    return table.head(1) if hasattr(table, "head") else table[:1]


def _numbered(index: Any) -> tuple[int, int] | None:
    """The first number of an index and the distance from each to the next, None where there is no such."""
    numbers = np.asarray(index.to_numpy())
    if numbers.dtype.kind not in "iu" or not len(numbers):
        return None
    steps = set(np.diff(numbers.astype(np.int64)).tolist())
    return (int(numbers[0]), steps.pop() if steps else 1) if len(steps) < 2 and 0 not in steps else None
