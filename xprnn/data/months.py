"""Days of months, which are counted from January 1970."""

from __future__ import annotations

from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]
DAY = 86400 * 10**6
"""Microseconds of one."""


def split_months(times: Host) -> tuple[Host, Host, Host]:
    """Months since 1970, days of the month from 1, and the time of the day."""
    dates, clock = np.divmod(times, DAY)
    months = dates.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return months, dates - first_days(months) + 1, clock


def fixed_days(months: Host, days: tuple[int, ...]) -> Host:
    """These days, in shorter months the last one instead: the end of months is day 31."""
    return np.minimum(np.asarray(days), month_lengths(months)[:, None])


def business_day(months: Host, last: bool) -> Host:
    """The first or the last day from Monday to Friday."""
    first = first_days(months)
    if last:
        length = month_lengths(months)
        return (length - np.maximum((first + length + 2) % 7 - 4, 0))[:, None]
    weekday = (first + 3) % 7
    return np.where(weekday > 4, 8 - weekday, 1)[:, None]


def nth_weekday(months: Host, weekday: int, nth: int | None) -> Host:
    """The n-th Monday (0), ..., Sunday (6) from 0, or the last one."""
    first, length = first_days(months), month_lengths(months)
    if nth is None:
        return (length - ((first + length + 2) % 7 - weekday) % 7)[:, None]
    return (1 + (weekday - (first + 3)) % 7 + 7 * nth)[:, None]


def first_days(months: Host) -> Host:
    """Days from 1970 to the first of each month."""
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def month_lengths(months: Host) -> Host:
    """Days of each month."""
    return first_days(months + 1) - first_days(months)
