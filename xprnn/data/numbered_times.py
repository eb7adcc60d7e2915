"""Times that stand as numbers in a column: seconds since 1970, the days of a spreadsheet, years."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]
SINCE_1970 = (3e8, 4.2e9)  # seconds: from 1979 to 2103
MINUTE, DAY = 60.0, 86400.0
DAYS = (2e4, 8e4)  # of a spreadsheet: from 1954 to 2119
YEARS = (1500, 2200)
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
SPREADSHEET = "days of a spreadsheet"
LEAST = 3  # numbers that tell
PARTS_OF_A_YEAR = (150001, 220053)  # 202312 is December, or the twelfth week, after which 202401 may come
SHOWN = 3  # missing numbers that a sentence names
MOMENT = "date|time|datetime|timestamp|stamp|day|datum|zeit|zeitstempel|tag"
AMOUNTS = (
    "rates?|counts?|totals?|sums?|means?|averages?|avg|max|min|prices?|costs?|sales|charges?|spent|trips|load|volume"
)
"""What a name is of that has such a word in front, or "per" before it: a day_rate is no day."""
WORDS = {
    "Unix": f"{MOMENT}|epoch|unix|ts|ds|t|when",
    "days": f"{MOMENT}|excel|serial",
    "years": "year|years|jahr|fy",
    "parts": f"{MOMENT}|year|years|jahr|fy|month|monat|quarter|week|woche|hour|period",
}


def numbered_times(name: str, numbers: Host) -> tuple[str, str] | None:
    """What times a column seems to hold, and the arguments of ``pandas.to_datetime`` that make dates of it; or None.

    They rise. Seconds since 1970, also in thousands and so on, are told by their size and a word of their name, or by
    steps that are mostly the same, of whole days or shares of one, which numbers of orders seldom are; days of a
    spreadsheet and years by such a word too.
    """
    if len(numbers) < LEAST or not np.isfinite(numbers).all() or (np.diff(numbers) <= 0).any():
        return None
    first, last, steps = float(numbers[0]), float(numbers[-1]), np.diff(numbers)
    step = float(np.median(steps))
    even = 2 * int((steps == step).sum()) >= len(steps)
    for unit, size in UNITS.items():
        usual = even and step >= MINUTE * size and (DAY * size % step == 0 or step % (DAY * size) == 0)
        if SINCE_1970[0] * size <= first and last <= SINCE_1970[1] * size and (usual or _named("Unix", name)):
            return f"Unix times in {unit}", f"unit={unit!r}"
    if DAYS[0] <= first and last <= DAYS[1] and _named("days", name):
        return SPREADSHEET, "unit='D', origin='1899-12-30'"
    if in_years(name, numbers) and (numbers == np.floor(numbers)).all():
        return "years", "format='%Y'"
    return None


def holes(numbers: Host) -> str | None:
    """What has to be said about rising numbers of rows, of which most go on by one step and others by several.

    None where nothing is missing, or nobody knows: the steps are others, or longer ones come at even distances, as
    weekends do, or the numbers may be years and their months or weeks.
    """
    if len(numbers) < LEAST or not np.isfinite(numbers).all() or (np.diff(numbers) <= 0).any():
        return None
    if PARTS_OF_A_YEAR[0] <= numbers[0] < numbers[-1] <= PARTS_OF_A_YEAR[1] and (numbers % 100 <= 53).all():
        return None
    step = float(np.diff(numbers).min())
    ratios = np.diff(numbers) / step
    steps = np.rint(ratios)
    before = np.flatnonzero(steps > 1)
    if not len(before) or 2 * len(before) >= len(steps) or (np.abs(ratios - steps) > 1e-6 * steps).any():
        return None
    if len(before) > 1 and len(set(np.diff(before))) == len(set(steps[before])) == 1:
        return None
    missing = int(steps.sum()) - len(steps)
    found = [numbers[k] + step * (1 + np.arange(min(steps[k] - 1, SHOWN))) for k in before[:SHOWN]]
    shown = ", ".join(f"{number:.12g}" for number in np.concatenate(found)[:SHOWN])
    more = ", ..." if missing > SHOWN else ""
    return f"{missing} of {len(numbers) + missing} rows are missing (steps of {step:g}): {shown}{more}"


def warn_of_holes(owner: str, name: str, times: Mapping[Any, Host], stacklevel: int) -> None:
    """Warn of the first series that lacks rows by the numbers in a column; of one series the key is not told."""
    lacking = [(key, told) for key, numbers in times.items() if (told := holes(np.asarray(numbers))) is not None]
    if not lacking:
        return
    key, told = lacking[0]
    whose = "" if len(times) == 1 else f"series {key!r}: "
    others = f"; so it is with {len(lacking) - 1} more series" if len(lacking) > 1 else ""
    warnings.warn(
        f"{owner}: {whose}column {name!r}: {told}{others}; rows are counted as steps: add those that are missing",
        stacklevel=stacklevel + 1,
    )


def in_years(name: str, numbers: Host) -> bool:
    """Whether rising numbers of this name seem to be years, or to lie between two of them, such as 1981.25."""
    return _named("years", name) and YEARS[0] <= numbers[0] < numbers[-1] <= YEARS[1]


def named_for_times(name: str) -> bool:
    """Whether a column is called as if it said when its rows were, or a part of that."""
    return _named("parts", name)


def warn_of_times(owner: str, columns: Mapping[str, Host], stacklevel: int) -> None:
    """Warn of the first of these columns of a table without dates that seems to hold times, and say what to do."""
    for name, numbers in columns.items():
        if (found := numbered_times(name, numbers)) is not None:
            warnings.warn(
                f"{owner}: column {name!r} seems to hold {found[0]}, which are taken as numbers: no date is known of "
                f"any row; pandas.to_datetime(column, {found[1]}) makes dates of them",
                stacklevel=stacklevel + 1,
            )
            return


def _named(kind: str, name: str) -> bool:
    """Whether one of the words that tell of such times is in a name, and not the name of an amount."""
    words = rf"(?<![a-z])(?<!per[ _])({WORDS[kind]})(?![a-z])(?![^a-z]*({AMOUNTS})(?![a-z]))"
    return re.search(words, name, re.IGNORECASE) is not None
