"""Rules that dates may follow: fixed intervals, patterns of a day or a week, days of months.

A rule numbers its dates, and ``times`` gives the dates of numbers.
Times are int64 microseconds since 1970, of a clock on the wall or of UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from xprnn.data.months import DAY, business_day, first_days, fixed_days, month_lengths, nth_weekday, split_months

Host = np.ndarray[Any, Any]
SECOND = 10**6
MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
WEEK, YEAR = 7 * DAY, 8766 * HOUR
MONDAY = 4 * DAY  # 1970-01-05
UNITS = {
    "week": WEEK,
    "day": DAY,
    "hour": HOUR,
    "minute": MINUTE,
    "second": SECOND,
    "millisecond": 1000,
    "microsecond": 1,
}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LEAST_STEPS, LATE = 8, 0.2  # of a rule that holds only about; how late a row may be, in intervals
MOST_A_MONTH = 4  # rows of a month that make a rule; more may be anything


class Rule(Protocol):
    """What a calendar needs to know."""

    def times(self, numbers: Host) -> Host:
        """The dates of numbers (N,)."""

    def rows(self, span: int) -> float:
        """How many dates there are in a day, a week or a year."""


class ExactRule(Rule, Protocol):
    """A rule that every date either follows or does not."""

    def numbers(self, times: Host) -> Host | None:
        """The numbers of dates (N,), growing by 1 from one date of the rule to the next; None if one is not of it."""


@dataclass(frozen=True)
class Every:
    """start + k interval."""

    start: int
    interval: int

    def numbers(self, times: Host) -> Host | None:
        found, rest = np.divmod(times - self.start, self.interval)
        return None if rest.any() else found

    def times(self, numbers: Host) -> Host:
        return self.start + numbers * self.interval

    def rows(self, span: int) -> float:
        return span / self.interval

    def __str__(self) -> str:
        name, unit = next(unit for unit in UNITS.items() if self.interval % unit[1] == 0)
        return _in_words(str(self.interval // unit), name)


@dataclass(frozen=True)
class Rounded:
    """start + k interval to the nearest unit, such as sixty rows a second with times in milliseconds."""

    start: float
    interval: float
    unit: int

    def times(self, numbers: Host) -> Host:
        return (np.round((self.start + numbers * self.interval) / self.unit) * self.unit).astype(np.int64)

    def rows(self, span: int) -> float:
        return span / self.interval

    def __str__(self) -> str:
        return _about(self.interval)


@dataclass(frozen=True)
class About:
    """Dates whose steps are an interval, or several of them, give or take a fifth: of clocks that are early or late."""

    known: Host
    dates: Host
    interval: float
    unit: int

    def times(self, numbers: Host) -> Host:
        after = self.dates[-1] + (numbers - self.known[-1]) * self.interval
        between = np.interp(numbers, self.known, self.dates - self.dates[0]) + self.dates[0]
        return (np.round(np.where(numbers > self.known[-1], after, between) / self.unit) * self.unit).astype(np.int64)

    def rows(self, span: int) -> float:
        return span / self.interval

    def __str__(self) -> str:
        return f"about {_about(self.interval)}"


@dataclass(frozen=True)
class Pattern:
    """The same times in each period, a day or a week: weekdays, or the hours in which a shop is open.

    ``chance`` is how many of all times would have no row, if rows were missing by chance.
    """

    period: int
    slots: tuple[int, ...]
    chance: float

    def numbers(self, times: Host) -> Host | None:
        cycles, slots = np.divmod(times - MONDAY, self.period)
        places = np.minimum(np.searchsorted(self.slots, slots), len(self.slots) - 1)
        return cycles * len(self.slots) + places if (np.asarray(self.slots)[places] == slots).all() else None

    def times(self, numbers: Host) -> Host:
        cycles, places = np.divmod(numbers, len(self.slots))
        return MONDAY + cycles * self.period + np.asarray(self.slots)[places]

    def rows(self, span: int) -> float:
        if span == DAY < self.period:  # of the days that have rows
            _, counts = np.unique(np.asarray(self.slots) // DAY, return_counts=True)
            return float(counts[0]) if (counts == counts[0]).all() else 0.0
        return len(self.slots) * span / self.period

    def __str__(self) -> str:
        return f"the same {len(self.slots)} rows each {'day' if self.period == DAY else 'week'}"


@dataclass(frozen=True)
class Weekdays:
    """Every ``step``-th day from Monday to Friday, at one time of the day."""

    start: int
    step: int
    time: int

    def numbers(self, times: Host) -> Host | None:
        found, clock = _count_weekdays(times)
        if found is None or (clock != self.time).any():
            return None
        numbers, rest = np.divmod(found - self.start, self.step)
        return None if rest.any() else numbers

    def times(self, numbers: Host) -> Host:
        weeks, days = np.divmod(self.start + numbers * self.step, 5)
        return MONDAY + weeks * WEEK + days * DAY + self.time

    def rows(self, span: int) -> float:
        return 5 * span / WEEK / self.step

    def __str__(self) -> str:
        return f"one row every {self.step} weekdays"


class DaysOfMonths(Protocol):
    """Months (M,) since 1970 to their days (M, L), from 1."""

    def __call__(self, months: Host) -> Host: ...


@dataclass(frozen=True)
class Monthly:
    """L days of every ``step``-th month, at one time of the day."""

    month: int
    step: int
    time: int
    days: DaysOfMonths
    slots: int
    name: str

    def numbers(self, times: Host) -> Host | None:
        months, days, clock = split_months(times)
        same = self.days(months) == days[:, None]
        cycles, rest = np.divmod(months - self.month, self.step)
        if (clock != self.time).any() or rest.any() or not same.any(axis=1).all():
            return None
        return cycles * self.slots + same.argmax(axis=1)

    def times(self, numbers: Host) -> Host:
        cycles, slots = np.divmod(numbers, self.slots)
        months = self.month + cycles * self.step
        days = np.take_along_axis(self.days(months), slots[:, None], axis=1)[:, 0]
        return (first_days(months) + days - 1) * DAY + self.time

    def rows(self, span: int) -> float:
        months = 12 * span / YEAR
        return months * self.slots / self.step

    def __str__(self) -> str:
        return f"{self.name} of every {'month' if self.step == 1 else f'{self.step} months'}"


def candidates(times: Host) -> Iterator[ExactRule]:
    """Rules that these dates may follow, the plainest first."""
    steps = np.diff(times)
    unit = int(np.gcd.reduce(steps))
    months, days, clock = split_months(times)
    monthly = (clock == clock[0]).all()
    step = int(np.gcd.reduce(np.diff(months)))
    last = month_lengths(months)
    if monthly and step:
        day = 31 if (days == last).all() else int(days.max())
        yield _on_days((day,), int(months[0]), step, int(clock[0]))
    yield Every(int(times[0]), unit)
    for period in (DAY, WEEK):
        slots, counts = np.unique((times - MONDAY) % period, return_counts=True)
        weekdays = period == WEEK and len(times) > 7 and _weekdays(slots)
        if len(slots) < period // unit and (counts.min() > 1 or weekdays):
            periods, there = len(np.unique((times - MONDAY) // period)), period // unit
            chance = there * (1.0 - len(times) / (periods * there)) ** periods
            yield Pattern(period, tuple(slots.tolist()), chance)
    if not monthly:
        return
    for found in (days, np.where(days == last, 31, days)):
        slots, counts = np.unique(found, return_counts=True)
        if 1 < len(slots) <= MOST_A_MONTH and counts.min() > 1:
            yield _on_days(tuple(slots.tolist()), int(months[0]), 1, int(clock[0]))
    if step:
        weekday, nth = int((first_days(months[:1]) + days[0] + 2)[0] % 7), int(days[0] - 1) // 7
        ways: dict[str, DaysOfMonths] = {
            "the last weekday": partial(business_day, last=True),
            "the first weekday": partial(business_day, last=False),
            f"the {nth + 1}. {WEEKDAYS[weekday]}": partial(nth_weekday, weekday=weekday, nth=nth),
            f"the last {WEEKDAYS[weekday]}": partial(nth_weekday, weekday=weekday, nth=None),
        }
        for name, way in ways.items():
            yield Monthly(int(months[0]), step, int(clock[0]), way, 1, name)
    working, _ = _count_weekdays(times)
    if working is not None and (every := int(np.gcd.reduce(np.diff(working)))) > 1:
        yield Weekdays(int(working[0]), every, int(clock[0]))


def near(times: Host) -> tuple[Rule, Host] | None:
    """The rule, with the numbers of these dates, where they come at an interval, but rounded, early or late."""
    steps = np.diff(times)
    usual = float(np.median(steps))
    counts = np.round(steps / usual)
    if len(steps) < LEAST_STEPS or (counts < 1).any() or 2 * (counts == 1).sum() < len(steps):
        return None
    if (np.abs(steps - counts * usual) > LATE * usual).any():
        return None
    known = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    unit, interval = int(np.gcd.reduce(steps)), float(times[-1] - times[0]) / float(known[-1])
    even = Rounded(float(times[0]), interval, unit)
    if unit <= min(SECOND, interval / 8) and (np.abs(times - even.times(known)) <= unit).all():
        return even, known
    return About(known, times, interval, unit), known


def _about(interval: float) -> str:
    name, unit = next(unit for unit in UNITS.items() if interval >= unit[1])
    return _in_words(f"{interval / unit:.4g}", name)


def _in_words(count: str, unit: str) -> str:
    return f"one row every {unit}" if count == "1" else f"one row every {count} {unit}s"


def _on_days(days: tuple[int, ...], month: int, step: int, time: int) -> Monthly:
    name = f"day {', '.join(map(str, days))}".replace("31", "31, or the last,")
    return Monthly(month, step, time, partial(fixed_days, days=days), len(days), name)


def _count_weekdays(times: Host) -> tuple[Host | None, Host]:
    """The number of each date among all from Monday to Friday, None where one is none; and the time of the day."""
    days, clock = np.divmod(times - MONDAY, DAY)
    weeks, weekday = np.divmod(days, 7)
    return (None if (weekday > 4).any() else 5 * weeks + weekday), clock


def _weekdays(slots: Host) -> bool:
    """Whether these times in a week are one a day, from Monday to Friday."""
    return np.array_equal(slots - slots[0], np.arange(5) * DAY) and slots[0] < DAY
