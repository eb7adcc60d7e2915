"""What a forecaster is given: one series or several, and what is known beside them."""

from __future__ import annotations

import copy
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xprnn.data.calendar import Calendar, calendars_of, require_same
from xprnn.data.series import as_series
from xprnn.data.table_form import TableForm
from xprnn.data.tables import array_of, columns_of, is_table, named_columns
from xprnn.estimators.sequences.long_table import LongTable, read_long
from xprnn.estimators.series.frame import Series

Host = np.ndarray[Any, Any]
LARGEST = 1e150  # the square of it is finite, and the sum of many
SMALLEST = 1e-140  # the square of its twelfth digit is not yet rounded to 0


class Panel:
    """Several series that are learned from together: of one kind, of any lengths.

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
        pairs = _by_key(owner, "series", series)
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
                if not (rows[:, k] == rows[0, k]).all():
                    raise ValueError(f"Panel: series {key!r} has several values of {found.features[k]!r}")
        panel = cls(
            dict(zip(keys, (rows[:, free] for rows in found.X), strict=True)),
            static=dict(zip(keys, (rows[0, fixed] for rows in found.X), strict=True)) if fixed else None,
        )
        panel.vector, panel.names = len(free) == 1, tuple(found.features[k] for k in free)
        dates = found.dates()
        calendars_of("Panel", dates, 3)
        panel.dates = tuple(dates.values())
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


@dataclass(frozen=True)
class Kind:
    """How series were given, and how forecasts of them are given back: ``keys`` of several, None of one; whether they
    had names, and whether they had no columns.
    """

    keys: tuple[str | int, ...] | None
    named: bool
    vector: bool
    table: TableForm | None = None
    """Of one series that was a table."""
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """How the columns of steps, of the past and of the future were called, where they were."""
    calendars: tuple[Calendar | None, ...] = ()
    """Those of the fitted series, where their dates are known."""

    def require_names(self, owner: str, name: str, given: Any) -> None:
        """Raises ValueError for a table or a panel whose columns are not called as those fitted, in their order."""
        found = given.names if isinstance(given, Panel) else names_of(given, owner)
        fitted = self.names.get(name, ())
        if len(found) == len(fitted) > 1 and found != fitted:
            shown, expected = (", ".join(map(repr, names)) for names in (found, fitted))
            raise ValueError(f"{owner}: the columns are {shown}; expected {expected}, as fitted")

    def require_next(self, owner: str, k: int, dates: Any, row: int, stacklevel: int = 5) -> None:
        """Raises ValueError where the first of these dates, if known, cannot be that of this row of series k."""
        calendar = self.calendars[k] if self.calendars else None
        if calendar is not None and dates is not None and len(dates):
            first = dates[0] if isinstance(dates, list) else dates[0].item()
            calendar.require_next(owner, row, first, stacklevel)

    def answer(self, found: Sequence[Host], columns: int = 1) -> Any:
        """Arrays of each series; those of a vector without the axis of ``columns``."""
        found = [each.take(0, axis=columns) if self.vector else each for each in found]
        if self.keys is None:
            return found[0]
        return dict(zip(self.keys, found, strict=True)) if self.named else list(found)

    def split(self, owner: str, name: str, given: Any) -> list[Any]:
        """What was given for each series: of one series the thing itself. Raises ValueError for other names."""
        if self.keys is None:
            return [given]
        pairs = _by_key(owner, name, given)
        for key in self.keys:
            if key not in pairs:
                raise ValueError(f"{owner}: {name} lacks series {key!r}")
        if unknown := [key for key in pairs if key not in self.keys]:
            raise ValueError(f"{owner}: {name} has a series {unknown[0]!r}, which was not fitted")
        return [pairs[key] for key in self.keys]

    def place(self, owner: str, key: Any) -> int:
        """The number of a series. Raises ValueError for another key than a fitted one, and for one of one series."""
        if self.keys is None:
            if key is not None:
                raise ValueError(f"{owner}: key is {key!r}; expected none, as it was fitted on one series")
            return 0
        if key not in self.keys:
            raise ValueError(f"{owner}: fitted on several series; expected the key of one of them, and not {key!r}")
        return self.keys.index(key)

    def shown(self, owner: str, k: int) -> str:
        """How an error begins that is about series k."""
        return owner if self.keys is None else f"{owner}: series {self.keys[k]!r}"


def read(owner: str, given: Panel | Host, one: Kind, past: Any, future: Any) -> tuple[Kind, tuple[Series, ...], Host]:
    """How series came, they themselves with their covariates, and what is static of each (N, S).

    ``one`` is how a single series (T, F) came.

    Raises TypeError and ValueError, naming the series and the row.
    """
    if isinstance(given, Panel):
        called = {"steps": given.names, "past": _names_of_all(owner, "past", past)}
        called["future"] = _names_of_all(owner, "future", future)
        calendars = calendars_of(owner, dict(zip(given.keys, given.dates, strict=True)))
        kind = Kind(given.keys, given.named, given.vector, None, called, calendars)
        values, static = given.values, given.static
    else:
        kind, values, static = one, (given,), np.zeros((1, 0))
    for k, each in enumerate(values):
        for column in np.flatnonzero(np.isnan(each).all(axis=0)) if len(each) else ():
            raise ValueError(f"{kind.shown(owner, k)}: column {column} has no value that is known")
        _can_be_scaled(kind.shown(owner, k), each)
    lengths = [len(each) for each in values]
    dates = [None if each is None else each.dates for each in kind.calendars]
    pasts = covariates(owner, "past", past, kind, lengths, None, dates)
    futures = covariates(owner, "future", future, kind, lengths, None, dates)
    series = tuple(Series(*parts) for parts in zip(values, pasts, futures, strict=True))
    return kind, series, static


def covariates(
    owner: str,
    name: str,
    given: Any,
    kind: Kind,
    lengths: Sequence[int],
    columns: int | None,
    dates: Sequence[Any] = (),
) -> list[Host]:
    """Rows (T, C) of what is known beside each series, one for each of its steps.

    ``columns`` of a fitted model: how many it has, 0 for none; ``dates`` of the steps of each series, None where nobody
    knows them, which tables have to share. Raises TypeError and ValueError.
    """
    if given is None:
        if columns:
            raise ValueError(
                f"{owner}: {name} is missing; fitted with {columns} column{'s' * (columns > 1)} of it, which have to "
                f"be known for each of {max(lengths)} steps"
            )
        return [np.zeros((0, 0))] * len(lengths)
    if columns == 0:
        raise ValueError(f"{owner}: {name} was given, but fitted without it")
    found: list[Host] = []
    for k, (part, length) in enumerate(zip(kind.split(owner, name, given), lengths, strict=True)):
        shown = kind.shown(owner, k)
        rows = as_series(part, f"{shown}: {name}")
        kind.require_names(f"{shown}: {name}", name, part)
        if len(rows) != length:
            raise ValueError(f"{shown}: {name} has {len(rows)} rows; expected {length}, one for each step")
        if dates and dates[k] is not None:
            require_same(f"{shown}: {name}", dates_of_rows(part, shown), dates[k])
        expected = (found[0].shape[1] if found else rows.shape[1]) if columns is None else columns
        if rows.shape[1] != expected:
            raise ValueError(f"{shown}: {name} has {rows.shape[1]} columns; expected {expected}")
        if columns is None:
            _can_be_scaled(f"{shown}: {name}", rows)
        found.append(rows)
    return found


def is_vector(given: Any) -> bool:
    """Whether a series has no axis of columns; a table has one, and tables of Arrow do not say so themselves."""
    return not is_table(given) and np.ndim(given) == 1


def dates_of_rows(table: Any, owner: str) -> Any:
    """The dates of a table's rows; None of what has none. Raises what :func:`columns_of` does."""
    found = columns_of(table, owner)
    return None if found is None else found.dates


def names_of(table: Any, owner: str) -> tuple[str, ...]:
    """How the columns of a table are called; none of what is no table. Raises what :func:`columns_of` does."""
    found = columns_of(table, owner)
    return () if found is None else found.names


def _names_of_all(owner: str, name: str, given: Any) -> tuple[str, ...]:
    """How the columns are called of what is given for each of several series: by the first that is a table."""
    parts = {} if given is None else _by_key(owner, name, given)
    return next((names for part in parts.values() if (names := names_of(part, f"{owner}: {name}"))), ())


def _can_be_scaled(shown: str, rows: Host) -> None:
    """Raise ValueError for values, NaN where missing, whose squares overflow, and for columns of which they vanish."""
    if (most := np.abs(rows[~np.isnan(rows)]).max(initial=0.0)) > LARGEST:
        raise ValueError(f"{shown}: values up to {most:.3g} are too large to be scaled")
    for column, values in enumerate(np.abs(rows).T):
        if 0.0 < (most := values[~np.isnan(values)].max(initial=0.0)) < SMALLEST:
            raise ValueError(
                f"{shown}: column {column} has values up to {most:.3g}, which are too small to be scaled: multiply them"
            )


def _by_key(owner: str, name: str, given: Any) -> dict[Any, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, (list, tuple)):
        return dict(enumerate(given))
    raise TypeError(
        f"{owner}: {name} is a {type(given).__name__}; expected a dict or a list, with a part for each series"
    )


def _long(table: Any, id: str, time: str | None) -> tuple[LongTable, list[Host]]:  # noqa: A002
    """The series of a long table, and where their features (T, F) are missing.

    What is missing goes along as a column of its own, as nothing may be missing in such tables.
    """
    table = table.to_native() if hasattr(table, "to_native") else table
    columns = dict(named_columns(table) or ())
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
    parts = Kind(tuple(keys), True, False).split(owner, "static", given)
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
