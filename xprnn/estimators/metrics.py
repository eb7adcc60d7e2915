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


def mean_absolute_error(actual: Host, predicted: Host, weight: Host | None = None) -> float:
    """The mean of w |y - p| over the rows and columns of (N, K)."""
    return float(np.average(np.abs(actual - predicted).mean(axis=1), weights=weight))


def accuracy(actual: Host, predicted: Host, weight: Host | None = None) -> float:
    """The share of rows that are right: of classes (N,), or of labels (N, L) in all of which."""
    right = actual == predicted
    return float(np.average(right if right.ndim == 1 else right.all(axis=1), weights=weight))


def balanced_accuracy(actual: Host, predicted: Host, weight: Host | None = None) -> float:
    """The mean over the classes that there are of the share of their rows that are right; of labels, over them too."""
    if actual.ndim == 2:
        pairs = zip(actual.T, predicted.T, strict=True)
        return float(np.mean([balanced_accuracy(a, p, weight) for a, p in pairs]))
    weight = np.ones(len(actual)) if weight is None else weight
    chosen = [actual == c for c in np.unique(actual)]
    return float(np.mean([np.average(predicted[rows] == actual[rows], weights=weight[rows]) for rows in chosen]))


def macro_f1(actual: Host, predicted: Host, weight: Host | None = None) -> float:
    """The mean over classes, or labels, of 2 TP / (2 TP + FP + FN); 0 where there is nothing to divide by."""
    if actual.ndim == 1:
        classes = np.union1d(actual, predicted)
        actual, predicted = actual[:, None] == classes, predicted[:, None] == classes
    weights = np.ones(len(actual)) if weight is None else weight
    right = weights @ ((actual == 1) & (predicted == 1))
    total = weights @ (actual == 1) + weights @ (predicted == 1)
    return float(np.mean(2.0 * right / np.where(total == 0.0, 1.0, total)))
