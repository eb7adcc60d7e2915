"""Gaps in the dates of series, warned of or filled, and whether rows beside a series have the same dates."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from xprnn.data.calendar import Calendar, checked

Host = np.ndarray[Any, Any]


def close_gaps(
    owner: str, values: Host, calendar: Calendar, fill: str | None, stacklevel: int = 3
) -> tuple[Host, Calendar]:
    """Values (N, F) and their calendar without gaps if these are to be filled; with a warning if there are any.

    fill: "previous", "linear", "refuse" for a ValueError, or None for rows that are counted as steps.
    """
    notice = calendar.notice()
    if notice is None:
        return values, calendar
    if fill == "refuse":
        raise ValueError(f"{owner}: {notice}")
    if fill is not None:
        try:
            values, filled = calendar.fill(values, fill)
        except ValueError as error:
            raise ValueError(f"{owner}: {error}") from None
        notice += f"; they are filled by fill={fill!r}" if calendar.missing else ""
        calendar = filled
    elif calendar.missing:
        notice += "; rows are counted as steps, so seasons slide: read_csv's fill, --fill and Calendar.fill close gaps"
    warnings.warn(f"{owner}: {notice}", stacklevel=stacklevel)
    return values, calendar


def with_values(column: Host, fill: str | None) -> Host:
    """Numbers (N,) with others for NaN, as :meth:`Calendar.fill` makes rows; the first is known."""
    known, rows = np.flatnonzero(~np.isnan(column)), np.arange(len(column))
    if fill is None or len(known) == len(column):
        return column
    if fill == "linear":
        return np.interp(rows, known, column[known])
    return column[known[np.searchsorted(known, rows, side="right") - 1]]


def calendars_of(owner: str, dates: Mapping[Any, Any], stacklevel: int | None = None) -> tuple[Calendar | None, ...]:
    """The calendar of each series by its key, None where fewer than two dates are known of it.

    With a ``stacklevel`` one warning tells of rows that are missing, of the first series that lacks some, where most
    steps of all series follow one rule: visits, say, come when they come.
    """
    known: dict[bytes, Calendar] = {}  # series of one table mostly have the same dates
    found: list[Calendar | None] = []
    for key, own in dates.items():
        if own is None or len(own) < 2:
            found.append(None)
            continue
        same = own.tobytes() if isinstance(own, np.ndarray) and own.dtype.kind == "M" else None
        try:
            calendar = known[same] if same in known else Calendar(own if same is not None else list(own))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{owner}: series {key!r}: {error}") from None
        found.append(calendar)
        if same is not None:
            known[same] = calendar
    lacking = [(key, each) for key, each in zip(dates, found, strict=True) if each is not None and each.missing]
    if lacking and stacklevel is not None and _of_one_rule([each for each in found if each is not None]):
        (key, first), more = lacking[0], len(lacking) - 1
        others = f"; so it is with {more} more series" if more else ""
        warnings.warn(
            f"{owner}: series {key!r}: {first.notice()}{others}; rows are counted as steps: add those that are missing",
            stacklevel=stacklevel,
        )
    return tuple(found)


def _of_one_rule(calendars: Sequence[Calendar]) -> bool:
    """Whether half the steps of all series at least are from one date to the next of the rule that most of them follow.

    A few dates follow some rule by chance, but each series then another one.
    """
    steps: Counter[str] = Counter()
    for each in calendars:
        steps[str(each.rule)] += each.even_steps
    return 2 * max(steps.values()) >= sum(len(each.dates) - 1 for each in calendars)


def require_same(owner: str, dates: Any, expected: Any) -> None:
    """Raise ValueError for the first row whose date is not that of the series; None are dates that nobody knows."""
    if dates is None or expected is None:
        return
    for row, (own, other) in enumerate(zip(_listed(dates), _listed(expected), strict=False)):
        if own != other:
            raise ValueError(
                f"{owner}: row {row} is of {own}, where the series has {other}: give rows of the same dates or an array"
            )


def _listed(dates: Any) -> list[datetime]:
    return checked(dates.tolist() if isinstance(dates, np.ndarray) else dates)
