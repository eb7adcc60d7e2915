"""Tables that go on: rows to come, of the kind of frame that a series was given in, with their dates."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
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
        dated = found.dates is not None and len(found.dates) > 1
        return cls(empty, found.names, others[0] if others else None, Calendar(found.dates) if dated else None, wrapped)

    def made(self, values: Host, first: int) -> Any:
        """Rows (H, F), the first of which has this number, counted from the first of the table."""
        rows = range(first, first + len(values))
        dates = None if self.calendar is None else self.calendar.dates_of(rows)
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

    def _pandas(self, values: Host, rows: range, dates: Sequence[datetime] | None) -> Any:
        empty, index = self.empty, self.empty.index
        if self.time is None and dates is not None:
            more = {"freq": index.freq} if hasattr(index, "to_timestamp") else {}
            index = type(index)(dates, name=index.name, **more)
        else:
            index = range(rows.start, rows.stop)
        if not hasattr(empty, "columns"):
            return type(empty)(values[:, 0], index=index, name=empty.name)
        found = type(empty)(values, index=index, columns=[name for name in empty.columns if str(name) != self.time])
        if self.time is not None:
            place = [str(name) for name in empty.columns].index(self.time)
            column = empty.columns[place]
            found.insert(place, column, dates)
            found = found.astype({column: empty[column].dtype})
        return found

    def _polars(self, values: Host, dates: Sequence[datetime] | None) -> Any:
        frame = type(self.empty)
        found = frame(dict(zip(self.names, values.T, strict=True)))
        if self.time is not None:
            count = [None] * len(values) if dates is None else dates
            found = found.hstack(frame({self.time: count}, schema={self.time: self.empty.schema[self.time]}))
        return found.select(self.empty.columns)

    def _arrow(self, values: Host, dates: Sequence[datetime] | None) -> Any:
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
