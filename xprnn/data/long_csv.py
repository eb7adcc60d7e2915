"""CSV files in long form, a row for each step of each sequence, with errors that name line and column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from xprnn.data.csv_rows import number_of, parse_date, read_rows, require_once, tell_of_thousands
from xprnn.data.csv_rows import place_of as column_place
from xprnn.data.gaps import calendars_of

Host = np.ndarray[Any, Any]


@dataclass(frozen=True)
class LongCsv:
    """Sequences in the order in which their ids come first.

    Attributes
    ----------
    ids
        (N,) of each sequence.
    X
        N arrays (T_n, F), the numbers at each step.
    labels
        (N,) of each sequence, or None.
    times
        What each step is called, N lists of T_n: its time as the file has it, or its number from 1.
    features
        The names of the F columns.
    """

    ids: tuple[str, ...]
    X: list[Host]
    labels: tuple[str, ...] | None
    times: list[list[str]]
    features: tuple[str, ...]

    def windows(self, size: int) -> LongCsv:
        """Each sequence cut into parts of so many steps, the last of which may be shorter; parts are called by times.

        Labels stay with the parts.
        """
        parts = [(n, k) for n, row in enumerate(self.X) for k in range(0, len(row), size)]
        one = len(self.ids) == 1
        return LongCsv(
            tuple(self.times[n][k] if one else f"{self.ids[n]}, {self.times[n][k]}" for n, k in parts),
            [self.X[n][k : k + size] for n, k in parts],
            None if self.labels is None else tuple(self.labels[n] for n, _ in parts),
            [self.times[n][k : k + size] for n, k in parts],
            self.features,
        )


@dataclass(frozen=True)
class _Step:
    line: int
    name: str
    time: Any
    values: list[float]
    label: str


def read_long_csv(
    path: str | Path,
    *,
    id: str | None = None,  # noqa: A002 - what it is called everywhere
    time: str | None = None,
    label: str | None = None,
    columns: Sequence[str] = (),
) -> LongCsv:
    """Read the sequences of a CSV file that has a header and a row for each step of each.

    Parameters
    ----------
    id, time
        The columns that say whose step a row is (default: all of one sequence), and when: numbers, or dates in the
        forms of ISO 8601. Without ``time`` rows are in their order.
    label
        The column of a label, which all steps of a sequence share.
    columns
        Those of numbers. Default: all that are not named above.

    Raises OSError where the file cannot be read; ValueError, naming line and column, for a column that is not there or
    there twice, an id, time or label that is missing, what is no finite number, a time that is neither number nor date
    or comes twice in a sequence, and a label that changes in one. Warns of dates that are missing in a sequence,
    and of numbers whose points seem to part thousands.
    """
    path = Path(path)
    header, rows = read_rows(path)
    roles = [name for name in (id, time, label) if name is not None]
    columns = tuple(columns) or tuple(name for name in header if name not in roles)
    place_of = {name: column_place(path, header, name) for name in (*roles, *columns)}
    require_once(path, columns)
    if not columns:
        raise ValueError(f"{path}: there are no columns beside {', '.join(map(repr, roles))}; expected some of numbers")
    places = [place_of[name] for name in columns]
    for line, cells in rows:
        for name in roles:
            if not cells[place_of[name]]:
                raise ValueError(f"{path}: line {line}, column {name!r} is empty")
    moments = range(len(rows)) if time is None else _moments(path, time, place_of[time], rows)
    groups: dict[str, list[_Step]] = {}
    for moment, (line, cells) in zip(moments, rows, strict=True):
        values = [_finite(path, line, name, cells[place]) for name, place in zip(columns, places, strict=True)]
        key = cells[place_of[id]] if id is not None else path.stem
        group = groups.setdefault(key, [])
        name = cells[place_of[time]] if time is not None else str(len(group) + 1)
        step = _Step(line, name, moment, values, cells[place_of[label]] if label is not None else "")
        if group and step.label != group[0].label:
            raise ValueError(
                f"{path}: line {line}, column {label!r} is {step.label!r}, but {id} {key!r} has "
                f"{group[0].label!r} in line {group[0].line}; expected one label for each {id or 'file'}"
            )
        group.append(step)
    for key, group in groups.items():
        group.sort(key=lambda step: step.time)
        for before, after in pairwise(group):
            if before.time == after.time:
                first, last = sorted((before.line, after.line))
                whose = "" if id is None else f" of {id} {key!r}"
                raise ValueError(f"{path}: line {last}: {time} {after.name}{whose} is in line {first} already")
    tell_of_thousands(path, columns, [[cells[place] for _, cells in rows] for place in places], 2)
    if isinstance(moments[0], datetime):
        calendars_of(str(path), {key: [step.time for step in group] for key, group in groups.items()}, 3)
    return LongCsv(
        tuple(groups),
        [np.array([step.values for step in group]) for group in groups.values()],
        None if label is None else tuple(group[0].label for group in groups.values()),
        [[step.name for step in group] for group in groups.values()],
        columns,
    )


def _finite(path: Path, line: int, column: str, text: str) -> float:
    number = number_of(text)
    if number is None or not math.isfinite(number):
        raise ValueError(
            f"{path}: line {line}, column {column!r}: {text!r} is not a finite number; name the columns of numbers "
            "if this is none of them"
        )
    return number


def _moments(path: Path, column: str, place: int, rows: list[tuple[int, list[str]]]) -> list[Any]:
    """The times of rows, in what can be compared: all numbers, or all dates, as the first says."""
    numbers = number_of(rows[0][1][place]) is not None
    found: list[Any] = []
    for line, cells in rows:
        where, text = f"{path}: line {line}, column {column!r}", cells[place]
        moment: Any = number_of(text) if numbers else parse_date(text)
        if moment is None or (numbers and not math.isfinite(moment)):
            expected = "a finite number" if numbers else "a number or an ISO 8601 date"
            raise ValueError(f"{where}: {text!r} is not {expected}")
        if not numbers and found and (moment.tzinfo is None) != (found[0].tzinfo is None):
            raise ValueError(f"{where}: some dates have a time zone and some do not")
        found.append(moment)
    return found
