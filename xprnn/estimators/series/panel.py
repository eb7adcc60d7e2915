"""What a forecaster is given: one series or several, and what is known beside them."""

from __future__ import annotations

import copy
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xprnn.data.gaps import calendars_of
from xprnn.data.numbered_times import numbered_times, warn_of_holes, warn_of_times
from xprnn.data.series import as_series
from xprnn.data.table_form import TableForm
from xprnn.data.tables import array_of, columns_of, is_table, named_columns, no_column
from xprnn.estimators.sequences.long_table import INDEX, LongTable, index_of_dates, read_long

Host = np.ndarray[Any, Any]


class Panel:
    """Several series of one kind and any lengths, from which one model learns.

    >>> panel = Panel({"north": [1.0, 2.0, 4.0], "south": [3.0, 3.0, 2.0, 5.0]})
    >>> panel
    Panel(2 series of 3 to 4 steps, 1 column)

    Parameters
    ----------
    series
        A dict of series by name, or a list of them; each (T,) or (T, F), or a table, as :class:`Forecaster` takes one;
        NaN where a value is missing.
    static
        What is known of each series and never changes: a dict of (S,) by the same names, or a list.

    Raises TypeError and ValueError, naming the series.
    """

    def __init__(self, series: Any, *, static: Any = None) -> None:
        owner = "Panel"
        pairs = by_key(owner, "series", series)
        if not pairs:
            raise ValueError(f"{owner}: there are no series; expected at least one")
        for key in pairs:
            if isinstance(key, bool) or not isinstance(key, (str, int, np.integer)):
                raise TypeError(f"{owner}: a series is called {key!r}; expected a name or a whole number")
        self.keys: tuple[str | int, ...] = tuple(key if isinstance(key, str) else int(key) for key in pairs)
        self.named = isinstance(series, Mapping)
        self.values = tuple(as_series(each, f"{owner}: series {key!r}", gaps=True) for key, each in pairs.items())
        columns = self.values[0].shape[1]
        for key, values in zip(self.keys, self.values, strict=True):
            if values.shape[1] != columns:
                raise ValueError(
                    f"{owner}: series {key!r} has {values.shape[1]} columns; expected {columns}, as {self.keys[0]!r}"
                )
        tables = ((key, columns_of(each, owner)) for key, each in pairs.items())
        names = {key: table.names for key, table in tables if table is not None}
        for key, own in names.items() if columns > 1 else ():
            first = next(iter(names))
            if own != names[first]:
                shown, expected = (", ".join(map(repr, some)) for some in (own, names[first]))
                raise ValueError(f"{owner}: series {key!r} has columns {shown}; expected {expected}, as {first!r}")
        self.names: tuple[str, ...] = next(iter(names.values()), ())
        self.vector = columns == 1 and all(map(is_vector, pairs.values()))
        self.static = np.zeros((len(pairs), 0)) if static is None else _static(owner, static, self.keys)
        self.dates = tuple(dates_of_rows(each, owner) for each in pairs.values())
        self.forms = tuple(TableForm.of(each, owner) for each in pairs.values())

    @classmethod
    def from_table(cls, table: Any, *, id: str, time: str | None = None, static: Sequence[str] = ()) -> Panel:  # noqa: A002
        """The series of a long table, which has a row for each step of each.

        ``id`` and ``time`` are the columns that say whose step a row is, and when; ``static`` those that do not change
        in a series. All others are values, NaN where one is missing.

        Raises TypeError and ValueError as :func:`long_table`, and for a static column that changes.
        """
        found, gaps = _long(table, id, time)
        for name in static:
            if name not in found.features:
                raise ValueError(f"Panel: there is no column {name!r}; expected one of {', '.join(found.features)}")
        fixed = [found.features.index(name) for name in static]
        free = [k for k in range(len(found.features)) if k not in fixed]
        if not free:
            raise ValueError(f"Panel: there are no columns beside {', '.join(static)}; expected at least one of values")
        keys = found.ids.tolist()
        for key, rows, missing in zip(keys, found.X, gaps, strict=True):
            rows[missing] = np.nan
            for k in fixed:
                if np.isnan(rows[:, k]).any():
                    raise ValueError(f"Panel: series {key!r} has steps without a value of {found.features[k]!r}")
                if not (rows[:, k] == rows[0, k]).all():
                    raise ValueError(f"Panel: series {key!r} has several values of {found.features[k]!r}")
        panel = cls(
            dict(zip(keys, (rows[:, free] for rows in found.X), strict=True)),
            static=dict(zip(keys, (rows[0, fixed] for rows in found.X), strict=True)) if fixed else None,
        )
        panel.vector, panel.names = len(free) == 1, tuple(found.features[k] for k in free)
        dates = found.dates()
        calendars_of("Panel", dates, 3)
        if time is not None and found.times is not None and found.times[0].dtype.kind in "iuf":
            longest = max(found.times, key=len)
            warn_of_times("Panel", {time: longest}, 3)
            if numbered_times(time, longest) is None:
                warn_of_holes("Panel", time, dict(zip(keys, found.times, strict=True)), 3)
        panel.dates = tuple(dates.values())
        dated = [time] if time is not None and any(own is not None for own in panel.dates) else []
        panel.forms = (TableForm.of_columns(table, [*dated, *panel.names], "Panel"),) * len(panel)
        return panel

    def first(self, lengths: Sequence[int]) -> Panel:
        """The first so many steps of each series."""
        cut = zip(self.keys, self.values, lengths, strict=True)
        found = with_values(self, {key: values[:length] for key, values, length in cut}, self.vector)
        found.dates = tuple(None if d is None else d[:length] for d, length in zip(self.dates, lengths, strict=True))
        return found

    def __repr__(self) -> str:
        lengths, columns = [len(values) for values in self.values], self.values[0].shape[1]
        kind = f"{columns} column{'s' * (columns > 1)}"
        return f"Panel({len(self.keys)} series of {min(lengths)} to {max(lengths)} steps, {kind})"

    def __len__(self) -> int:
        return len(self.keys)


def with_values(panel: Panel, values: Mapping[str | int, Host], vector: bool) -> Panel:
    """The same series with other values, which are answered without columns where they are a ``vector``."""
    found = copy.copy(panel)
    found.values, found.vector = tuple(values[key] for key in panel.keys), vector
    return found


def is_vector(given: Any) -> bool:
    """Whether a series has no axis of columns; a table has one, and tables of Arrow do not say so themselves."""
    return not is_table(given) and np.ndim(given) == 1


def dates_of_rows(table: Any, owner: str) -> Any:
    """The dates of a table's rows; None of what has none. Raises what :func:`columns_of` does."""
    found = columns_of(table, owner)
    return None if found is None else found.dates


def by_key(owner: str, name: str, given: Any) -> dict[Any, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, (list, tuple)):
        return dict(enumerate(given))
    raise TypeError(
        f"{owner}: {name} is a {type(given).__name__}; expected a dict or a list, with a part for each series"
    )


def parts_of(owner: str, name: str, given: Any, keys: Sequence[Any]) -> list[Any]:
    """What was given for each series. Raises ValueError for other names than these."""
    pairs = by_key(owner, name, given)
    for key in keys:
        if key not in pairs:
            raise ValueError(f"{owner}: {name} lacks series {key!r}")
    if unknown := [key for key in pairs if key not in keys]:
        raise ValueError(f"{owner}: {name} has a series {unknown[0]!r}, which was not fitted")
    return [pairs[key] for key in keys]


def _long(table: Any, id: str, time: str | None) -> tuple[LongTable, list[Host]]:  # noqa: A002
    """The series of a long table, and where their features (T, F) are missing.

    What is missing goes along as a column of its own, as nothing may be missing in such tables.
    """
    table = table.to_native() if hasattr(table, "to_native") else table
    columns = dict(named_columns(table) or ())
    for name in (id, time):
        if columns and name is not None and name not in columns:
            raise no_column("Panel", table, name, columns)
    if columns and time is None and (dates := index_of_dates("Panel", table)) is not None:
        time, columns[INDEX] = INDEX, dates
    filled = {}
    for name in columns.keys() - {id, time}:
        array = array_of("Panel", f"column {name!r}", columns[name])
        if array.dtype.kind == "f" and np.isnan(array).any():
            columns[name], filled[name] = np.nan_to_num(array, nan=0.0, posinf=np.inf, neginf=-np.inf), np.isnan(array)
    flags = {f"{name}\0missing": missing for name, missing in filled.items()}
    found = read_long(columns | flags if columns else table, id, time)
    count = len(found.features) - len(flags)
    features = found.features[:count]
    gaps = []
    for rows in found.X:
        missing = np.zeros((len(rows), count), dtype=bool)
        for name, flag in zip(filled, rows[:, count:].T, strict=True):
            missing[:, features.index(name)] = flag == 1.0
        gaps.append(missing)
    return replace(found, X=[rows[:, :count] for rows in found.X], features=features), gaps


def _static(owner: str, given: Any, keys: Sequence[Any]) -> Host:
    """(N, S). Raises TypeError and ValueError."""
    parts = parts_of(owner, "static", given, keys)
    rows: list[Host] = []
    for key, part in zip(keys, parts, strict=True):
        row = np.asarray(part)
        if row.ndim != 1 or row.dtype.kind not in "biuf":
            raise TypeError(f"{owner}: static of series {key!r} is {reprlib.repr(part)}; expected a list of numbers")
        if not np.isfinite(row.astype(np.float64)).all():
            raise ValueError(f"{owner}: static of series {key!r} is {reprlib.repr(part)}; expected finite numbers")
        if rows and len(row) != len(rows[0]):
            raise ValueError(f"{owner}: static of series {key!r} has {len(row)} numbers; expected {len(rows[0])}")
        rows.append(row.astype(np.float64))
    return np.stack(rows)
