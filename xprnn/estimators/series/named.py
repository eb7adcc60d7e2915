"""Series and what is known beside them as columns of one table, by their names."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from xprnn.data.numbered_times import warn_of_holes
from xprnn.data.series import as_series
from xprnn.data.table_form import TableForm, selected
from xprnn.data.tables import array_of, dates_of, dates_of_index, is_table, named_columns, names_given, no_column
from xprnn.estimators.sequences.long_table import INDEX, index_of_dates
from xprnn.estimators.series.panel import Panel, with_values

Host = np.ndarray[Any, Any]
DATES = "\0dates"
"""What the dates of rows to come are called beside their columns."""


@dataclass(frozen=True)
class Names:
    """Which columns are forecast, which are known of the past and of the future, and which never change.

    ``id`` and ``time`` of a long table: whose step a row is, and when. ``one``: the target was a name and not a list.
    """

    target: tuple[str, ...]
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    id: str | None = None
    time: str | None = None
    one: bool = False

    @classmethod
    def of(
        cls,
        owner: str,
        target: Any,
        past: Any,
        future: Any,
        static: Any,
        id: Any,  # noqa: A002
        time: Any,
    ) -> Names:
        """Raises TypeError and ValueError for what are no names, for one name in two places, and static ones of one
        series.
        """
        one = isinstance(target, str)
        lists = {"target": [target] if one else target, "past": past, "future": future, "static": static}
        found = {}
        for name, given in lists.items():
            given = () if given is None else given
            if not isinstance(given, (list, tuple)) or not all(isinstance(each, str) for each in given):
                raise TypeError(
                    f"{owner}: {name} is {reprlib.repr(given)}; expected a list of names of columns, beside a target"
                )
            found[name] = tuple(given)
        for name, given in (("id", id), ("time", time)):
            if given is not None and not isinstance(given, str):
                raise TypeError(f"{owner}: {name} is {given!r}; expected the name of a column")
        if not found["target"]:
            raise ValueError(f"{owner}: target is {target!r}; expected at least one name of a column")
        if found["static"] and id is None:
            raise ValueError(f"{owner}: static is {static!r}; expected none of one series: give id, or leave it out")
        names = [*sum(found.values(), ()), *(each for each in (id, time) if each is not None)]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{owner}: column {doubled[0]!r} is named twice; expected one place for each")
        return cls(**found, id=id, time=time, one=one)

    def plain(self) -> dict[str, Any]:
        """As a file has them."""
        return asdict(self)

    @classmethod
    def from_plain(cls, given: Any) -> Names | None:
        """Raises ValueError and TypeError for others than names; None where a file has none."""
        if not isinstance(given, Mapping):
            raise TypeError(f"names is a {type(given).__name__}; expected those of columns")
        if not given:
            return None
        one, rest = given["one"], {name: part for name, part in given.items() if name != "one"}
        found = cls.of("names", **rest)
        if set(given) != set(found.plain()) or type(one) is not bool or (one and len(found.target) > 1):
            raise ValueError(f"names are {dict(given)!r}; expected those of columns")
        return cls(**{**vars(found), "one": one})

    def given(self, owner: str, table: Any, static: bool = False) -> tuple[Any, Any, Any]:
        """The series, and what is known beside them of the past and of the future, from a table that has it all.

        A table of one series keeps its kind, with its target and its dates alone; of several they are a panel, whose
        ``static`` columns the table has too. Raises TypeError and ValueError.
        """
        if self.id is not None:
            return self._panel(owner, table, static)
        columns = _columns(owner, table, (*self.target, *self.past, *self.future))
        dates = [name for name, column in columns.items() if _dated(owner, name, column)]
        if self.time is not None and self.time not in dates:
            numbers = _rising(owner, self.time, _columns(owner, table, (self.time,))[self.time])
            warn_of_holes(owner, self.time, {None: numbers}, 3)
        elif self.time is not None:
            dates = [self.time]
        kept = selected(table, [name for name in columns if name in (*self.target, *dates)])
        if self.one and isinstance(kept, (Mapping, np.ndarray)):  # which is answered by an array
            kept = as_series(kept, owner, gaps=True)[:, 0]
        return kept, _some(columns, self.past), _some(columns, self.future)

    def of_one(self, table: Any) -> Names:
        """The names by which a table of one series is read, which may lack its times and has no id."""
        time = self.time if self.time in [str(name) for name in names_given(table)] else None
        return replace(self, id=None, time=time, static=(), one=False)

    def ahead(self, owner: str, table: Any) -> Any:
        """What is known of steps to come, from a table of them, or what was given otherwise."""
        if not is_table(table) or not self.future:
            return table
        if self.id is not None:
            panel, _, _ = replace(self, target=self.future, past=(), future=(), one=False)._panel(owner, table, False)
            return {
                key: dict(zip(self.future, rows.T, strict=True)) | ({} if dates is None else {DATES: dates})
                for key, rows, dates in zip(panel.keys, panel.values, panel.dates, strict=True)
            }
        columns = _columns(owner, table, self.future)
        found = {name: columns[name] for name in self.future}
        dated = [name for name in columns.keys() - found.keys() if _dated(owner, name, columns[name])]
        if self.time in dated or len(dated) == 1:
            found[DATES] = columns[self.time if self.time in dated else dated[0]]
        elif (dates := dates_of_index(owner, table)) is not None:
            found[DATES] = dates
        return found

    def _panel(self, owner: str, table: Any, static: bool) -> tuple[Panel, Any, Any]:
        fixed, roles = self.static if static else (), [name for name in (self.id, self.time) if name is not None]
        values = tuple(dict.fromkeys((*self.target, *self.past, *self.future)))
        columns = _columns(owner, table, (*roles, *values, *fixed))
        wanted, time = {name: columns[name] for name in (*roles, *values, *fixed)}, self.time
        if time is None and (dates := index_of_dates(owner, table)) is not None:
            time, wanted[INDEX] = INDEX, dates
        found = Panel.from_table(wanted, id=roles[0], time=time, static=fixed)
        each = dict(zip(found.keys, found.values, strict=True))
        count = len(self.target)
        panel = with_values(found, {key: rows[:, :count] for key, rows in each.items()}, self.one)
        panel.names = self.target
        dated = [name for name in (self.time,) if name is not None and _dated(owner, name, columns[name])]
        panel.forms = (TableForm.of_columns(table, [*dated, *self.target], owner),) * len(panel)
        parts = ([values.index(name) for name in names] for names in (self.past, self.future))
        past, future = ({key: rows[:, part] for key, rows in each.items()} if part else None for part in parts)
        return panel, past, future


def by_names(
    owner: str,
    target: Any,
    past: Any,
    future: Any,
    static: Any,
    id: Any,  # noqa: A002
    time: Any,
) -> Names | None:
    """Those of :meth:`Names.of`, None where there is no target. Raises TypeError for some of them without it."""
    if target is not None:
        return Names.of(owner, target, past, future, static, id, time)
    for name, given in (("static", static), ("id", id), ("time", time)):
        if given is not None:
            raise TypeError(f"{owner}: {name} was given without a target; expected the name of a column of the table")
    return None


def _columns(owner: str, table: Any, names: Sequence[str]) -> dict[str, Any]:
    """All of a table by their names. Raises TypeError for what is no table, ValueError where one of ``names`` lacks."""
    if not is_table(table):
        raise TypeError(f"{owner}: a {type(table).__name__}; expected a table, as its columns are known by names")
    table = table.to_native() if hasattr(table, "to_native") else table
    named = named_columns(table)
    if named is None:
        raise TypeError(
            f"{owner}: a {type(table).__name__}; expected a table of rows, as collect() makes of a LazyFrame"
        )
    columns = dict(named)
    for name in names:
        if name not in columns:
            raise no_column(owner, table, name, columns)
    return columns


def _some(columns: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any] | None:
    return {name: columns[name] for name in names} or None


def _dated(owner: str, name: str, column: Any) -> bool:
    array = np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)
    return array.ndim == 1 and dates_of(owner, f"column {name!r}", column, array) is not None


def _rising(owner: str, name: str, column: Any) -> Host:
    """A column of numbers. Raises ValueError where rows are not in their order, TypeError for a column of others."""
    values = array_of(owner, f"column {name!r}", column)
    if values.dtype.kind not in "iuf":
        kind = getattr(column, "dtype", values.dtype)
        raise TypeError(
            f"{owner}: column {name!r} is of {kind}, whose order is not that of time: "
            "make it numbers or dates, as pandas.to_datetime does of text"
        )
    for row in np.flatnonzero(~(values[1:] > values[:-1]))[:1]:
        told = f"is {values[row + 1]}, after {values[row]}"
        raise ValueError(f"{owner}: row {row + 1} of column {name!r} {told}; expected rows in their order")
    return values
