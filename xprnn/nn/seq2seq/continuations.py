"""The best continuations of hypotheses: of all their log-probabilities, only these come to the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn.backend import Array, backend_of, namespace, to_numpy

Host = np.ndarray[Any, Any]


def best_continuations(owner: str, scores: Array, totals: Host, width: int) -> tuple[Host, Host, Host]:
    """The best continuations of each source: their log-probabilities, hypotheses and tokens, (B, up to width) each.

    scores (k * B, C), totals (k, B). The best come first, and of equal ones the first.
    """
    xp, home = namespace(scores), backend_of(scores)
    so_far = home.asarray(totals.reshape(-1, 1))
    if np.isneginf(totals).any():
        scores = xp.where(xp.isinf(so_far), -xp.inf, scores)  # whatever was said of the dead ones
    highest, values, following = xp.max(scores, axis=-1, keepdims=True), so_far + scores, None
    if home.name != "numpy":
        highest, values, following = _shortlist(highest, values, width)
    check_values(owner, highest)
    batch, count = totals.shape[1], values.shape[1]
    candidates = values.reshape(-1, batch, count).swapaxes(0, 1).reshape(batch, -1)
    places = _top(candidates, min(width, candidates.shape[1]))
    parents, columns = places // count, places % count
    tokens = columns if following is None else following[parents * batch + np.arange(batch)[:, None], columns]
    return np.take_along_axis(candidates, places, axis=1), parents, tokens


def _shortlist(highest: Array, values: Array, width: int) -> tuple[Host, Host, Host]:
    """To the host, in one copy: highest (N, 1), and of each row of values (N, C) the ``width`` largest, and where.

    The largest come first, and of equal ones the first. The array API has no top-k. To take the largest ``width`` times
    costs less than to sort where it matters, at large C.
    """
    xp, numbers = namespace(values), backend_of(values).arange(values.shape[1])
    largest, places = list[Array](), list[Array]()
    for _ in range(min(width, values.shape[1])):
        places.append(xp.argmax(values, axis=-1, keepdims=True))
        largest.append(xp.max(values, axis=-1, keepdims=True))
        values = xp.where(numbers == places[-1], -xp.inf, values)
    columns = [xp.astype(column, xp.float64) for column in (highest, *largest, *places)]
    table, start = to_numpy(xp.concat(columns, axis=1)), 1 + len(largest)
    return table[:, :1], table[:, 1:start], table[:, start:].astype(int)


def _top(values: Host, k: int) -> Host:
    """(B, k) places of the k largest values of each row, the largest first, and of equal ones the first."""
    kth = np.partition(values, values.shape[1] - k, axis=1)[:, values.shape[1] - k, None]
    chosen = values >= kth
    if np.count_nonzero(chosen) > k * len(values):
        above, equal = values > kth, values == kth
        chosen = above | (equal & (equal.cumsum(axis=1) <= k - above.sum(axis=1, keepdims=True)))
    places = np.nonzero(chosen)[1].reshape(len(values), k)
    order = np.argsort(-np.take_along_axis(values, places, axis=1), axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)


def check_values(owner: str, scores: Host) -> None:
    """Raise FloatingPointError for NaN and ValueError for what is above 0: those are no log-probabilities."""
    highest = float(scores.max(initial=-np.inf))  # NaN where there is one
    if np.isnan(highest):
        raise FloatingPointError(f"{owner}: step returned NaN among the log-probabilities")
    if highest > 1e-3:  # what rounding can make of 0
        raise ValueError(f"{owner}: step returned {highest:.3g}; expected log-probabilities, which are at most 0")
