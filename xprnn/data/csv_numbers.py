"""Numbers in the cells of CSV files: a column at once, and what is wrong with one that holds others."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]
EXACT = 2.0**53  # up to which every integer is a number of float64
WHOLE = re.compile(r"[+-]?\d{1,400}")  # no float64 has as many digits
MISSING = re.compile(
    r"|-+|[.?]+|nan|null|none|missing|#?n/?a[!]?|<na>", re.IGNORECASE
)  # how files say that there is no number
CODES = (999.0, 9999.0, 99999.0, 999999.0, 999.9, 9999.9, 999.99, 9999.99)  # or below 0, for what was not measured
THOUSANDS, BELOW = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}"), re.compile(r"[+-]?\d{1,3}")


def number_of(text: str) -> float | None:
    """The number that a cell holds, also one that is not finite; None where it holds something else."""
    if not text.isascii() or "_" in text:  # float() would read 1_000, and digits of other scripts
        return None
    try:
        return float(text)
    except ValueError:
        return None


def numbers_of(cells: Sequence[str]) -> Host:
    """The number of each cell, NaN where it holds none."""
    text = "".join(cells)
    if text.isascii() and "_" not in text:
        try:
            return np.array(list(map(float, cells)))
        except ValueError:
            pass
    return np.array([np.nan if (number := number_of(cell)) is None else number for cell in cells])


def finite_numbers(
    path: Path, name: str, lines: Sequence[int], cells: Sequence[str], why: Callable[[str], str]
) -> Host:
    """The column of this name, whose cells stand in these lines.

    Raises ValueError for the first that holds no finite number, told with ``why``, and for integers that differ, and
    would not any more.
    """
    found = numbers_of(cells)
    for row in np.flatnonzero(~np.isfinite(found))[:1]:
        raise ValueError(f"{path}: line {lines[row]}, column {name!r}: {why(cells[row])}")
    if np.abs(found).max(initial=0.0) > EXACT:
        require_apart(f"{path}: column {name!r}", sorted({int(cell) for cell in cells if WHOLE.fullmatch(cell)}))
    return found


def require_apart(name: str, ascending: Sequence[int]) -> None:
    """Raise ValueError for integers that differ, and would not in float64."""
    for before, after in pairwise(ascending):
        if float(before) == float(after):
            raise ValueError(
                f"{name} has {before} and {after}, which float64 does not tell apart: subtract what all its numbers "
                "share"
            )


def why_no_number(text: str) -> str:
    """What is wrong with a cell that should hold a finite number, and what to do about it where that is known."""
    how = ""
    if "," in text:
        how = " with a decimal point"
    elif MISSING.fullmatch(text):
        how = (
            ": leave out rows without a value, or fill them by --fill or fill=; a Forecaster also takes NaN, as "
            "pandas.read_csv gives it"
        )
    return f"{text!r} is not a finite number{how}"


def tell_of_codes(path: Path, columns: Sequence[str], values: Host, stacklevel: int) -> None:
    """Warn of the first column (N, F) with a number that seems to stand for missing ones, such as -999 among counts."""
    for name, column in zip(columns, values.T, strict=True):
        for code in np.unique(column[np.isin(np.abs(column), CODES)]).tolist():
            others = column[(column != code) & ~np.isnan(column)]
            low, high = others.min(initial=np.inf), others.max(initial=-np.inf)
            if len(others) and ((code < 0.0 <= low) or max(-low, high) <= 0.1 * abs(code)):
                count = int((column == code).sum())
                warnings.warn(
                    f"{path}: column {name!r} has {code:g} in {count} row{'s' * (count > 1)}, and all others lie from "
                    f"{low:g} to {high:g}: where it stands for a missing value, leave it out",
                    stacklevel=stacklevel + 1,
                )
                return


def tell_of_thousands(path: Path, columns: Sequence[str], cells: Sequence[list[str]], stacklevel: int) -> None:
    """Warn of the first column of numbers whose points seem to part thousands."""
    for name, column in zip(columns, cells, strict=True):
        if (found := _of_thousands(column)) is not None:
            pointed, plain = found
            warnings.warn(
                f"{path}: column {name!r} has {pointed} beside {plain}: points are taken for decimal ones, so "
                f"{pointed} is about {float(pointed):.0f}; where they part thousands, leave them out",
                stacklevel=stacklevel + 1,
            )
            return


def _of_thousands(cells: Sequence[str]) -> tuple[str, str] | None:
    """A number with a point and one without, where points seem to part thousands: 1.012 after 987.

    All that have one have three digits behind it and no 0 in front, and all others are whole, below a thousand, and
    not all far below.
    """
    pointed = [cell for cell in cells if "." in cell]
    if not 0 < len(pointed) < len(cells) or not all(map(THOUSANDS.fullmatch, pointed)):
        return None
    plain = [cell for cell in cells if cell and "." not in cell]
    near = next((cell for cell in plain if len(cell.lstrip("+-")) == 3), None)
    return None if near is None or not all(map(BELOW.fullmatch, plain)) else (pointed[0], near)
