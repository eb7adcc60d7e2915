"""What a forecasting run found: a table, JSON, and a CSV file."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn.data.csv_series import CsvSeries
from xprnn.estimators.series.backtest import Backtest

Host = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ForecastReport:
    """A backtest on a file's columns, and the forecast of what comes after its end (horizon, F)."""

    source: CsvSeries
    backtest: Backtest
    future: Host

    def table(self) -> str:
        """Errors of every forecaster on the test part, a block for each column, the best RMSE marked."""
        test = self.backtest
        first, last = (self.source.label(row) for row in (test.train_size, len(test.series) - 1))
        ahead = "one step ahead" if test.horizon == 1 else f"1 to {test.horizon} steps ahead"
        lines = []
        for k, column in enumerate(self.source.columns):
            rows = test.scores(k)
            width = max(len(row["forecaster"]) for row in rows)
            best = min(row["rmse"] for row in rows)
            lines.append(f"{column}: {len(test.origins)} forecasts from {first} to {last}, {ahead}")
            lines.append(f"  {'':{width}}  {'RMSE':>9}  {'MAE':>9}  {'MASE':>7}")
            for row in rows:
                mark = "  best" if row["rmse"] == best else ""
                numbers = f"{row['rmse']:#9.4g}  {row['mae']:#9.4g}  {row['mase']:7.3f}"
                lines.append(f"  {row['forecaster']:{width}}  {numbers}{mark}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The same, and the future, as plain values."""
        test, columns = self.backtest, self.source.columns
        rows = range(len(test.series), len(test.series) + len(self.future))
        return {
            "train_size": test.train_size,
            "test_size": len(test.series) - test.train_size,
            "horizon": test.horizon,
            "scores": {name: [_without_nan(row) for row in test.scores(k)] for k, name in enumerate(columns)},
            "future": [
                {"when": self.source.label(row), "values": dict(zip(columns, map(float, self.future[n]), strict=True))}
                for n, row in enumerate(rows)
            ],
        }

    def csv_text(self) -> str:
        """One line for each column, origin and step ahead: what came and what each forecaster said; then the future."""
        test, out = self.backtest, io.StringIO()
        names = list(test.forecasts)
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["when", "column", "steps_ahead", "actual", *names])
        for k, column in enumerate(self.source.columns):
            for m, origin in enumerate(test.origins):
                for ahead in range(test.horizon):
                    said = [f"{test.forecasts[name][m, ahead, k]:.6g}" for name in names]
                    row = int(origin) + ahead
                    writer.writerow([self.source.label(row), column, ahead + 1, f"{test.series[row, k]:.6g}", *said])
            for ahead in range(len(self.future)):
                blanks = [""] * (len(names) - 1)
                when = self.source.label(len(test.series) + ahead)
                writer.writerow([when, column, ahead + 1, "", f"{self.future[ahead, k]:.6g}", *blanks])
        return out.getvalue()


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: what cannot be said is null."""
    return {name: None if value != value else value for name, value in row.items()}
