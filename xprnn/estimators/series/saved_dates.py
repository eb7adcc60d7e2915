"""The dates of fitted series in a forecaster's file, against which rows that come later are held."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from xprnn.data.calendar import EPOCH, MICROSECOND, Calendar
from xprnn.estimators.series.kind import Kind

Host = np.ndarray[Any, Any]
MOST = 4096  # dates of a series that are kept, the last ones, which tell its rule
NAMES = ("of", "firsts", "left_out", "lengths", "dates")


def described(kind: Kind) -> tuple[dict[str, Host], dict[str, list[str]]]:
    """The arrays and the metadata of a file: which calendar each series has, -1 for none, and the last dates of each.

    Dates are microseconds since 1970, in UTC where a zone is known.
    """
    own = list({id(each): each for each in kind.calendars if each is not None}.values())
    if not own:
        return {}, {}
    places = {id(each): place for place, each in enumerate(own)}
    of = [places.get(id(each), -1) for each in kind.calendars]
    firsts = kind.firsts or (0,) * len(of)
    kept = [each.dates[-MOST:] for each in own]
    before = [firsts[n] + (0 if k < 0 else len(own[k].dates) - len(kept[k])) for n, k in enumerate(of)]
    dates = [(_plain(moment) - EPOCH) // MICROSECOND for part in kept for moment in part]
    values = (of, before, kind.left_out or (0,) * len(of), list(map(len, kept)), dates)
    arrays = {f"calendar.{name}": np.array(value, np.int64) for name, value in zip(NAMES, values, strict=True)}
    return arrays, {"zones": [_name_of(part[-1]) for part in kept]}


def restored(kind: Kind, arrays: Mapping[str, Host], metadata: Mapping[str, Any], count: int) -> Kind:
    """The same kind with the dates of a file, if it has some.

    Raises ValueError and TypeError for what does not fit together.
    """
    if "calendar.of" not in arrays:  # as files of before 2026-12 are
        return kind
    of, firsts, left_out, lengths, dates = (arrays[f"calendar.{name}"] for name in NAMES)
    zones = metadata["zones"]
    if any(array.ndim != 1 or array.dtype != np.int64 for array in (of, firsts, left_out, lengths, dates)):
        raise ValueError("calendar has others than rows of whole numbers")
    whole = len(of) == len(firsts) == len(left_out) == count and len(lengths) == len(zones) > 0
    if not whole or (lengths < 2).any() or lengths.sum() != len(dates):
        raise ValueError(f"calendar has {len(dates)} dates, which are not those of {count} series")
    most = sys.maxsize // 4
    if (firsts < 0).any() or any(((part < -most) | (part > most)).any() for part in (firsts, left_out)):
        raise ValueError("calendar has others than numbers of rows")
    if of.min() < -1 or of.max() >= len(zones):
        raise ValueError(f"calendar names others than {len(zones)} calendars")
    parts = np.split(dates, np.cumsum(lengths)[:-1])
    own = [
        Calendar([_moment(number, zone) for number in part.tolist()])
        for part, zone in zip(parts, map(_zone, zones), strict=True)
    ]
    calendars = tuple(None if k < 0 else own[k] for k in of)
    return replace(kind, calendars=calendars, firsts=tuple(firsts.tolist()), left_out=tuple(left_out.tolist()))


def _plain(moment: datetime) -> datetime:
    return moment if moment.tzinfo is None else moment.astimezone(timezone.utc).replace(tzinfo=None)


def _moment(number: int, zone: tzinfo | None) -> datetime:
    found = EPOCH + number * MICROSECOND
    return found if zone is None else found.replace(tzinfo=timezone.utc).astimezone(zone)


def _name_of(moment: datetime) -> str:
    """The key of its zone or, of another than those of the IANA, minutes from UTC; nothing where it has none."""
    if moment.tzinfo is None:
        return ""
    key = getattr(moment.tzinfo, "key", None) or getattr(moment.tzinfo, "zone", None)
    return key or f"{(moment.utcoffset() or timedelta()) // timedelta(minutes=1)}"


def _zone(name: Any) -> tzinfo | None:
    """UTC for one that this machine does not know: dates are then the same, and hours of their days others."""
    if not isinstance(name, str):
        raise TypeError(f"a zone is {name!r}; expected its name")
    if not name:
        return None
    with suppress(ValueError):
        return timezone(timedelta(minutes=int(name)))
    with suppress(OSError, ValueError, LookupError):
        return ZoneInfo(name)
    return timezone.utc
