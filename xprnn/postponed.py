"""Checks of what arrays hold: at once or, inside ``postponed()`` and of arrays on a device, when somebody asks.

To look at a number on a device is to wait until everything before it is computed. What must not be is therefore written
down there as a boolean, and many of them are read in one go, which says late, but as well, what was wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from xprnn.backend import Array, namespace, to_numpy

UNSIGNED = {np.dtype(f"i{size}"): np.dtype(f"u{size}") for size in (1, 2, 4, 8)}


class Check(NamedTuple):
    """A boolean without axes on a device, True where something is wrong, and what makes the error that says it."""

    wrong: Array
    error: Callable[[], Exception]


_kept: ContextVar[list[Check] | None] = ContextVar("xprnn_postponed_checks", default=None)


@contextmanager
def postponed(checks: list[Check] | None = None) -> Iterator[list[Check]]:
    """``with postponed() as checks: ...``: checks of arrays on a device are put on this list, and wait for nothing.

    Who opens the block answers for its checks, and has somebody look at them. Until then wrong numbers are replaced by
    others, so that what is computed from them means nothing but does no harm. Before another error leaves the block,
    they are looked at. Blocks nest, each with its own list, and do not reach other threads. A list given is gone on
    with.
    """
    checks, before = [] if checks is None else checks, _kept.get()
    try:
        _kept.set(checks)  # in here, since Ctrl-C may come between
        yield checks
    except Exception:
        look_at(checks)  # at once this would have come first, and it may be the reason
        raise
    finally:
        _kept.set(before)


def look_at(checks: Iterable[Check]) -> None:
    """Raise the error of the first check that found something. Waits for the device."""
    for check in checks:
        if to_numpy(check.wrong):
            raise check.error()


def require(wrong: Any, error: Callable[[], Exception]) -> bool:
    """Raise ``error()`` where ``wrong``, a boolean or an array of one, is True; returns whether that is still open.

    ``error`` may be called late: let it hold single numbers and not whole arrays.
    """
    checks = _kept.get()
    if checks is not None and not isinstance(wrong, (bool, np.bool_, np.ndarray)):
        checks.append(Check(wrong, error))
        return True
    if wrong if isinstance(wrong, bool) else bool(to_numpy(wrong)):
        raise error()
    return False


def all_within(values: np.ndarray[Any, Any], stop: int) -> bool:
    """Whether integers of the host are known to be from 0 to below ``stop``: as unsigned, those below 0 are large."""
    kind, half = UNSIGNED.get(values.dtype), 1 << 8 * values.itemsize - 1
    return kind is not None and values.size > 0 and int(values.view(kind).max()) < min(stop, half)


def within(values: Array, stop: int, error: Callable[[int], Exception]) -> Array:
    """The integers, which must be from 0 to below ``stop``; raises ``error(number)`` for one that is not.

    Where the check is postponed, numbers outside are brought to the nearest one inside.
    """
    if not values.size:
        return values
    if type(values) is np.ndarray:  # nothing to wait for
        if all_within(values, stop):
            return values
        least, greatest = int(values.min()), int(values.max())
        if least < 0 or greatest >= stop:
            raise error(least if least < 0 else greatest)
        return values
    xp = namespace(values)
    low, high = xp.min(values), xp.max(values)
    top = min(stop - 1, xp.iinfo(values.dtype).max)  # a narrow type cannot be compared with more than it can hold

    def outside() -> Exception:
        least, greatest = (int(to_numpy(end)) for end in (low, high))
        return error(least if least < 0 else greatest)

    if require((low < 0) | (high > top), outside):
        return xp.minimum(xp.maximum(values, 0), top)
    return values
