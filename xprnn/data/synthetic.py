"""Series made by formula, for demonstrations and tests that need no file."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np

from xprnn.backend import Rng, generator
from xprnn.data.calendar import Calendar
from xprnn.data.csv_series import CsvSeries


def daily_temperatures(years: int = 6, *, rng: Rng = 0) -> CsvSeries:
    """Daily temperatures in degrees Celsius: a yearly wave, and weather that lasts a few days.

    y[t] = 11 + 6 cos(2 pi t / 365.25) + w[t],  w[t] = 0.6 w[t-1] + e[t],  e[t] from N(0, 2.2^2). Nothing that knows
    only the past can reach an RMSE below 2.2 one step ahead.
    """
    draws, days = generator(rng), round(365.25 * years)
    shocks, weather = draws.normal(0.0, 2.2, days), np.zeros(days)
    for t in range(1, days):
        weather[t] = 0.6 * weather[t - 1] + shocks[t]
    values = 11.0 + 6.0 * np.cos(2.0 * np.pi * np.arange(days) / 365.25) + weather
    first = datetime(2015, 1, 15)
    return CsvSeries(
        values.round(2)[:, None], ("temperature",), Calendar([first + timedelta(days=t) for t in range(days)])
    )
