"""How good predictions are, as one number over all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]


def r_squared(actual: Host, predicted: Host, weight: Host | None = None) -> float:
    """1 - sum of w (y - p)^2 / sum of w (y - mean of y)^2, the mean of the columns of (N, K).

    Of a column that is constant 1 where all is right, else 0.
    """
    mean = np.average(actual, axis=0, weights=weight)
    error, spread = (np.average(np.square(actual - other), axis=0, weights=weight) for other in (predicted, mean))
    constant = spread == 0.0
    scores = np.where(constant, np.where(error == 0.0, 1.0, 0.0), 1.0 - error / np.where(constant, 1.0, spread))
    return float(scores.mean())
