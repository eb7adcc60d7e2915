"""Time series from CSV files, with errors that name the row."""

from __future__ import annotations

import shlex
import warnings
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from xprnn.arguments import one_of
from xprnn.data.calendar import FILLS, Calendar, out_of_order
from xprnn.data.csv_numbers import (
    MISSING,
    finite_numbers,
    number_of,
    numbers_of,
    tell_of_codes,
    tell_of_thousands,
    why_no_number,
)
from xprnn.data.csv_rows import CLOCK, MONTH, looks_dated, parse_date, place_of, read_rows, require_once
from xprnn.data.gaps import close_gaps, with_values
from xprnn.data.numbered_times import DAYS, SPREADSHEET, holes, in_years, named_for_times, numbered_times
from xprnn.whole_files import checked_path

Host = np.ndarray[Any, Any]


@dataclass(frozen=True)
class CsvSeries:
    """Columns of numbers (N, F), their names, and the calendar of the rows where the file has dates."""

    values: Host
    columns: tuple[str, ...]
    calendar: Calendar | None

    def label(self, row: int) -> str:
        """The date of a row, or its number; rows past the end too."""
        return str(row) if self.calendar is None else self.calendar.label(row)

    def periods(self) -> tuple[float, ...]:
        """Lengths of the seasons that the dates tell of, in steps."""
        return () if self.calendar is None else self.calendar.periods()


def read_csv(
    path: str | Path,
    columns: Sequence[str] = (),
    date: str | None = None,
    *,
    fill: str | None = None,
    ahead: Sequence[str] = (),
) -> CsvSeries:
    """Read columns of numbers from a CSV file with a header.

    Parameters
    ----------
    columns
        Names. Default: the only column of numbers there is.
    date
        The column with ISO 8601 dates (YYYY-MM-DD, with a time, YYYY-MM or YYYY-Qn), or spans between two, which
        count by their first. Default: the first column, if its first value is such a date. Those of a column that is
        named may be digits alone: YYYY, YYYYMMDD, also with hours, minutes and seconds, or seconds since 1970 of 10
        digits, thousandths of 13 and so on, which are in UTC; or days of a year, YYYY-DDD.
    fill
        What to do about dates that are missing between others, by the rule that most of them follow, and about values
        that are missing, where a cell is empty or says so (NA, NaN, null, -): "previous" repeats the row before,
        "linear" goes straight to the row after, "refuse" raises. Default: a warning of dates, and rows are counted as
        steps, as they are where dates follow no rule; an error for values.
    ahead
        Those of the columns that are known for longer: in the last rows the others may be empty, and are NaN.

    Raises
    ------
    FileNotFoundError, PermissionError, IsADirectoryError
        The file cannot be read.
    ValueError
        Not text in UTF-8, no header, fewer than two rows, a missing or doubled column, a value that is not a finite
        number with a decimal point, a date in another form or not after the one before; messages name line and column.
        A name of ``ahead`` that is none of the columns.
        Missing dates, or none that follow a rule, with ``fill="refuse"``; the latter, or no dates where no value is
        missing either, with any ``fill``. Missing values before or behind all others, which nothing fills.
    TypeError
        One name in the place of a list.

    Warns of missing dates, filled or not, of missing values that are filled, of dates that follow no rule, or one only
    about, and where ``date`` names no column of dates that stand in another than the first, are digits alone, such as
    seconds since 1970 or the days of a spreadsheet, are times without a day, or in another form; of numbers whose
    points seem to part thousands; and of those that seem to stand for missing ones, such as -999.
    """
    for argument, names in (("columns", columns), ("ahead", ahead)):
        if isinstance(names, str):
            raise TypeError(f"read_csv: {argument} is {names!r}; expected a list of names")
    if fill is not None:
        one_of("read_csv", "fill", fill, (*FILLS, "refuse"))
    path = Path(checked_path(path))
    header, rows = read_rows(path)
    if date is not None and date not in header:
        raise ValueError(f"{path}: no column {date!r} for dates; the header has {', '.join(map(repr, header))}")
    first_line, first = rows[0]
    if date is None and parse_date(first[0]) is not None:
        date = header[0]
    if date is None and looks_dated(first[0]):  # without dates that can be read, nobody would see rows out of order
        raise ValueError(
            f"{path}: line {first_line}, column {header[0]!r}: {first[0]!r} is not an ISO 8601 date (YYYY-MM-DD)"
        )
    if not columns:
        columns = [name for k, name in enumerate(header) if name != date and number_of(first[k]) is not None]
        if len(columns) != 1:
            found = ", ".join(map(repr, columns)) or f"none, in line {first_line}: {', '.join(map(repr, first))}"
            raise ValueError(f"{path}: say which column to forecast; columns of numbers: {found}")
    require_once(path, columns)
    places = [place_of(path, header, name) for name in columns]
    values, end = np.full((len(rows), len(columns)), np.nan), len(rows)
    if unknown := [name for name in ahead if name not in columns]:
        raise ValueError(f"read_csv: ahead has {unknown[0]!r}; expected some of the columns {', '.join(columns)}")
    others = [header.index(name) for name in columns if name not in ahead] if ahead else []
    while others and end > 1 and not any(rows[end - 1][1][place] for place in others):
        end -= 1
    lines, texts = [line for line, _ in rows], [[cells[place] for _, cells in rows] for place in places]
    lasts = [len(rows) if name in ahead else end for name in columns]
    for k, (name, column) in enumerate(zip(columns, texts, strict=True)):
        there = [n for n, cell in enumerate(column[: lasts[k]]) if fill not in FILLS or not MISSING.fullmatch(cell)]
        own = [lines[n] for n in there], [column[n] for n in there]
        values[there, k] = finite_numbers(path, name, *own, why_no_number)
        if fill is not None and len(there) < lasts[k]:
            _tell_of_missing(f"{path}: column {name!r}", np.isnan(values[: lasts[k], k]), lines, fill)
    tell_of_thousands(path, columns, texts, 2)
    tell_of_codes(path, columns, values, 2)
    if date is None:
        _tell_of_dates(path, header, [cells for _, cells in rows], columns)
        whole = not any(np.isnan(column[:last]).any() for column, last in zip(values.T, lasts, strict=True))
        if fill is not None and whole:
            raise ValueError(f"{path}: fill is {fill!r}, but there are no dates to tell what is missing")
        calendar = None
    else:
        given = _calendar(path, header, rows, date)
        values, calendar = close_gaps(str(path), values, given, fill)
        lasts = [bisect_right(calendar.dates, given.dates[last - 1]) for last in lasts]
    for k, last in enumerate(lasts):
        values[:last, k] = with_values(values[:last, k], fill)
    return CsvSeries(values, tuple(columns), calendar)


def _tell_of_missing(where: str, missing: Host, lines: Sequence[int], fill: str) -> None:
    """Warn of values that are filled. Raises ValueError where there is none before them or, for a line, behind."""
    ends = [(0, "before"), *([(-1, "behind")] if fill == "linear" else [])]
    for row, side in ends:
        if missing[row]:
            line = lines[range(len(missing))[row]]
            raise ValueError(f"{where}: line {line} has no value, and none {side} it to fill it from: leave it out")
    first = lines[int(missing.argmax())]
    warnings.warn(
        f"{where}: {missing.sum()} of {len(missing)} values are missing, the first in line {first}; they are filled by "
        f"fill={fill!r}",
        stacklevel=3,
    )


def _tell_of_dates(path: Path, header: Sequence[str], rows: list[list[str]], columns: Sequence[str]) -> None:
    """Warn of a column that nobody asked for, if it holds times, in whatever form."""
    for name, *cells in zip(header, *rows, strict=True):
        if name not in columns and cells[0] != cells[1] and (told := _times_in(name, cells)) is not None:
            what, way = told
            warnings.warn(
                f"{path}: column {name!r} holds {what}: rows are numbered, and no season is known; {way}", stacklevel=3
            )
            return


def _times_in(name: str, cells: list[str]) -> tuple[str, str] | None:
    """What times a column holds, and what makes dates of them; None where it holds something else."""
    first, takes = cells[:2], f"date={name!r}, --date {shlex.quote(name)} takes them"
    if all(
        cell.isdigit() and len(cell) == len("YYYYMMDD") and parse_date(cell, digits=True) is not None for cell in first
    ):
        return "dates, which are digits alone", takes
    if None not in (dates := [parse_date(cell) for cell in first]) and dates[0] != dates[1]:
        return "dates, and is not the first", takes
    if all(map(looks_dated, first)):
        return f"dates, such as {cells[0]!r}, which is no form that is read", "write them as YYYY-MM-DD"
    if all(map(CLOCK.fullmatch, cells)):
        return f"times of a day, such as {cells[0]!r}, without the day", "write them as YYYY-MM-DD HH:MM"
    numbers = numbers_of(cells)
    if (found := numbered_times(name, numbers)) is not None:
        return f"what seem to be {found[0]}", "write them as YYYY-MM-DD" if found[0] == SPREADSHEET else takes
    if named_for_times(name) and (told := holes(numbers)) is not None:
        return f"times that are numbers, and {told}", "put rows where they are missing"
    steps, shares = np.diff(numbers), in_years(name, numbers) and not (numbers == np.floor(numbers)).all()
    if shares or (named_for_times(name) and not (steps == steps[0]).all()):  # NaN is what holds no number
        return f"what may be times, such as {cells[0]!r}, in no form that is read", "write them as YYYY-MM-DD"
    return None


def _calendar(path: Path, header: Sequence[str], rows: list[tuple[int, list[str]]], name: str) -> Calendar:
    """The calendar of a column of dates. Raises ValueError naming the line."""
    place, dates = place_of(path, header, name), list[datetime]()
    if all(MONTH.fullmatch(cells[place]) and _ends_a_year_later(cells[place]) for _, cells in rows):
        raise ValueError(
            f"{path}: column {name!r} holds what are years that begin in another, such as {rows[0][1][place]!r}, and "
            "not months: write them as YYYY"
        )
    for line, cells in rows:
        parsed = parse_date(cells[place], digits=True)
        if parsed is not None and (not dates or (parsed.tzinfo is dates[-1].tzinfo and parsed > dates[-1])):
            dates.append(parsed)
            continue
        where = f"{path}: line {line}, column {name!r}"
        if parsed is None:
            days = number_of(cells[place])
            told = days is not None and DAYS[0] <= days <= DAYS[1]
            how = ", but may be the day of a spreadsheet: write it as YYYY-MM-DD" if told else ""
            raise ValueError(f"{where}: {cells[place]!r} is not an ISO 8601 date{how}")
        if dates and (parsed.tzinfo is None) != (dates[-1].tzinfo is None):
            raise ValueError(f"{where}: some dates have a time zone and some do not")
        if dates and parsed <= dates[-1]:
            clocks = [other for other, cell in zip(header, cells, strict=True) if CLOCK.fullmatch(cell)]
            how = f"; join it with column {clocks[0]!r} in one column" if clocks and parsed == dates[-1] else ""
            raise ValueError(f"{where}: {cells[place]} {out_of_order(dates[-1], parsed)}{how}")
        dates.append(parsed)
    return Calendar(dates)


def _ends_a_year_later(text: str) -> bool:
    """Whether 1999-00 is the text, and not the month that 2000-12 is."""
    return int(text[-2:]) == (int(text[:4]) + 1) % 100
