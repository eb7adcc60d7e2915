"""Decoding: from a model that gives the next token's probabilities to the tokens themselves.

A model takes part as a ``step(tokens, state) -> log-probabilities, state``: a decoder, a language model, anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.backend import Array, backend_of, namespace, to_numpy
from xprnn.nn.arguments import real_number, whole_number
from xprnn.tensor import Tensor, no_grad

Step = Callable[[Any, Any], tuple[Any, Any]]
Host = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Hypothesis:
    """A decoded sequence.

    Attributes
    ----------
    tokens
        Without start and end.
    log_probability
        log P(tokens, and the end where it ended).
    score
        The log-probability over the length penalty: what hypotheses are ranked by.
    ended
        Whether it came to the end token, and was not cut off at the greatest length.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float
    ended: bool


def greedy(step: Step, state: Any, *, batch: int, start: int, end: int, max_length: int) -> list[Hypothesis]:
    """The most probable token at each step, until the end token or ``max_length`` tokens.

    Parameters
    ----------
    step
        ``step(tokens, state)`` with NumPy integers (batch,) and a state as it was given or returned; returns
        log-probabilities (batch, C) of the next token, array or Tensor, and the next state.
    state
        Before the first step, which sees ``start`` tokens.

    Returns
    -------
    A hypothesis for each of the batch; its score is its log-probability.

    Raises
    ------
    ValueError, FloatingPointError
        Wrong arguments; log-probabilities of the wrong shape, above 0 or NaN.
    """
    batch, start, end = _checked("greedy", batch, start, end)
    max_length = whole_number("greedy", "max_length", max_length)
    tokens, running = np.full(batch, start), np.full(batch, True)
    totals, chosen = np.zeros(batch), np.zeros((batch, 0), int)
    while running.any() and chosen.shape[1] < max_length:
        scores, state = _ask("greedy", step, tokens, state, end)
        xp = namespace(scores)
        best = xp.argmax(scores, axis=-1)
        gains = to_numpy(xp.max(scores, axis=-1)).astype(float)
        _check_values("greedy", gains[running])  # what would follow an end is nothing
        tokens = np.where(running, to_numpy(best), end)
        totals += np.where(running, gains, 0.0)
        chosen = np.concatenate([chosen, tokens[:, None]], axis=1)
        running &= tokens != end
    return [
        _hypothesis(row, total, total, not cut, end)
        for row, total, cut in zip(chosen, totals.tolist(), running, strict=True)
    ]


def beam_search(
    step: Step,
    state: Any,
    *,
    batch: int,
    start: int,
    end: int,
    max_length: int,
    width: int = 5,
    length_penalty: float = 0.0,
    n_best: int = 1,
) -> list[list[Hypothesis]]:
    """The best of the sequences found by following the ``width`` most probable ones at each step.

    score = log P / ((5 + n) / 6)^length_penalty, with n the number of tokens, the end token included (Wu et al. 2016,
    arXiv 1609.08144). A hypothesis that ends leaves the beam, which is then one narrower (Bahdanau et al. 2014); a
    beam of 1 is :func:`greedy`. The search stops when every hypothesis has ended, is ``max_length`` long, or can no
    longer come among the n best.

    Parameters
    ----------
    step
        As of :func:`greedy`, for N = k * batch tokens, where row j * batch + b continues hypothesis j of source b, and
        k goes from 1 to ``width``.
    state
        Nested tuples of arrays or Tensors, (N, H) or (..., N, H) or (N,), or None: rows of hypotheses are picked on the
        last axis but one. What a source has in common for all its hypotheses belongs into the step, not here.
    length_penalty
        From 0, which is none, to 100.
    n_best
        How many to return, at most ``width``.

    Returns
    -------
    For each source its hypotheses, the best first: n_best, or fewer where there are no more with a probability above 0.

    Raises
    ------
    ValueError, TypeError, FloatingPointError
        Wrong arguments; log-probabilities of the wrong shape, above 0 or NaN; a state of something else.
    """
    owner = "beam_search"
    (batch, start, end), width = _checked(owner, batch, start, end), whole_number(owner, "width", width)
    max_length, n_best = whole_number(owner, "max_length", max_length), whole_number(owner, "n_best", n_best)
    alpha = real_number(owner, "length_penalty", length_penalty, "a number from 0 to 100", high=100.0)
    if n_best > width:
        raise ValueError(f"{owner}: n_best is {n_best}; expected at most width = {width}")

    done: list[list[Hypothesis]] = [[] for _ in range(batch)]
    worst = np.full(batch, -np.inf)  # of the n best that have ended
    tokens, totals = np.full((1, batch, 1), start), np.zeros((1, batch))  # (k, B, n + 1) and (k, B); dead ones: -inf
    while batch and tokens.shape[2] <= max_length and np.isfinite(totals).any():
        scores, state = _ask(owner, step, tokens[:, :, -1].reshape(-1), state, end)
        gains = to_numpy(scores).astype(float).reshape(*totals.shape, -1)
        gains[np.isneginf(totals)] = -np.inf  # whatever was said of the dead ones
        _check_values(owner, gains)
        classes, length = gains.shape[2], tokens.shape[2]
        candidates = np.moveaxis(totals[:, :, None] + gains, 1, 0).reshape(batch, -1)
        places = _top(candidates, min(width, candidates.shape[1]))  # (B, k), the best first
        totals = np.take_along_axis(candidates, places, axis=1)
        parents, following = places // classes, places % classes
        tokens = np.concatenate([tokens[parents, np.arange(batch)[:, None]], following[:, :, None]], axis=2)
        penalty, last = ((5 + length) / 6) ** alpha, length == max_length
        totals[np.arange(totals.shape[1]) >= width - np.array([[len(found)] for found in done])] = -np.inf
        leaving = np.isfinite(totals) & (last | (following == end))
        for b, j in np.argwhere(leaving).tolist():
            total, ended = totals[b, j], following[b, j] == end
            done[b].append(_hypothesis(tokens[b, j, 1:], total, total / penalty, ended, end))
            if len(done[b]) >= n_best:
                worst[b] = sorted(h.score for h in done[b])[-n_best]
        totals[leaving] = -np.inf
        # A live one can at best keep its probability and reach the greatest length.
        totals[worst >= totals.max(axis=1) / ((5 + max_length) / 6) ** alpha] = -np.inf
        # The live ones to the front, and no more rows than the widest beam needs.
        order = np.argsort(-totals, axis=1, kind="stable")[:, : max(1, int(np.isfinite(totals).sum(axis=1).max()))]
        rows = np.arange(batch)[:, None]
        state = _pick(state, (parents[rows, order] * batch + rows).T.reshape(-1))
        tokens, totals = tokens[rows, order].swapaxes(0, 1), totals[rows, order].T
    return [sorted(found, key=lambda h: -h.score)[:n_best] for found in done]


def _top(values: Host, k: int) -> Host:
    """(B, k) places of the k largest values of each row, the largest first, and of equal ones the first."""
    kth = np.partition(values, values.shape[1] - k, axis=1)[:, values.shape[1] - k, None]
    above, equal = values > kth, values == kth
    room = k - above.sum(axis=1, keepdims=True)
    places = np.nonzero(above | (equal & (equal.cumsum(axis=1) <= room)))[1].reshape(len(values), k)
    order = np.argsort(-np.take_along_axis(values, places, axis=1), axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)


def _pick(state: Any, rows: Host) -> Any:
    """The rows of a state, one for each hypothesis that lives on."""
    if state is None:
        return None
    if isinstance(state, (tuple, list)):
        return tuple(_pick(part, rows) for part in state)
    if not getattr(state, "shape", ()):
        came = f"{type(state).__name__}{' without axes' * hasattr(state, 'shape')}"
        raise TypeError(f"beam_search: the state holds a {came}; expected arrays, Tensors and tuples")
    array = ops.value(state)
    picked = namespace(array).take(array, backend_of(array).asarray(rows), axis=max(array.ndim - 2, 0))
    return Tensor(picked) if isinstance(state, Tensor) else picked


def _hypothesis(tokens: Host, total: float, score: float, ended: Any, end: int) -> Hypothesis:
    numbers = tokens.tolist()
    kept = numbers[: numbers.index(end)] if ended else numbers
    return Hypothesis(tuple(kept), float(total), float(score), bool(ended))


def _checked(owner: str, batch: Any, start: Any, end: Any) -> tuple[int, int, int]:
    whole = whole_number
    return whole(owner, "batch", batch, 0), whole(owner, "start", start, 0), whole(owner, "end", end, 0)


def _ask(owner: str, step: Step, tokens: Host, state: Any, end: int) -> tuple[Array, Any]:
    """One step, without recording: the log-probabilities as an array, and the next state."""
    with no_grad():
        scores, state = step(tokens, state)
    scores, rows = ops.value(scores), len(tokens)
    if not hasattr(scores, "shape"):
        raise TypeError(f"{owner}: step returned a {type(scores).__name__}; expected log-probabilities ({rows}, C)")
    if len(scores.shape) != 2 or scores.shape[0] != rows or not 0 <= end < scores.shape[1]:
        came, expected = tuple(scores.shape), f"({rows}, C) with the end token {end} among C"
        raise ValueError(f"{owner}: step returned log-probabilities of shape {came}; expected {expected}")
    return scores, state


def _check_values(owner: str, scores: Host) -> None:
    highest = float(scores.max(initial=-np.inf))  # NaN where there is one
    if np.isnan(highest):
        raise FloatingPointError(f"{owner}: step returned NaN among the log-probabilities")
    if highest > 1e-3:  # what rounding can make of 0
        raise ValueError(f"{owner}: step returned {highest:.3g}; expected log-probabilities, which are at most 0")
