"""Drawing the next token, from all of a model's probabilities or from the likeliest of them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from xprnn.arguments import probability, real_number, whole_number
from xprnn.randomness import Rng, generator

Host = np.ndarray[Any, Any]


class Sampler:
    """Draws tokens from softmax(scores / temperature), cut down first to the k likeliest, then to a nucleus.

    Parameters
    ----------
    owner
        Who is at fault in errors.
    temperature
        Below 1 more sure of itself, above 1 more daring; 0 takes the likeliest, and of equal ones the first.
    top_k
        Only the k likeliest, and those that equal the last of them (Fan et al. 2018, arXiv 1805.04833); None: all.
    top_p
        Only the fewest, likeliest first, that have together at least this probability, at least one (Holtzman et al.
        2020, arXiv 1904.09751), of what temperature and top_k have left; None or 1: all.
    rng
        Seed or NumPy generator: the same one gives the same tokens on any backend.

    Raises ValueError for numbers out of range.
    """

    def __init__(
        self,
        owner: str,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        rng: Rng = None,
    ) -> None:
        expected, largest = "a finite number, at least 0", sys.float_info.max
        self.owner = owner
        self.temperature = real_number(owner, "temperature", temperature, expected, high=largest)
        self.top_k = None if top_k is None else whole_number(owner, "top_k", top_k)
        self.top_p = 1.0 if top_p is None else probability(owner, "top_p", top_p)
        self.rng = generator(rng)

    def draw(self, scores: Host) -> Host:
        """Tokens (B,) for scores (B, C), which are logits or log-probabilities, on the host.

        By the Gumbel-max trick. Raises FloatingPointError where a row has NaN, or no token with a probability.
        """
        return np.argmax(self.weights(scores) + self.rng.gumbel(size=scores.shape), axis=-1)

    def weights(self, scores: Host) -> Host:
        """log P + a number of each row, for P that tokens are drawn with (B, C); -inf where they never are."""
        scores = scores.astype(np.float64)
        highest = scores.max(axis=-1, keepdims=True)
        if not np.isfinite(highest).all():
            raise FloatingPointError(f"{self.owner}: NaN or infinity among the scores, or no token with a probability")
        if self.temperature == 0.0:
            likeliest = np.argmax(scores, axis=-1)[:, None]
            return np.where(np.arange(scores.shape[-1]) == likeliest, 0.0, -np.inf)
        with np.errstate(over="ignore"):  # to -inf
            weights = (scores - highest) / self.temperature
        if self.top_k is not None and self.top_k < weights.shape[-1]:
            kth = np.partition(weights, -self.top_k, axis=-1)[:, -self.top_k, None]
            weights[weights < kth] = -np.inf
        if self.top_p < 1.0:
            order = np.argsort(-weights, axis=-1, kind="stable")
            shares = np.exp(np.take_along_axis(weights, order, axis=-1))
            sums = np.cumsum(shares, axis=-1)
            beyond = np.zeros(weights.shape, dtype=bool)  # the likelier ones alone have enough
            beyond[:, 1:] = sums[:, :-1] >= self.top_p * sums[:, -1:]
            leave_out = np.empty_like(beyond)
            np.put_along_axis(leave_out, order, beyond, axis=-1)
            weights[leave_out] = -np.inf
        return weights
