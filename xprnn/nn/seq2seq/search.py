"""Decoding: from a model that gives the next token's probabilities to the tokens themselves.

A model takes part as a ``step(tokens, state) -> log-probabilities, state``: a decoder, a language model, anything.
What it is fed and what it returns stay on its device. A search looks at numbers on the host, and waits for a GPU,
once every 16 tokens (greedy) or once a token (sample, beam).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import real_number, size, whole_number
from xprnn.backend import Array, backend_of, namespace, to_numpy
from xprnn.nn.seq2seq.asking import Step, ask, checked, first_tokens
from xprnn.nn.seq2seq.continuations import Host, best_continuations, check_values
from xprnn.nn.seq2seq.sampling import Sampler
from xprnn.randomness import Rng
from xprnn.tensor import Tensor

BLOCK = 16
"""Tokens of greedy decoding on a GPU before the host asks whether all sequences have ended."""


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
        ``step(tokens, state)`` with integers (batch,) and a state as it was given or returned; returns
        log-probabilities (batch, C) of the next token, array or Tensor, and the next state. Tokens come on the device
        of the last log-probabilities. On a GPU it may be called up to 15 times after all have ended: whatever it then
        returns or raises is not looked at.
    state
        Before the first step, which sees ``start`` tokens, on the device of the first array in the state; where there
        is none, on that of ``use_backend``.

    Returns
    -------
    A hypothesis for each of the batch; its score is its log-probability.

    Raises
    ------
    ValueError, TypeError, FloatingPointError
        Wrong arguments; log-probabilities of the wrong shape or type, above 0, NaN or all -inf.
    """
    batch, start, end = checked("greedy", step, batch, start, end)
    max_length = size("greedy", "max_length", max_length)
    if batch == 0:
        return []
    running, totals, chosen = np.full(batch, True), np.zeros(batch), list[Host]()
    for tokens, gains in _most_probable(step, first_tokens(state, batch, start), state, end, max_length):
        check_values("greedy", gains[running])  # what would follow an end is nothing
        if np.isneginf(gains[running]).any():
            raise FloatingPointError("greedy: step returned -inf for all tokens of a sequence: none has a probability")
        totals += np.where(running, gains, 0.0)
        chosen.append(tokens)
        running &= tokens != end
        if not running.any():
            break
    return [
        _hypothesis(row, total, total, not cut, end)
        for row, total, cut in zip(np.stack(chosen, axis=1), totals.tolist(), running, strict=True)
    ]


def _most_probable(step: Step, fed: Array, state: Any, end: int, max_length: int) -> Iterator[tuple[Host, Host]]:
    """At each step the most probable tokens (B,) and their log-probabilities; after an end, ends and anything."""
    tokens, block = None, list[tuple[Array, Array]]()
    for length in range(1, max_length + 1):
        try:
            scores, state = ask("greedy", step, fed, state, end)
        except Exception:
            yield from _brought(block)  # the last token that anybody needs may be among them
            raise
        xp = namespace(**{"greedy: tokens so far": tokens, "greedy: log-probabilities": scores})
        best = xp.argmax(scores, axis=-1)
        tokens = best if tokens is None else xp.where(tokens == end, tokens, best)
        fed = xp.asarray(tokens, copy=True)  # a step may write to what it is given
        block.append((tokens, xp.max(scores, axis=-1)))
        if type(tokens) is np.ndarray or length % BLOCK == 0 or length == max_length:
            yield from _brought(block)
            block.clear()


def _brought(block: list[tuple[Array, Array]]) -> Iterator[tuple[Host, Host]]:
    """Pairs of integers and numbers on the host, in one copy."""
    if not block or type(block[0][0]) is np.ndarray:
        yield from ((tokens, gains.astype(float)) for tokens, gains in block)
        return
    xp = namespace(block[0][0])
    columns = [xp.astype(xp.stack(column), xp.float64) for column in zip(*block, strict=True)]
    tokens, gains = to_numpy(xp.stack(columns))
    yield from zip(tokens.astype(int), gains, strict=True)


def sample(
    step: Step,
    state: Any,
    *,
    batch: int,
    start: int,
    end: int,
    max_length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    rng: Rng = None,
) -> list[Hypothesis]:
    """Tokens drawn at each step, until the end token or ``max_length`` tokens.

    Parameters
    ----------
    step, state
        As of :func:`greedy`; not called again once all have ended.
    temperature, top_k, top_p
        Each token is drawn from softmax(log-probabilities / temperature) of the k likeliest, and of these from the
        fewest that have together at least the probability p: :class:`xprnn.nn.seq2seq.sampling.Sampler`.
    rng
        Seed or NumPy generator; the same one gives the same tokens on any backend.

    Returns
    -------
    A hypothesis for each of the batch; its log-probability and score are the model's own, whatever it was drawn with.

    Raises
    ------
    ValueError, TypeError, FloatingPointError
        Wrong arguments; log-probabilities of the wrong shape or type, above 0, NaN or all -inf.
    """
    batch, start, end = checked("sample", step, batch, start, end)
    max_length = size("sample", "max_length", max_length)
    sampler = Sampler("sample", temperature, top_k, top_p, rng)
    if batch == 0:
        return []
    running, totals, chosen = np.full(batch, True), np.zeros(batch), list[Host]()
    fed = first_tokens(state, batch, start)
    while running.any() and len(chosen) < max_length:
        scores, state = ask("sample", step, fed, state, end)
        here = np.where(running[:, None], to_numpy(scores).astype(float), 0.0)  # what would follow an end is nothing
        check_values("sample", here)
        tokens = np.where(running, sampler.draw(here), end)
        totals += np.take_along_axis(here, tokens[:, None], axis=1)[:, 0]
        chosen.append(tokens)
        running &= tokens != end
        fed = backend_of(scores).asarray(tokens)
    return [
        _hypothesis(row, total, total, not cut, end)
        for row, total, cut in zip(np.stack(chosen, axis=1), totals.tolist(), running, strict=True)
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
        Nested tuples or lists of arrays or Tensors, (N, H) or (..., N, H) or (N,), or None: rows of hypotheses are
        picked on the last axis but one. What a source has in common for all its hypotheses belongs into the step, not
        here.
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
        Wrong arguments; log-probabilities of the wrong shape or type, above 0 or NaN; a state of something else.
    """
    owner = "beam_search"
    (batch, start, end), width = checked(owner, step, batch, start, end), size(owner, "width", width)
    max_length, n_best = size(owner, "max_length", max_length), whole_number(owner, "n_best", n_best)
    alpha = real_number(owner, "length_penalty", length_penalty, "a number from 0 to 100", high=100.0)
    if n_best > width:
        raise ValueError(f"{owner}: n_best is {n_best}; expected at most width = {width}")
    if alpha * math.log((5 + max_length) / 6) > 700:
        raise ValueError(f"{owner}: length_penalty is {alpha}; with max_length = {max_length} it exceeds all numbers")

    done: list[list[Hypothesis]] = [[] for _ in range(batch)]
    worst = np.full(batch, -np.inf)  # of the n best that have ended
    tokens, totals = np.full((1, batch, 1), start), np.zeros((1, batch))  # (k, B, n + 1) and (k, B); dead ones: -inf
    # On a GPU the log-probabilities are searched there. What is kept of a few hypotheses stays here: small operations,
    # each of which would be a launch.
    fed = first_tokens(state, batch, start)
    while batch and tokens.shape[2] <= max_length and np.isfinite(totals).any():
        scores, state = ask(owner, step, fed, state, end)
        length = tokens.shape[2]
        totals, parents, following = best_continuations(owner, scores, totals, width)
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
        home = backend_of(scores)
        state = _pick(state, home.asarray((parents[rows, order] * batch + rows).T.flatten()), scores.shape[0])
        tokens, totals = tokens[rows, order].swapaxes(0, 1), totals[rows, order].T
        fed = home.asarray(tokens[:, :, -1].flatten())
    return [sorted(found, key=lambda h: -h.score)[:n_best] for found in done]


def _pick(state: Any, rows: Array, count: int) -> Any:
    """The rows of a state of count rows, one for each hypothesis that lives on."""
    if state is None:
        return None
    if isinstance(state, (tuple, list)):
        parts = [_pick(part, rows, count) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    if not getattr(state, "shape", ()):
        came = f"{type(state).__name__}{' without axes' * hasattr(state, 'shape')}"
        raise TypeError(f"beam_search: the state holds a {came}; expected arrays, Tensors and tuples")
    array = ops.value(state)
    axis = max(array.ndim - 2, 0)
    if array.shape[axis] != count:
        shape, expected = tuple(array.shape), f"(..., {count}, H) or ({count},), a row for each hypothesis"
        raise ValueError(f"beam_search: the state holds an array of shape {shape}; expected {expected}")
    picked = namespace(array).take(array, backend_of(array).asarray(rows), axis=axis)
    return Tensor(picked) if isinstance(state, Tensor) else picked


def _hypothesis(tokens: Host, total: float, score: float, ended: Any, end: int) -> Hypothesis:
    numbers = tokens.tolist()
    kept = numbers[: numbers.index(end)] if ended else numbers
    return Hypothesis(tuple(kept), float(total), float(score), bool(ended))
