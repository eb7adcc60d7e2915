"""What the prediction for one text rests on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn.estimators.portions import portions

Host = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Explanation:
    """What a prediction rests on, token by token.

    Attributes
    ----------
    tokens, known
        What the text was cut into, and which of it the vocabulary has.
    label, probability
        As ``predict`` says them: None, and the label's share of the training texts, where there is no evidence.
    effects
        For each token, by how much log(p / (1 - p)) of the label's probability p falls where the token is left out:
        positive ones speak for the label (Li, Monroe and Jurafsky 2016, arXiv 1612.08220). Zeros where there is no
        evidence.
    attention
        How much each token counted in the pooling, summing to 1; None where the pooling is not attention.
    """

    tokens: tuple[str, ...]
    known: tuple[bool, ...]
    label: Any
    probability: float
    effects: Host
    attention: Host | None


def leaving_out(tokens: list[str], probability: Callable[[list[list[str]]], Host], whole: float) -> Host:
    """The effects (N,) of tokens on a probability, which all of them together have given."""
    effects = np.zeros(len(tokens))
    for part in portions([len(tokens)] * len(tokens)):  # all at once they would take memory for N^2 tokens
        without = probability([tokens[:k] + tokens[k + 1 :] for k in part])
        effects[part] = _log_odds(whole) - _log_odds(without)
    return effects


def _log_odds(probabilities: Host | float) -> Host:
    """log(p / (1 - p)), finite also where p is rounded to 0 or 1."""
    p = np.clip(probabilities, 1e-12, 1.0 - 1e-12)
    return np.log(p) - np.log1p(-p)
