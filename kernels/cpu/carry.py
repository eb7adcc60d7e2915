"""Values that stay until others come, and how long ago they came: what a layer knows of inputs that are missing.

    last_t = x_t where it is seen, else last_{t-1}    since_t = 0 where it is seen, else passed_t = since_{t-1} + t_t

x, seen, and what is made of them are (T, B, I), times t (T, B), and the state before the walk (B, I). It is chosen, and
never multiplied by 0, so that infinity and NaN are gone with the next value.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .arguments import NEVER
from .compiling import plain_kernel
from .product import Array, plain


def forward(
    x: Array, seen: Array, times: Array, last: Array, since: Array, restart: Array | None, reverse: bool
) -> tuple[Array, Array, Array]:
    """last and since after every step, and passed."""
    given = [plain(a) for a in (x, seen, times, last, since)]
    found = np.empty_like(given[0]), np.empty_like(given[0]), np.empty_like(given[0])
    _check(x.shape, (seen,), (times, restart), (last, since))
    _walk(*given, *_flags(restart), reverse, *found)
    return found


def backward(
    seen: Array, dlast: Array, dsince: Array, dpassed: Array, ends: tuple[Array, Array], restart: Array | None,
    reverse: bool,
) -> tuple[Array, ...]:  # fmt: skip
    """The cotangents of x, of passed with what comes to it through since, and of last and since before the walk.

    From those of last, since and passed at every step, and of the first two at the end of the walk.
    """
    given = [plain(a) for a in (seen, dlast, dsince, dpassed)]
    carried = [end.copy(order="C") for end in ends]
    found = np.empty_like(given[1]), np.empty_like(given[1])
    _check(seen.shape, (dlast, dsince, dpassed), (restart,), ends)
    _walk_back(*given, *carried, *_flags(restart), reverse, *found)
    return *found, *carried


def _check(shape: tuple[int, ...], every: Any, flags: Any, last: Any) -> None:
    """Raise ValueError, since compiled code reads as far as the shape (T, B, I) says."""
    expected = [(a, shape) for a in every] + [(a, shape[:2]) for a in flags] + [(a, shape[1:]) for a in last]
    for array, wanted in expected:
        if array is not None and array.shape != wanted:
            raise ValueError(f"an array of what is carried has shape {array.shape}; expected {wanted}")


def _flags(restart: Array | None) -> tuple[bool, Array]:
    return (False, NEVER) if restart is None else (True, plain(restart).view(np.uint8))


@plain_kernel
def _walk(x, seen, times, start, start_since, restarts, restart, reverse, last, since, passed):
    steps, rows, size = x.shape
    for k in range(steps):
        t = steps - 1 - k if reverse else k
        before = t + 1 if reverse else t - 1
        for b in range(rows):
            again = restarts and restart[t, b] != 0
            for j in range(size):
                value, time = (start[b, j], start_since[b, j]) if k == 0 else (last[before, b, j], since[before, b, j])
                passed[t, b, j] = times[t, b] if again else time + times[t, b]
                if seen[t, b, j]:
                    last[t, b, j], since[t, b, j] = x[t, b, j], 0
                else:
                    last[t, b, j], since[t, b, j] = 0 if again else value, passed[t, b, j]


@plain_kernel
def _walk_back(seen, dlast, dsince, dpassed, carry, carry_since, restarts, restart, reverse, dx, dtime):
    steps, rows, size = dlast.shape
    for k in range(steps - 1, -1, -1):
        t = steps - 1 - k if reverse else k
        for b in range(rows):
            again = restarts and restart[t, b] != 0
            for j in range(size):
                came = seen[t, b, j]
                d, d_since = carry[b, j] + dlast[t, b, j], carry_since[b, j] + dsince[t, b, j]
                d_time = dpassed[t, b, j] if came else dpassed[t, b, j] + d_since
                dx[t, b, j], dtime[t, b, j] = d if came else 0, d_time
                carry[b, j] = 0 if came or again else d
                carry_since[b, j] = 0 if again else d_time
