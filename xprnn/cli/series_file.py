"""The file of ``xprnn forecast`` and ``xprnn backtest``: columns that are forecast, and columns that help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from xprnn.cli.errors import one_line_warnings
from xprnn.cli.options import INPUT, options
from xprnn.data.calendar import FILLS
from xprnn.data.csv_series import CsvSeries, read_csv

FILE = options(
    click.argument("file", type=INPUT),
    click.option(
        "--column", "columns", multiple=True, help="Column to forecast; may be repeated. Default: the only one."
    ),
    click.option(
        "--past", "past", multiple=True, help="Column known up to now that helps to forecast --column; may be repeated."
    ),
    click.option(
        "--future",
        "future",
        multiple=True,
        help="Column known beforehand that helps, such as a holiday: it goes on in the last rows, where --column is "
        "empty, for --horizon rows at least. May be repeated.",
    ),
    click.option("--date", help="Column with ISO 8601 dates. Default: the first, if it holds dates."),
    click.option(
        "--fill",
        type=click.Choice([*FILLS, "refuse"]),
        help="Rows for missing dates, and missing values: as the one before, or in a straight line. Default: a warning "
        "names dates, an error values.",
    ),
)
"""What series are read from."""


@dataclass(frozen=True)
class Known:
    """Columns that help to forecast others: known up to now (N, P), and beforehand (N and more, Q)."""

    past: CsvSeries | None = None
    future: CsvSeries | None = None

    def part(self, begin: int, end: int) -> dict[str, Any]:
        """The covariates of these steps, as a forecaster takes them."""
        return {name: columns.values[begin:end] for name, columns in vars(self).items() if columns is not None}

    def described(self) -> dict[str, str]:
        """What a report says of them."""
        words = {"past": "known up to now", "future": "known beforehand"}
        return {words[name]: ", ".join(found.columns) for name, found in vars(self).items() if found is not None}


def read_file(file: Path, given: dict[str, Any]) -> tuple[CsvSeries, Known]:
    """The columns that are forecast, and those that help, as the options say, which are taken out."""
    columns, past, future, date, fill = (given.pop(name) for name in ("columns", "past", "future", "date", "fill"))
    for option, names in (("--past", past), ("--future", future)):
        if names and not columns:
            raise click.UsageError(f"{option} helps to forecast: say by --column what")
        if doubled := [name for name in names if name in columns]:
            raise click.UsageError(f"{doubled[0]} is forecast, so it is known up to now without {option}")
    if doubled := [name for name in past if name in future]:
        raise click.UsageError(f"{doubled[0]} is given by --past and by --future: one of them is enough")
    with one_line_warnings():
        found = read_csv(file, (*columns, *past, *future), date, fill=fill, ahead=future)
    steps, k = int(np.isfinite(found.values[:, 0]).sum()), len(columns or found.columns)
    parts = np.split(found.values, [k, k + len(past)], axis=1)
    source = CsvSeries(parts[0][:steps], found.columns[:k], found.calendar)
    return source, Known(
        past=CsvSeries(parts[1][:steps], past, found.calendar) if past else None,
        future=CsvSeries(parts[2], future, found.calendar) if future else None,
    )
