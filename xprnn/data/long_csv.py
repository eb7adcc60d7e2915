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

from xprnn.data.csv_numbers import finite_numbers, number_of, tell_of_codes, tell_of_thousands
from xprnn.data.csv_rows import parse_date, read_rows, require_once
from xprnn.data.csv_rows import place_of as column_place
from xprnn.data.gaps import calendars_of
from xprnn.data.numbered_times import warn_of_holes

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
    or comes twice in a sequence, and a label that changes in one. Warns of times that are missing in a sequence,
    of numbers whose points seem to part thousands, and of those that seem to stand for missing ones, such as -999.
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
    lines, texts = [line for line, _ in rows], [[cells[place] for _, cells in rows] for place in places]
    each = zip(columns, texts, strict=True)
    values = np.stack([finite_numbers(path, name, lines, column, _why_none) for name, column in each], axis=1)
    moments = range(len(rows)) if time is None else _moments(path, time, place_of[time], rows)
    groups: dict[str, list[int]] = {}
    for row, (_, cells) in enumerate(rows):
        groups.setdefault(path.stem if id is None else cells[place_of[id]], []).append(row)
    labels = [""] * len(rows) if label is None else [cells[place_of[label]] for _, cells in rows]
    names = None if time is None else [cells[place_of[time]] for _, cells in rows]
    for key, group in groups.items():
        for row in group:
            if labels[row] != labels[group[0]]:
                raise ValueError(
                    f"{path}: line {lines[row]}, column {label!r} is {labels[row]!r}, but {id} {key!r} has "
                    f"{labels[group[0]]!r} in line {lines[group[0]]}; expected one label for each {id or 'file'}"
                )
        group.sort(key=moments.__getitem__)
        for before, after in pairwise(group):
            if names is not None and moments[before] == moments[after]:
                first, last = sorted((before, after))
                whose = "" if id is None else f" of {id} {key!r}"
                raise ValueError(
                    f"{path}: line {lines[last]}: {time} {names[after]}{whose} is in line {lines[first]} already"
                )
    tell_of_thousands(path, columns, texts, 2)
    tell_of_codes(path, columns, values, 2)
    times: dict[str, Any] = {key: [moments[row] for row in group] for key, group in groups.items()}
    if isinstance(moments[0], datetime):
        calendars_of(str(path), times, 3)
    elif time is not None:
        warn_of_holes(str(path), time, times, 2)
    return LongCsv(
        tuple(groups),
        [values[group] for group in groups.values()],
        None if label is None else tuple(labels[group[0]] for group in groups.values()),
        [[str(n + 1) if names is None else names[row] for n, row in enumerate(group)] for group in groups.values()],
        columns,
    )


def _why_none(text: str) -> str:
    return f"{text!r} is not a finite number; name the columns of numbers if this is none of them"


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
