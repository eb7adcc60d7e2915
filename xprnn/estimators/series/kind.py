"""How series were given to a forecaster, how they are answered, and what is known beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xprnn.data.calendar import Calendar
from xprnn.data.gaps import calendars_of, require_same
from xprnn.data.series import as_series, rows_of_series
from xprnn.data.table_form import TableForm
from xprnn.data.tables import columns_of
from xprnn.estimators.series.frame import Series
from xprnn.estimators.series.panel import Panel, by_key, dates_of_rows, parts_of

Host = np.ndarray[Any, Any]
LARGEST = 1e150  # the square of it is finite, and the sum of many
SMALLEST = 1e-140  # the square of its twelfth digit is not yet rounded to 0


@dataclass(frozen=True)
class Kind:
    """How series were given, and how forecasts of them are given back: ``keys`` of several, None of one; whether they
    had names, and whether they had no columns.
    """

    keys: tuple[str | int, ...] | None
    named: bool
    vector: bool
    tables: tuple[TableForm | None, ...] = ()
    """Of each series, where it was a table."""
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """How the columns of steps, of the past and of the future were called, where they were."""
    calendars: tuple[Calendar | None, ...] = ()
    """Those of the fitted series, where their dates are known."""
    firsts: tuple[int, ...] = ()
    """The numbers of their first dates, where a file has the last ones alone."""
    left_out: tuple[int, ...] = ()
    """How many rows, by the rule, were left out of what was observed since."""

    def require_names(self, owner: str, name: str, given: Any) -> None:
        """Raises ValueError for a table or a panel whose columns are not called as those fitted, in their order."""
        found = given.names if isinstance(given, Panel) else names_of(given, owner)
        fitted = self.names.get(name, ())
        if len(found) == len(fitted) > 1 and found != fitted:
            shown, expected = (", ".join(map(repr, names)) for names in (found, fitted))
            raise ValueError(f"{owner}: the columns are {shown}; expected {expected}, as fitted")

    def require_next(self, owner: str, k: int, dates: Any, row: int, stacklevel: int = 5) -> None:
        """Raises ValueError where these dates, if known, cannot be those from this row of series k on."""
        calendar = self._calendar(k)
        if calendar is not None and dates is not None and len(dates):
            row = self._dated(k, row)
            calendar.require_next(owner, row, dates if isinstance(dates, list) else dates.tolist(), stacklevel)

    def gone_on(self, k: int, row: int, dates: Any) -> Kind:
        """The kind after rows of series k, with these dates if known, of which the last one is number ``row``."""
        there = self._row_of(k, None if dates is None else dates[-1:])
        if there is None:
            return self
        left_out = self.left_out or (0,) * len(self.calendars)
        return replace(self, left_out=(*left_out[:k], there + self._first(k) - row, *left_out[k + 1 :]))

    def start_of(self, k: int, dates: Any) -> int:
        """The number that the first row of these dates has in series k, from which seasons count; 0 if nobody knows."""
        calendar, there = self._calendar(k), self._row_of(k, None if dates is None else dates[:1])
        if calendar is None or there is None:
            return 0
        late = self.left_out and there >= len(calendar.dates)
        return there + self._first(k) - (self.left_out[k] if late else 0)

    def as_tables(self, forms: Sequence[TableForm | None], rows: Sequence[int]) -> Kind:
        """The same where nobody knows which tables series were, as in a file: those of what came from rows on."""
        if self.tables or not any(forms):
            return self
        found = tuple(
            None if form is None else replace(form.counted_from(row), calendar=self._calendar(k))
            for k, (form, row) in enumerate(zip(forms, rows, strict=True))
        )
        return replace(self, tables=found)

    def _calendar(self, k: int) -> Calendar | None:
        return self.calendars[k] if self.calendars else None

    def _row_of(self, k: int, dates: Any) -> int | None:
        calendar = self._calendar(k)
        if calendar is None or dates is None or not len(dates):
            return None
        return calendar.row_of(dates[0] if isinstance(dates, list) else dates.tolist()[0])

    def _first(self, k: int) -> int:
        return self.firsts[k] if self.firsts else 0

    def _dated(self, k: int, row: int) -> int:
        """The number, among the dates of a calendar, of a row of series k to come."""
        return row - self._first(k) + (self.left_out[k] if self.left_out else 0)

    def rows(self, found: Sequence[Host], firsts: Sequence[int]) -> Any:
        """Rows (H, F) of each series, the first of which has this number: as tables where the series were some."""
        if not any(self.tables):
            return self.answer(found)
        each = [
            (values[:, 0] if self.vector else values)
            if form is None
            else form.made(values, first, self._dated(k, first))
            for k, (form, values, first) in enumerate(zip(self.tables, found, firsts, strict=True))
        ]
        return self._given_back(each)

    def answer(self, found: Sequence[Host], columns: int = 1) -> Any:
        """Arrays of each series; those of a vector without the axis of ``columns``."""
        return self._given_back([each.take(0, axis=columns) if self.vector else each for each in found])

    def _given_back(self, found: Sequence[Any]) -> Any:
        if self.keys is None:
            return found[0]
        return dict(zip(self.keys, found, strict=True)) if self.named else list(found)

    def split(self, owner: str, name: str, given: Any) -> list[Any]:
        """What was given for each series: of one series the thing itself. Raises ValueError for other names."""
        return [given] if self.keys is None else parts_of(owner, name, given, self.keys)

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
        forms = zip(given.forms, calendars, strict=True)
        tables = tuple(None if form is None else replace(form, calendar=calendar) for form, calendar in forms)
        kind = Kind(given.keys, given.named, given.vector, tables, called, calendars)
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
        rows = (as_series if columns is None else rows_of_series)(part, f"{shown}: {name}", flags=True)
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


def names_of(table: Any, owner: str) -> tuple[str, ...]:
    """How the columns of a table are called; none of what is no table. Raises what :func:`columns_of` does."""
    found = columns_of(table, owner)
    return () if found is None else found.names


def _names_of_all(owner: str, name: str, given: Any) -> tuple[str, ...]:
    """How the columns are called of what is given for each of several series: by the first that is a table."""
    parts = {} if given is None else by_key(owner, name, given)
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
