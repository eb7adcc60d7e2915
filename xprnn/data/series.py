"""Time series as arrays: checks, scaling, windows, seasonal features.

Host arrays throughout; a series (N, F) is N steps of F columns.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from xprnn.arguments import above_zero, several, size
from xprnn.backend import to_numpy
from xprnn.data.calendar import Calendar
from xprnn.data.gaps import close_gaps
from xprnn.data.numbered_times import warn_of_times
from xprnn.data.tables import columns_of, in_float64, no_numbers, require_plain

Host = np.ndarray[Any, Any]
ROUNDING = 2.0**-48  # of the largest number, what sums of few such numbers may be off


def as_series(values: Any, owner: str = "series", *, gaps: bool = False, flags: bool = False) -> Host:
    """Values of any backend as a float64 host array (N, F); a vector (N,) becomes one column.

    With ``gaps`` NaN stands for a value that is missing, and may be there; with ``flags`` True and False are 1 and 0.

    From a GPU it is copied: baselines, scores and reports are the host's work. A table (a frame, a dict of columns, a
    structured array) gives its columns of numbers; its index, or its one column of dates, has to increase, and a
    warning tells of dates that are missing, and of a column of numbers that seem to be times.

    Raises TypeError for values that are not numbers, or are masked; ValueError for another rank, for values that are
    not finite, and for dates out of order; the message names the first such row.
    """
    series, calendar, names = _read(values, owner, gaps, flags)
    if calendar is not None:
        return close_gaps(owner, series, calendar, None, stacklevel=4)[0]
    warn_of_times(owner, dict(zip(names, series.T, strict=False)), stacklevel=4)
    return series


def rows_of_series(values: Any, owner: str, *, gaps: bool = False, flags: bool = False) -> Host:
    """The same of rows that belong to a series, whose calendar says which dates they should have: few tell no rule."""
    return _read(values, owner, gaps, flags)[0]


def _read(values: Any, owner: str, gaps: bool, flags: bool) -> tuple[Host, Calendar | None, tuple[str, ...]]:
    """Rows and, of a table, their calendar if it has dates, else the names of its columns; of others no names."""
    table = columns_of(values, owner)
    if table is not None and table.flags and not flags:
        name, kind = next(iter(table.flags.items()))
        raise no_numbers(owner, f"column {name!r}", kind)
    series = _numbers(values, owner, "biuf" if flags else "iuf") if table is None else table.values
    if series.ndim == 1:
        series = series[:, None]
    if series.ndim != 2 or series.shape[1] == 0:
        raise ValueError(f"{owner}: shape is {series.shape}; expected (N,) or (N, F)")
    wrong = np.argwhere(np.isinf(series) if gaps else ~np.isfinite(series))
    if len(wrong):
        row, column = wrong[0]
        name = column if table is None else repr(table.names[column])
        raise ValueError(
            f"{owner}: row {row}, column {name} is {series[row, column]} ({len(wrong)} values are not finite): "
            "fill or drop them first"
        )
    if table is None:
        return series, None, ()
    if table.dates is None or len(table.dates) < 2:
        return series, None, table.names
    try:
        return series, Calendar(table.dates), ()
    except (TypeError, ValueError) as error:
        raise type(error)(f"{owner}: {error}") from None


def _numbers(values: Any, owner: str, kinds: str = "iuf") -> Host:
    """An array or a list as float64. Raises TypeError and ValueError."""
    require_plain(owner, "the series", values)
    if not isinstance(values, (list, tuple)) and not hasattr(values, "shape") and not hasattr(values, "__array__"):
        raise TypeError(f"{owner}: a {type(values).__name__}; expected numbers in an array, a list or a table")
    try:
        found = np.asarray(values) if isinstance(values, (list, tuple)) else np.asarray(to_numpy(values))
    except ValueError as error:  # rows of several lengths
        raise ValueError(
            f"{owner}: rows of several lengths; expected (N,) or (N, F), and of several series a Panel"
        ) from error
    if found.dtype.kind not in kinds:
        raise TypeError(f"{owner}: dtype is {found.dtype}; expected numbers")
    return in_float64(owner, "the series", found)


class StandardScaler:
    """Columns to mean 0 and standard deviation 1: z = (x - mean) / std. A constant column is 0, and comes back exactly.

    Fit it on the training part alone: what is known of the future must not reach the past.
    """

    def __init__(self, mean: Host | None = None, std: Host | None = None) -> None:
        self.mean, self.std = mean, std

    def fit(self, series: Host) -> StandardScaler:
        """Take mean and standard deviation from a series (N, F), N at least 1.

        Raises ValueError without rows, for what is not finite, and where they overflow.
        """
        series = _numbers(series, "StandardScaler")
        if not series.ndim or not series.shape[0]:
            raise ValueError(f"StandardScaler: the series has shape {series.shape}; expected (N, F) with N at least 1")
        if not np.isfinite(series).all():
            raise ValueError(
                "StandardScaler: the series holds NaN or infinity; expected finite numbers: fill them first"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            mean = series.mean(axis=0)
            # Squares of small numbers would vanish; times a power of 2 nothing is rounded.
            up = np.minimum(np.frexp(np.abs(series).max(axis=0, initial=0.0))[1], 0)
            std = np.ldexp(np.ldexp(series, -up).std(axis=0), up)
        if not (np.isfinite(mean).all() and np.isfinite(std).all()):
            raise ValueError(f"StandardScaler: values up to {np.abs(series).max():.3g} are too large to be scaled")
        # Rounding leaves a constant column with a tiny deviation, and dividing by it would blow noise up.
        varies = std > ROUNDING * np.abs(series).max(axis=0)
        self.mean, self.std = np.where(varies, mean, series[0]), np.where(varies, std, 0.0)
        return self

    def transform(self, series: Host) -> Host:
        """x (..., F) to z. Raises ValueError for another F than was fitted."""
        series, (mean, std) = self._columns(series)
        return (series - mean) / np.where(std == 0.0, 1.0, std)

    def inverse(self, scaled: Host) -> Host:
        """z (..., F) to x. Raises as :meth:`transform`."""
        scaled, (mean, std) = self._columns(scaled)
        return scaled * std + mean

    def _columns(self, series: Any) -> tuple[Host, tuple[Host, Host]]:
        """A series of the columns that were fitted, and their means and deviations."""
        series, fitted = _numbers(series, "StandardScaler"), self._fitted()
        expected = np.shape(fitted[0])
        if series.shape[series.ndim - len(expected) :] != expected:  # one column would be taken for any number of them
            raise ValueError(f"StandardScaler: the series has shape {series.shape}; expected (..., {expected[-1]})")
        return series, fitted

    def _fitted(self) -> tuple[Host, Host]:
        if self.mean is None or self.std is None:
            raise RuntimeError("StandardScaler: fit it first")
        return self.mean, self.std


def harmonics(index: Host, periods: Sequence[float]) -> Host:
    """Seasonal features: sin and cos of 2 pi t / P for each period P in steps. t (...) to (..., 2 len(periods))."""
    periods = [
        above_zero("harmonics", f"periods[{k}]", p) for k, p in enumerate(several("harmonics", "periods", periods))
    ]
    angles = [2.0 * np.pi * index / period for period in periods]
    columns = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    return np.stack(columns, axis=-1) if columns else np.zeros((*np.shape(index), 0))


def windows(series: Host, origins: Host, length: int) -> Host:
    """The ``length`` steps before each origin, time-major: series (N, F), origins (M,) to (length, M, F).

    Step ``origins[m]`` itself is the first one that window m does not see. Raises ValueError where a window would begin
    before the series or see past its end.
    """
    origins = check_origins(series, origins, size("windows", "length", length))
    return series[origins[None, :] - length + np.arange(length)[:, None]]


def check_origins(series: Host, origins: Any, length: int) -> Host:
    """Origins (M,) as an array of int64, each with at least so many steps before it. Raises ValueError otherwise."""
    given, origins = origins, np.asarray(to_numpy(origins) if hasattr(origins, "shape") else origins)
    if origins.ndim != 1 or (origins.dtype.kind not in "iu" and origins.size):
        raise ValueError(f"origins are {reprlib.repr(given)}; expected a list of integers")
    origins = origins.astype(np.int64)
    if len(origins) and (origins.min() < length or origins.max() > len(series)):
        wrong = origins.min() if origins.min() < length else origins.max()
        raise ValueError(f"origin {wrong} does not have {length} steps before it in a series of {len(series)}")
    return origins
