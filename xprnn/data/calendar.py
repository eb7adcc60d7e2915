"""What dates tell about a series: how its rows are called, also those to come, what is missing, and its seasons."""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

import numpy as np

from xprnn.arguments import one_of, whole_number
from xprnn.data.calendar_rules import WEEK, YEAR, About, Every, Monthly, Pattern, Rule, candidates, near
from xprnn.data.months import DAY
from xprnn.data.tables import dates_of

Host = np.ndarray[Any, Any]
EPOCH, MICROSECOND = datetime(1970, 1, 1), timedelta(microseconds=1)
ALIKE = 0.01  # how much a year may differ from the usual one in rows without being left out of the mean
SURE = 1e-3  # times of a pattern that would have no row by chance
SHOWN = 3  # missing dates that a sentence names
FILLS = ("previous", "linear")


class Calendar:
    """The dates of the rows of a series, strictly increasing, at least two: a list, or an index or column of a table.

    All of them together say which rule they follow: a fixed interval, the same times of each day or week (so weekdays),
    days of months (their ends too, first and last weekdays, third Fridays), or nearly even steps.
    Where most steps follow a rule, the others are gaps. Where none fits, ``rule`` is None: rows to come are then called
    by their numbers, and no season is known.

    Of dates with a time zone, intervals of no whole days are those of UTC, and all other rules hold on the wall's
    clock.
    Raises ValueError for fewer dates, a date that does not come after the one before, and zones on some dates only;
    TypeError for what is no date.
    """

    def __init__(self, dates: Any) -> None:
        given = _given(dates)
        if len(given) < 2:
            raise ValueError(f"Calendar: {len(given)} dates; expected at least two")
        self.dates = tuple(checked(given.tolist() if isinstance(given, np.ndarray) else given))
        aware = self.dates[0].tzinfo is not None
        wall = _microseconds([moment.replace(tzinfo=None) for moment in self.dates] if aware else given)
        moments = _microseconds([_utc(moment) for moment in self.dates]) if aware else wall
        wrong = np.flatnonzero(np.diff(moments) <= 0)
        if len(wrong):
            row = int(wrong[0]) + 1
            raise ValueError(f"Calendar: date {row}, {self.dates[row]}, {out_of_order(*self.dates[row - 1 : row + 1])}")
        self.rule, self._numbers, self._in_utc = _infer(wall, moments, aware)
        self._vague = isinstance(self.rule, About)
        self._whole_days = all(moment.time() == time.min for moment in self.dates)

    def label(self, row: int) -> str:
        """The date of a row; rows past the end go on by the rule or, where there is none, have their number."""
        row = whole_number("Calendar.label", "row", row, -len(self.dates))
        beyond = row - len(self.dates) + 1
        if beyond <= 0:
            return self._text(self.dates[row])
        try:
            return str(row) if self.rule is None else self._text(self._made(int(self._numbers[-1]) + beyond))
        except OverflowError:  # past the year 9999
            return str(row)

    def dates_of(self, rows: Sequence[int]) -> list[datetime] | None:
        """The dates of rows, also of those past the end; None where no rule says them before the year 10000."""
        last = len(self.dates) - 1
        if self.rule is None and max(rows, default=0) > last:
            return None
        try:
            return [self.dates[r] if r <= last else self._made(int(self._numbers[-1]) + r - last) for r in rows]
        except OverflowError:
            return None

    def row_of(self, moment: date) -> int | None:
        """The number of the row at a date: of one there is, or, before them and past the end, what the rule says.

        None where there is none.
        """
        (found,) = checked([moment])
        if (found.tzinfo is None) != (self.dates[-1].tzinfo is None):
            return None
        place = bisect_left(self.dates, found)
        if place < len(self.dates) and (place > 0 or self.dates[0] == found):
            return place if self.dates[place] == found else None
        rule: Any = self.rule
        if not hasattr(rule, "numbers"):  # which rules have that dates follow exactly
            return None
        if found.tzinfo is not None:
            found = _utc(found) if self._in_utc else found.astimezone(self.dates[-1].tzinfo).replace(tzinfo=None)
        numbers = rule.numbers(_microseconds([found]))
        if numbers is None:
            return None
        return int(numbers[0] - self._numbers[0]) if not place else place - 1 + int(numbers[0] - self._numbers[-1])

    def require_next(self, owner: str, row: int, dates: Sequence[date], stacklevel: int = 5) -> None:
        """Raise ValueError where dates cannot be those of rows past the end, as they do not come after those before.

        Warns of the first where the rule says another one.
        """
        moments = checked(dates)
        moment = moments[0]
        ruled = None if self._vague else self.dates_of(range(row - 1, row + len(moments)))
        before = self.dates[-1] if ruled is None else ruled[0]
        where = f"{owner}: the first row is of {self._text(moment)}"
        if (moment.tzinfo is None) != (before.tzinfo is None):
            how = "without" if before.tzinfo is None else "with"
            zone = "" if moment.tzinfo is None else f" ({moment.tzinfo})"
            raise ValueError(f"{where}{zone}; expected a date {how} a time zone, as {self._text(before)}")
        if moment <= before:
            raise ValueError(f"{where}; expected one after {self._text(before)}")
        for k, (moment, expected) in enumerate(zip(moments, () if ruled is None else ruled[1:], strict=False)):
            if moment != expected:
                which = f"row {k}" if k else "the first row"
                warnings.warn(
                    f"{owner}: {which} is of {self._text(moment)}, where {self._text(expected)} comes next: rows are "
                    "counted as steps; put rows of NaN where some are missing",
                    stacklevel=stacklevel,
                )
                break

    def periods(self) -> tuple[float, ...]:
        """Day, week and year in rows, where there are more than two rows in them and two of them in the series.

        It is the rows that there are which count: from a row to the one a cycle later, at most places. A year without
        some holidays or summers is shorter, and one with an outage is as long as the others.
        """
        if self.rule is None:
            return ()
        numbers = self._numbers - self._numbers[0]
        found = (_rows_in(numbers, self.rule.rows(span)) for span in (DAY, WEEK, YEAR))
        return tuple(rows for rows in found if 2.0 < rows <= len(self.dates) / 2)

    @property
    def missing(self) -> int:
        """How many dates of the rule have no row between the first and the last."""
        return 0 if self.rule is None else int(self._numbers[-1] - self._numbers[0]) + 1 - len(self.dates)

    @property
    def even_steps(self) -> int:
        """How many steps go from one date of the rule to the next."""
        return 0 if self.rule is None else int((np.diff(self._numbers) == 1).sum())

    def notice(self) -> str | None:
        """What has to be said about the dates, in a sentence: gaps, or that they follow no rule. None: nothing."""
        if self.rule is None:
            return (
                "the dates follow no rule: rows are counted as steps, and rows to come have numbers; no season is known"
            )
        if not self.missing:
            return f"the dates are not even, {self.rule}: those to come are guesses" if self._vague else None
        before = np.flatnonzero(np.diff(self._numbers) > 1)[:SHOWN]
        gaps = [
            self._numbers[k] + 1 + np.arange(min(self._numbers[k + 1] - self._numbers[k] - 1, SHOWN)) for k in before
        ]
        shown = [self._text(self._made(int(number))) for number in np.concatenate(gaps)[:SHOWN]]
        more = ", ..." if self.missing > len(shown) else ""
        total = len(self.dates) + self.missing
        return f"{self.missing} of {total} rows are missing ({self.rule}): {', '.join(shown)}{more}"

    def fill(self, values: Any, method: str) -> tuple[Host, Calendar]:
        """Rows for the missing dates: numbers (N,) or (N, F) to (N + missing,) or (N + missing, F), and their calendar.

        "previous" repeats the row before a gap, "linear" goes straight from it to the row after. Raises ValueError for
        another method, another number of rows, dates that follow no rule, and more missing rows than there are.
        """
        one_of("Calendar.fill", "method", method, FILLS)
        values = np.asarray(values, np.float64)
        if len(values) != len(self.dates):
            raise ValueError(f"Calendar.fill: {len(values)} rows and {len(self.dates)} dates; expected as many")
        if self.rule is None:
            raise ValueError("the dates follow no rule, so that nobody knows which are missing, and none can be filled")
        if self.missing > len(self.dates):
            raise ValueError(
                f"{self.notice()}: more than there are to fill them from; cut the series at the longest gap"
            )
        every = np.arange(self._numbers[0], self._numbers[-1] + 1)
        if method == "previous":
            filled = values[np.searchsorted(self._numbers, every, side="right") - 1]
        else:
            columns = values.reshape(len(values), -1).T
            filled = np.stack([np.interp(every, self._numbers, column) for column in columns], axis=1)
            filled = filled.reshape(len(every), *values.shape[1:])
        own = dict(zip(self._numbers.tolist(), self.dates, strict=True))
        return filled, Calendar([own[number] if number in own else self._made(number) for number in every.tolist()])

    def _made(self, number: int) -> datetime:
        """The date that the rule has for a number."""
        assert self.rule is not None
        found = EPOCH + int(self.rule.times(np.asarray([number]))[0]) * MICROSECOND
        zone = self.dates[-1].tzinfo
        return found.replace(tzinfo=timezone.utc).astimezone(zone) if self._in_utc else found.replace(tzinfo=zone)

    def _text(self, moment: datetime) -> str:
        return moment.date().isoformat() if self._whole_days else moment.isoformat(sep=" ")


def out_of_order(before: datetime, after: datetime) -> str:
    """What is wrong with two dates, of which the second does not come after the first."""
    if before == after:
        again = (
            "; where clocks are set back, write dates with their offset from UTC" if before.time() != time.min else ""
        )
        return f"is there twice{again}"
    return f"does not come after the row before, {before}: sort the rows by date"


def _rows_in(numbers: Host, cycle: float) -> float:
    """How many rows come in a cycle of so many dates, of which the rows there are have these numbers; 0 if none."""
    places = np.arange(len(numbers))
    starts = places[numbers + cycle <= numbers[-1]]
    if not len(starts):
        return 0.0
    rows = np.interp(numbers[starts] + cycle, numbers, places) - starts
    usual = float(np.median(rows))
    if usual == round(usual):
        return usual
    alike = rows[np.abs(rows - usual) <= ALIKE * usual]
    return float(alike.mean()) if len(alike) else usual


def _infer(wall: Host, moments: Host, aware: bool) -> tuple[Rule | None, Host, bool]:
    """The rule with the fewest gaps, the plainest of several; the number of each date; whether it holds in UTC."""
    best: tuple[Rule | None, Host, bool] = (None, np.arange(len(wall)), False)
    share, plain = 0.5, 0.0  # of steps without a gap: fewer than half follow no rule
    for times, in_utc in [(wall, False), (moments, True)] if aware else [(wall, False)]:
        if (np.diff(times) <= 0).any():  # set back
            continue
        for rule in candidates(times):
            physical = isinstance(rule, Every) and rule.interval % DAY != 0
            if aware and physical != in_utc:  # hours go on where clocks are set, days begin when they say so
                continue
            numbers = rule.numbers(times)
            if numbers is None or (np.diff(numbers) < 1).any():
                continue
            found = float((np.diff(numbers) == 1).mean())
            special = isinstance(rule, Pattern) or (isinstance(rule, Monthly) and rule.slots > 1)
            # What the dates happen to leave out makes a pattern only if it explains most gaps, or cannot be chance.
            explains = found >= 0.9 and 1.0 - found <= 0.5 * (1.0 - plain)
            if special and not explains and not (isinstance(rule, Pattern) and rule.chance < SURE):
                continue
            plain = plain if special else max(plain, found)
            if found > share or (best[0] is None and found == share):
                best, share = (rule, numbers, in_utc), found
    if best[0] is None and (about := near(moments)) is not None:
        return *about, aware
    return best


def _given(dates: Any) -> Sequence[date] | Host:
    """A list of dates or, quicker, datetime64[us]."""
    if isinstance(dates, (list, tuple)):
        return dates
    if not hasattr(dates, "dtype"):
        raise TypeError(f"Calendar: dates are a {type(dates).__name__}; expected a list of datetimes")
    found = dates_of("Calendar", "dates", dates, np.asarray(dates.to_numpy() if hasattr(dates, "to_numpy") else dates))
    if found is None:
        raise TypeError(f"Calendar: dates are of {dates.dtype}; expected dates")
    return found


def checked(dates: Sequence[date]) -> list[datetime]:
    """Dates as datetimes. Raises TypeError for what is no date, ValueError for zones on some of them only."""
    found: list[datetime] = []
    for row, moment in enumerate(dates):
        if not isinstance(moment, date):
            raise TypeError(f"Calendar: date {row} is {moment!r}; expected a datetime")
        found.append(moment if isinstance(moment, datetime) else datetime.combine(moment, time.min))
        if (found[row].tzinfo is None) != (found[0].tzinfo is None):
            raise ValueError(f"Calendar: date {row}, {moment}: some dates have a time zone and some do not")
    return found


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc).replace(tzinfo=None)


def _microseconds(moments: Sequence[date] | Host) -> Host:
    return np.asarray(moments, "datetime64[us]").astype(np.int64)
