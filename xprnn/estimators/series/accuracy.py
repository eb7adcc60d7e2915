"""How good forecasts of series are: errors in units of a naive forecast's, and how well chances were told.

actual and predicted (..., F) are compared element by element; NaN in ``actual`` does not count.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]


def rmse(actual: Host, predicted: Host) -> float:
    """The root of the mean of (y - p)^2."""
    return float(np.sqrt(_mean(np.square(actual - predicted))))


def mae(actual: Host, predicted: Host) -> float:
    """The mean of |y - p|."""
    return _mean(np.abs(actual - predicted))


def mase(actual: Host, predicted: Host, train: Host, season: int = 1) -> float:
    """MAE over the mean of |y[t] - y[t - season]| of the training part (T, ...): Hyndman and Koehler 2006.

    Below 1 is better than the last season was there, one step ahead; NaN where that made no errors.
    """
    return _over(mae(actual, predicted), np.abs(train[season:] - train[:-season]), 1.0)


def rmsse(actual: Host, predicted: Host, train: Host, season: int = 1) -> float:
    """RMSE over the root of the mean of (y[t] - y[t - season])^2 of the training part: the M5 competition, 2022."""
    return _over(rmse(actual, predicted), np.square(train[season:] - train[:-season]), 0.5)


def smape(actual: Host, predicted: Host) -> float:
    """200 times the mean of |y - p| / (|y| + |p|), 0 where both are 0: the M3 competition, 2000. From 0 to 200."""
    size = np.abs(actual) + np.abs(predicted)
    return float(200.0 * _mean(np.abs(actual - predicted) / np.where(size == 0.0, 1.0, size)))


def pinball(actual: Host, quantiles: Host, levels: Any) -> float:
    """The mean of max(q e, (q - 1) e), e = y - quantile, over quantiles (..., Q) of levels q (Q,): Koenker 1978."""
    levels, error = np.asarray(levels, dtype=np.float64), np.asarray(actual)[..., None] - quantiles
    return _mean(np.maximum(levels * error, (levels - 1.0) * error))


def crps(actual: Host, samples: Host) -> float:
    """The mean of E|X - y| - E|X - X'| / 2 over samples (S, ...) of each y (...): Gneiting and Raftery 2007.

    The second expectation is over all pairs of the samples; of one sample it is the absolute error.
    """
    ordered = np.sort(samples, axis=0)
    count = len(ordered)
    ranks = (2.0 * np.arange(count) - count + 1.0).reshape(-1, *[1] * (ordered.ndim - 1))
    spread = 2.0 * (ranks * ordered).sum(axis=0) / count**2
    return _mean(np.abs(ordered - actual).mean(axis=0) - 0.5 * spread)


def coverage(actual: Host, bands: Host) -> float:
    """The share of y (...) that lie in [lower, upper], bands (..., 2); an infinite one does not count."""
    counted = np.isfinite(bands).all(axis=-1) & ~np.isnan(actual)
    inside = (bands[..., 0] <= actual) & (actual <= bands[..., 1])
    return float(inside[counted].mean()) if counted.any() else float("nan")


def _mean(errors: Host) -> float:
    """Of those that are known; NaN of none, without a word."""
    known = errors[~np.isnan(errors)]
    return float(known.mean()) if known.size else float("nan")


def _over(error: float, changes: Host, power: float) -> float:
    known = changes[~np.isnan(changes)]
    scale = float(known.mean()) ** power if known.size else 0.0
    return error / scale if scale > 0.0 else float("nan")
