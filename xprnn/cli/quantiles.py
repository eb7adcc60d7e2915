"""Quantiles of what comes next: as a file, as plain values, and as columns of a report's table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn.data.csv_series import CsvSeries

Host = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Quantiles:
    """Levels (Q,), and the values (K, F, Q) that so large a share of futures stays below, after the end of a file."""

    source: CsvSeries
    levels: Sequence[float]
    values: Host

    def rows(self) -> list[dict[str, Any]]:
        """Each step and column: when it is, the column, and its values by level."""
        first = len(self.source.values)
        return [
            {
                "when": self.source.label(first + step),
                "column": column,
                "values": {str(level): float(value) for level, value in zip(self.levels, values, strict=True)},
            }
            for k, column in enumerate(self.source.columns)
            for step, values in enumerate(self.values[:, k])
        ]

    def csv_text(self) -> str:
        """A line for each step and column."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["when", "column", *map(str, self.levels)])
        writer.writerows([row["when"], row["column"], *map(str, row["values"].values())] for row in self.rows())
        return out.getvalue()
