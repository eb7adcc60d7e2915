"""Series made by formula, for demonstrations and tests that need no file."""

from __future__ import annotations

import math
import sys
from datetime import datetime, timedelta

import numpy as np

from xprnn.arguments import real_number, size
from xprnn.data.calendar import Calendar
from xprnn.data.csv_series import CsvSeries
from xprnn.randomness import Rng, generator


def daily_temperatures(years: int = 6, *, rng: Rng = 0) -> CsvSeries:
    """Daily temperatures in degrees Celsius: a yearly wave, and weather that lasts a few days.

    y[t] = 11 + 6 cos(2 pi t / 365.25) + w[t],  w[t] = 0.6 w[t-1] + e[t],  e[t] from N(0, 2.2^2). Nothing that knows
    only the past can reach an RMSE below 2.2 one step ahead. Raises ValueError for no whole number of years.
    """
    draws, days = generator(rng), round(365.25 * size("daily_temperatures", "years", years))
    shocks, weather = draws.normal(0.0, 2.2, days), np.zeros(days)
    for t in range(1, days):
        weather[t] = 0.6 * weather[t - 1] + shocks[t]
    values = 11.0 + 6.0 * np.cos(2.0 * np.pi * np.arange(days) / 365.25) + weather
    first = datetime(2015, 1, 15)
    return CsvSeries(
        values.round(2)[:, None], ("temperature",), Calendar([first + timedelta(days=t) for t in range(days)])
    )


def noisy_sine(
    steps: int = 1000, *, period: float = 20.0, noise: float = 0.1, rng: Rng = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A sine and noise: the series (N,), sin(2 pi t / period) + N(0, noise^2), and the sine alone (N,).

    Whoever knows the sine exactly is wrong by the next step's noise, so that no forecast has an RMSE below ``noise``;
    with W noisy steps to see, of a wave whose period is known, sqrt(1 + 2 / W) noise can be reached. Raises ValueError
    for steps below 1, a period of at most 2 steps, which cannot be seen, and noise below 0.
    """
    steps = size("noisy_sine", "steps", steps)
    noise = real_number("noisy_sine", "noise", noise, "a standard deviation, at least 0", high=sys.float_info.max)
    expected = "a number of steps above 2"
    period = real_number("noisy_sine", "period", period, expected, math.nextafter(2.0, 3.0), sys.float_info.max)
    sine = np.sin(2.0 * np.pi / period * np.arange(steps))
    return sine + generator(rng).normal(0.0, noise, steps), sine
