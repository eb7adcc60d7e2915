"""Intervals from the errors of forecasts that were made and have come true: split conformal, and adaptive."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]
INSIDE = (math.ulp(0.0), math.nextafter(1.0, 0.0))
"""The least and the largest share that an interval may be asked to cover."""


def width(errors: Host, coverage: Host | float) -> Host:
    """The half width (...) that so many of the errors (M, ...) lie within: split conformal (Vovk et al. 2005).

    It is the smallest of the M errors that at least coverage (M + 1) do not exceed; infinite where M is too small for
    it. Of exchangeable errors the next one lies within it with probability ``coverage`` at least. NaN does not count.
    ``coverage`` is a number, one for each (...), or L of them for each (L, ...), which gives as many half widths.
    """
    sizes = np.sort(np.abs(errors), axis=0)  # NaN comes last
    count = np.isfinite(sizes).sum(axis=0)
    place = np.ceil(np.asarray(coverage) * (count + 1)).astype(int) - 1
    inside = np.clip(place, 0, np.maximum(count - 1, 0))
    if not len(sizes):
        return np.where(place < 0, 0.0, np.inf)
    found = np.take_along_axis(sizes, inside.reshape(-1, *count.shape), axis=0).reshape(place.shape)
    return np.where(place < 0, 0.0, np.where(place >= count, np.inf, found))


def rolling_widths(
    errors: Host, origins: Host, coverage: float, *, before: Host, rate: float = 0.0, memory: int | None = None
) -> Host:
    """Half widths (M, H, F) for forecasts one after the other, each from the errors that were known at its origin.

    errors (M, H, F) of forecasts from origins (M,), the k-th of which is known k steps after its origin; ``before``
    (B, H, F), those known from the start; ``memory``, how many of the last ones count.

    With a ``rate`` it is adaptive (Gibbs and Candes 2021, arXiv 2106.00170): the level of each step ahead and column is
    a[t+1] = a[t] + rate (1 - coverage - miss[t]), where miss is 1 of an error outside its interval, else 0, so that the
    share of those inside comes to ``coverage`` whatever the series does.
    """
    count, horizon = errors.shape[:2]
    levels = np.full(errors.shape[1:], 1.0 - coverage)
    pool = [list(before[:, k]) for k in range(horizon)]
    widths, next_known = np.empty(errors.shape), [0] * horizon
    for m in range(count):
        for k in range(horizon):
            while next_known[k] < m and origins[next_known[k]] + k < origins[m]:
                done = next_known[k]
                pool[k].append(errors[done, k])
                missed = np.abs(errors[done, k]) > widths[done, k]
                levels[k] += np.where(np.isnan(errors[done, k]), 0.0, rate * (1.0 - coverage - missed))
                next_known[k] += 1
            recent = pool[k] if memory is None else pool[k][-memory:]
            held = np.stack(recent) if recent else np.zeros((0, errors.shape[2]))
            widths[m, k] = width(held, np.clip(1.0 - levels[k], 0.0, 1.0))
    return widths
