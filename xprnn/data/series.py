"""Time series as arrays: checks, scaling, windows, seasonal features.

Host arrays throughout; a series (N, F) is N steps of F columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xprnn.backend import to_numpy

Host = np.ndarray[Any, Any]


def as_series(values: Any, owner: str = "series") -> Host:
    """Values of any backend as a float64 host array (N, F); a vector (N,) becomes one column.

    Raises TypeError for values that are not numbers, ValueError for another rank or for values that are not finite; the
    message names the first such row.
    """
    series = np.asarray(values) if isinstance(values, (list, tuple)) else to_numpy(values)
    if series.dtype.kind not in "fiu":
        raise TypeError(f"{owner}: dtype is {series.dtype}; expected numbers")
    series = series.astype(np.float64)
    if series.ndim == 1:
        series = series[:, None]
    if series.ndim != 2 or series.shape[1] == 0:
        raise ValueError(f"{owner}: shape is {series.shape}; expected (N,) or (N, F)")
    wrong = np.argwhere(~np.isfinite(series))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"{owner}: row {row}, column {column} is {series[row, column]} ({len(wrong)} values are not finite): "
            "fill or drop them first"
        )
    return series


class StandardScaler:
    """Columns to mean 0 and standard deviation 1: z = (x - mean) / std. A constant column is only centred.

    Fit it on the training part alone: what is known of the future must not reach the past.
    """

    def __init__(self, mean: Host | None = None, std: Host | None = None) -> None:
        self.mean, self.std = mean, std

    def fit(self, series: Host) -> StandardScaler:
        """Take mean and standard deviation from a series (N, F). Returns itself."""
        self.mean = series.mean(axis=0)
        std = series.std(axis=0)
        # Rounding leaves a constant column with a tiny deviation, and dividing by it would blow noise up.
        self.std = np.where(std > 1e-12 * np.maximum(np.abs(self.mean), 1.0), std, 1.0)
        return self

    def transform(self, series: Host) -> Host:
        """x (..., F) to z."""
        return (series - self.mean) / self.std

    def inverse(self, scaled: Host) -> Host:
        """z (..., F) to x."""
        return scaled * self.std + self.mean


def harmonics(index: Host, periods: Sequence[float]) -> Host:
    """Seasonal features: sin and cos of 2 pi t / P for each period P in steps. t (...) to (..., 2 len(periods))."""
    angles = [2.0 * np.pi * index / period for period in periods]
    columns = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    return np.stack(columns, axis=-1) if columns else np.zeros((*np.shape(index), 0))


def windows(series: Host, origins: Host, length: int) -> Host:
    """The ``length`` steps before each origin, time-major: series (N, F), origins (M,) to (length, M, F).

    Step ``origins[m]`` itself is the first one that window m does not see. Raises ValueError where a window would begin
    before the series or see past its end.
    """
    origins = np.asarray(origins)
    if len(origins) and (origins.min() < length or origins.max() > len(series)):
        wrong = origins.min() if origins.min() < length else origins.max()
        raise ValueError(f"windows: origin {wrong} does not have {length} steps before it in a series of {len(series)}")
    return series[origins[None, :] - length + np.arange(length)[:, None]]
