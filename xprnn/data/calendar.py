"""What dates tell about a series: how its rows are called, also those to come, and how long its seasons are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from functools import cached_property
from itertools import pairwise
from statistics import median

DAY, YEAR = timedelta(days=1), timedelta(days=365.25)


class Calendar:
    """The dates of the rows of a series, strictly increasing, at least two.

    It knows rows that are whole months apart, days without weekends, and rows at a fixed interval.
    """

    def __init__(self, dates: Sequence[datetime]) -> None:
        if len(dates) < 2:
            raise ValueError(f"Calendar: {len(dates)} dates; expected at least two")
        self.dates = tuple(dates)

    def label(self, row: int) -> str:
        """The date of a row; rows past the end go on as the rows before them did."""
        beyond = row - len(self.dates) + 1
        date = self.dates[row] if beyond <= 0 else self._after(beyond)
        return date.date().isoformat() if self._whole_days else date.isoformat(sep=" ")

    def periods(self) -> tuple[float, ...]:
        """Day and year in rows, where there are more than two rows in them and two of them in the series."""
        if self._months:
            cycles = [12.0 / self._months]
        else:
            # Days without weekends, or without some leap days, fill a year with fewer rows: the mean interval knows.
            mean = (self.dates[-1] - self.dates[0]) / (len(self.dates) - 1)
            interval = mean if mean < 2 * self._interval else self._interval  # but a long gap in the data is none of it
            cycles = [DAY / interval, YEAR / interval]
        return tuple(cycle for cycle in cycles if 2.0 < cycle <= len(self.dates) / 2)

    def _after(self, rows: int) -> datetime:
        """The date so many rows past the end."""
        last = self.dates[-1]
        if self._months:
            month = last.month - 1 + rows * self._months
            return last.replace(year=last.year + month // 12, month=month % 12 + 1)
        if not self._weekdays_only:
            return last + rows * self._interval
        for _ in range(rows):
            last += DAY * (3 if last.weekday() == 4 else 1)
        return last

    @cached_property
    def _interval(self) -> timedelta:
        """The median time between rows."""
        return timedelta(seconds=median((b - a).total_seconds() for a, b in pairwise(self.dates)))

    @cached_property
    def _months(self) -> int:
        """How many months lie between any two rows; 0 where that is not so."""
        numbers = [12 * date.year + date.month for date in self.dates]
        steps = {b - a for a, b in pairwise(numbers)}
        # A day after the 28th is not in every month.
        same = len({(d.day, d.time()) for d in self.dates}) == 1 and self.dates[0].day <= 28
        return steps.pop() if same and len(steps) == 1 else 0

    @cached_property
    def _weekdays_only(self) -> bool:
        return self._interval == DAY and len(self.dates) > 7 and all(date.weekday() < 5 for date in self.dates)

    @cached_property
    def _whole_days(self) -> bool:
        return bool(self._months or self._interval >= DAY) and all(date.time() == time.min for date in self.dates)
