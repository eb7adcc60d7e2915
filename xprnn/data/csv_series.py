"""Time series from CSV files, with errors that name the row."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]


@dataclass(frozen=True)
class CsvSeries:
    """Columns of numbers (N, F), their names, and the date of each row where the file has dates."""

    values: Host
    columns: tuple[str, ...]
    dates: tuple[datetime, ...] | None

    def label(self, row: int) -> str:
        """The date of a row, or its number; rows past the end continue at the usual interval."""
        if self.dates is None:
            return str(row)
        beyond = row - len(self.dates) + 1
        date = self.dates[row] if beyond <= 0 else self.dates[-1] + beyond * self.interval
        return date.date().isoformat() if self._daily else date.isoformat(sep=" ")

    @property
    def interval(self) -> timedelta:
        """The median time between rows."""
        dates = self.dates or ()
        seconds = [(b - a).total_seconds() for a, b in pairwise(dates)]
        return timedelta(seconds=median(seconds)) if seconds else timedelta(days=1)

    @property
    def _daily(self) -> bool:
        return all(d.time() == datetime.min.time() for d in self.dates or ()) and self.interval >= timedelta(days=1)

    def periods(self) -> tuple[float, ...]:
        """Day and year in steps, where the dates tell and the series holds at least two of them; no week is assumed."""
        if self.dates is None or self.interval <= timedelta(0):
            return ()
        cycles = (timedelta(days=1) / self.interval, timedelta(days=365.25) / self.interval)
        return tuple(cycle for cycle in cycles if 2.0 < cycle <= len(self.values) / 2)


def read_csv(path: str | Path, columns: Sequence[str] = (), date: str | None = None) -> CsvSeries:
    """Read columns of numbers from a CSV file with a header.

    Parameters
    ----------
    columns
        Names. Default: the only column of numbers there is.
    date
        The column with ISO 8601 dates. Default: the first column, if its first value is such a date.

    Raises
    ------
    FileNotFoundError, PermissionError, IsADirectoryError
        The file cannot be read.
    ValueError
        Not text in UTF-8, no rows, a missing column, a value that is not a finite number, a date that does not parse or
        does not come after the one before; the message names line and column.
    """
    path = Path(path)
    header, rows = _read_rows(path)
    if date is not None and date not in header:
        raise ValueError(f"{path}: no column {date!r} for dates; the file has {', '.join(map(repr, header))}")
    if date is None and _parse_date(rows[0][1][0]) is not None:
        date = header[0]
    if not columns:
        columns = [name for k, name in enumerate(header) if name != date and _number(rows[0][1][k]) is not None]
        if len(columns) != 1:
            found = ", ".join(map(repr, columns)) or "none"
            raise ValueError(f"{path}: say which column to forecast; columns of numbers: {found}")
    for name in columns:
        if name not in header:
            raise ValueError(f"{path}: no column {name!r}; the file has {', '.join(map(repr, header))}")
    places = [header.index(name) for name in columns]
    values = np.empty((len(rows), len(columns)))
    for n, (line, cells) in enumerate(rows):
        for k, place in enumerate(places):
            number = _number(cells[place])
            if number is None or not math.isfinite(number):
                raise ValueError(f"{path}: line {line}, column {columns[k]!r}: {cells[place]!r} is not a finite number")
            values[n, k] = number
    dates = None if date is None else _read_dates(path, rows, header.index(date), date)
    return CsvSeries(values, tuple(columns), dates)


def _read_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row with its line number."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    lines = text.splitlines()
    first = lines[0] if lines else ""
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        rows.extend((reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells)
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num}: {error}") from None
    if len(rows) < 2:
        raise ValueError(f"{path}: expected a header and at least one row, found {len(rows)} lines")
    header = rows[0][1]
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise ValueError(f"{path}: line {line} has {len(cells)} cells, the header has {len(header)}")
    return header, rows[1:]


def _read_dates(path: Path, rows: list[tuple[int, list[str]]], place: int, name: str) -> tuple[datetime, ...]:
    dates: list[datetime] = []
    for line, cells in rows:
        parsed = _parse_date(cells[place])
        if parsed is None:
            raise ValueError(f"{path}: line {line}, column {name!r}: {cells[place]!r} is not an ISO 8601 date")
        if dates and (parsed.tzinfo is None) != (dates[-1].tzinfo is None):
            raise ValueError(f"{path}: line {line}, column {name!r}: some dates have a time zone and some do not")
        if dates and parsed <= dates[-1]:
            raise ValueError(f"{path}: line {line}, column {name!r}: {cells[place]} does not come after the row before")
        dates.append(parsed)
    return tuple(dates)


def _parse_date(text: str) -> datetime | None:
    if text.isdigit():  # "2020" may well be a number
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
