"""What the prediction for one text rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

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
        positive ones speak for the label. Zeros where there is no evidence.
    attention
        How much each token counted in the pooling, summing to 1; None where the pooling is not attention.
    """

    tokens: tuple[str, ...]
    known: tuple[bool, ...]
    label: Any
    probability: float
    effects: Host
    attention: Host | None
