"""Time series: the next value of a noisy sine, and five periods more, fed with nothing but its own forecasts.

y[t] = sin(2 pi t / 20) + N(0, 0.1^2), 1000 steps to learn from, 2000 more to test on. The floor of the one-step error
is the noise itself, an RMSE of 0.1: who knows the sine exactly is wrong by the noise of the step to come. A loss below
it, as introductions print, was measured on the noise that had been learned by heart. Samples are 20 a period: 1000 of
them in one single period, as one also sees it, show nothing that repeats.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, example, plot, save, table

from xprnn.data.synthetic import noisy_sine
from xprnn.estimators import AutoRegression, Forecaster, Persistence

PERIOD, NOISE, TRAIN, TEST, WINDOW, FREE = 20, 0.1, 1000, 2000, 60, 5


def phase(values: np.ndarray, first: int) -> float:
    """Degrees by which one period of values, from step ``first`` on, is ahead of the sine."""
    angles = 2 * np.pi / PERIOD * (first + np.arange(PERIOD))
    return float(np.degrees(np.arctan2(values @ np.cos(angles), values @ np.sin(angles))))


def learn(seed: int, epochs: int) -> dict[str, Any]:
    """Fit on the training part; forecast every test step from the ones before it, and then run freely."""
    series, sine = noisy_sine(TRAIN + TEST, period=PERIOD, noise=NOISE, rng=seed)
    forecaster = Forecaster("gru", hidden=16, window=WINDOW, learning_rate=5e-3, epochs=epochs, patience=20, seed=seed)
    models = {"xprnn gru": forecaster, f"AR({WINDOW})": AutoRegression(WINDOW), "persistence": Persistence()}
    at, errors = np.arange(TRAIN, TRAIN + TEST), {}
    for name, model in models.items():
        model.fit(series[:TRAIN] if model is forecaster else series[:TRAIN, None])
        errors[name] = model.forecast(series[:, None], at, 1)[:, 0, 0] - series[at]
    free = forecaster.predict(FREE * PERIOD)
    periods = [slice(k * PERIOD, (k + 1) * PERIOD) for k in range(FREE)]
    return {
        "seed": seed,
        "series": series,
        "sine": sine,
        "rmse": {name: float(np.sqrt(np.mean(np.square(e)))) for name, e in errors.items()},
        "forecast": series[at] + errors["xprnn gru"],
        "free": free,
        "phase": [phase(free[part], TRAIN + part.start) for part in periods],
    }


def draw(run: dict[str, Any]) -> Any:
    figure, (above, below) = plot(2, 1, size=(11, 7.5))
    black, blue, orange = COLOURS[7], COLOURS[0], COLOURS[1]
    for axes, said, title in (
        (
            above,
            run["forecast"],
            f"One step ahead: RMSE {run['rmse']['xprnn gru']:.4f}, and the noise alone is {NOISE}",
        ),
        (below, run["free"], f"Running freely: fed with its own forecasts, {FREE} periods long"),
    ):
        t = np.arange(TRAIN - 2 * PERIOD, TRAIN + FREE * PERIOD)
        known = t if axes is above else t[: 2 * PERIOD]
        axes.plot(t, run["sine"][t], color=orange, linewidth=3, alpha=0.6, label="the sine, without noise")
        axes.plot(known, run["series"][known], ".", color=black, markersize=4, label="what the network sees")
        axes.plot(np.arange(TRAIN, t[-1] + 1), said[: FREE * PERIOD], color=blue, linewidth=1.6, label="xprnn gru")
        axes.axvline(TRAIN - 0.5, color="#888888", linestyle=":", linewidth=1)
        axes.set(title=title, xlabel=f"step ({PERIOD} a period; training ends at {TRAIN})", ylabel="y")
        axes.grid(alpha=0.25)
        axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.0), frameon=False)
    shown = "\n".join(f"{k + 1}: {error:+.1f}°" for k, error in enumerate(run["phase"]))
    below.text(1.02, 0.35, f"phase error in period\n{shown}", transform=below.transAxes, va="top")
    return figure


@example
def main(quick: bool, output: Path) -> None:
    """Forecast a noisy sine, one step ahead and running freely."""
    epochs, seeds = (2, 1) if quick else (120, 3)
    runs = [learn(seed, epochs) for seed in range(seeds)]
    rows = [
        [
            run["seed"],
            name,
            rmse,
            f"{rmse / NOISE - 1:+.1%}",
            f"{run['phase'][-1]:+.1f}°" if "gru" in name else "-",
            f"{max(map(abs, run['phase'])):.1f}°" if "gru" in name else "-",
        ]
        for run in runs
        for name, rmse in run["rmse"].items()
    ]
    table(rows, ("seed", "forecaster", "one-step RMSE", "above the floor", "phase, last period", "phase, worst"))
    reachable = NOISE * np.sqrt(1 + 2 / WINDOW)
    print(f"the floor is the noise, {NOISE}; {WINDOW} noisy steps of a wave of known period allow {reachable:.4f}")
    save(draw(runs[0]), output, "noisy_sine")


if __name__ == "__main__":
    main()
