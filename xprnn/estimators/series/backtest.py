"""Rolling-origin evaluation: what each forecaster would have said, had it stood at every step of a test part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn.data.series import as_series
from xprnn.estimators.series.baselines import SeriesForecaster

Host = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Backtest:
    """Forecasts of a test part and their errors.

    Attributes
    ----------
    series
        All of it, (N, F).
    train_size
        How many steps the forecasters were fitted on; the test part is the rest.
    origins
        (M,) the first step of each forecast.
    forecasts
        By name: (M, horizon, F).
    """

    series: Host
    train_size: int
    horizon: int
    origins: Host
    forecasts: dict[str, Host]

    @property
    def actual(self) -> Host:
        """What came, in the shape of the forecasts (M, horizon, F)."""
        return self.series[self.origins[:, None] + np.arange(self.horizon)]

    def scores(self, column: int = 0) -> list[dict[str, Any]]:
        """RMSE, MAE and MASE of each forecaster, over all origins and steps ahead, in the units of the column.

        MASE (Hyndman and Koehler 2006) is MAE divided by the mean |y[t] - y[t - 1]| of the training part: below 1 is
        better than persistence was there, one step ahead.
        """
        scale = float(np.mean(np.abs(np.diff(self.series[: self.train_size, column]))))
        rows = []
        for name, forecast in self.forecasts.items():
            error = forecast[..., column] - self.actual[..., column]
            mae = float(np.mean(np.abs(error)))
            rmse = float(np.sqrt(np.mean(np.square(error))))
            rows.append(
                {"forecaster": name, "rmse": rmse, "mae": mae, "mase": mae / scale if scale > 0 else float("nan")}
            )
        return rows


def backtest(
    forecasters: Sequence[SeriesForecaster], series: Any, *, test: float | int = 0.2, horizon: int = 1
) -> Backtest:
    """Fit each forecaster on the first part of a series and let it forecast from every step of the rest.

    Every forecast sees the true series up to its origin, and nothing after; nothing is fitted again.

    Parameters
    ----------
    series
        (N,) or (N, F).
    test
        The test part's share of the series, or its number of steps.
    horizon
        Steps ahead. Origins stop where the last step would be past the end.

    Raises ValueError for an empty training or test part, and what the forecasters raise.
    """
    series = as_series(series, "backtest")
    size = count_test_steps(len(series), test)
    if not 1 <= horizon <= size:
        raise ValueError(f"backtest: horizon is {horizon}; expected 1 to {size}, the length of the test part")
    names = [forecaster.name for forecaster in forecasters]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"backtest: more than one forecaster is called {', '.join(sorted(doubled))}")
    train = series[: len(series) - size]
    for forecaster in forecasters:
        forecaster.fit(train)
    origins = np.arange(len(train), len(series) - horizon + 1)
    forecasts = {f.name: f.forecast(series, origins, horizon) for f in forecasters}
    return Backtest(series, len(train), horizon, origins, forecasts)


def count_test_steps(steps: int, test: float | int) -> int:
    """The number of test steps, from a share between 0 and 1 or a number."""
    whole = not isinstance(test, bool) and test >= 1 and test == test // 1
    size = int(test) if whole else round(steps * test) if 0 < test < 1 else -1
    if not 1 <= size < steps:
        raise ValueError(f"test is {test}; expected a share between 0 and 1, or a number of steps below {steps}")
    return size
