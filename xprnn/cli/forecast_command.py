"""``xprnn forecast`` and ``xprnn demo``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from xprnn.backend import default_backend
from xprnn.cli.errors import one_line_errors, one_line_warnings
from xprnn.cli.outputs import keep_inputs, writable_folder
from xprnn.data.calendar import FILLS
from xprnn.data.csv_series import CsvSeries, read_csv
from xprnn.data.synthetic import daily_temperatures
from xprnn.estimators import AutoRegression, Forecaster, Persistence, SeasonalNaive, SeriesForecaster
from xprnn.estimators.cells import CELLS
from xprnn.estimators.series.backtest import count_test_steps
from xprnn.estimators.series.plot import draw_forecast
from xprnn.estimators.series.report import ForecastReport
from xprnn.storage import write_atomically

AR_ORDERS = (7, 29)


def forecast_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that ``forecast`` and ``demo`` share."""
    options = [
        click.option(
            "--test",
            default=0.2,
            show_default=True,
            help="Share, or number of steps, at the end of the series to test on.",
        ),
        click.option("--horizon", default=1, show_default=True, help="Steps ahead."),
        click.option(
            "--strategy",
            type=click.Choice(["recursive", "direct"]),
            default="recursive",
            show_default=True,
            help="Several steps by feeding forecasts back, or all at once.",
        ),
        click.option(
            "--cell", type=click.Choice(list(CELLS)), default="lstm", show_default=True, help="Recurrent cell."
        ),
        click.option("--hidden", default=32, show_default=True, help="Hidden units."),
        click.option("--layers", default=1, show_default=True, help="Recurrent layers."),
        click.option("--window", default=30, show_default=True, help="Steps of the past that a forecast sees."),
        click.option(
            "--season", "seasons", type=float, multiple=True, help="Length of a season in steps; may be repeated."
        ),
        click.option("--epochs", default=40, show_default=True, help="At most this many; stops early."),
        click.option("--backend", type=click.Choice(["auto", "numpy", "cupy"]), help="Where to compute."),
        click.option("--seed", default=0, show_default=True, help="Same seed, same numbers."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--column", "columns", multiple=True, help="Column to forecast; may be repeated. Default: the only one.")
@click.option("--date", help="Column with ISO 8601 dates. Default: the first, if it holds dates.")
@click.option(
    "--fill",
    type=click.Choice([*FILLS, "refuse"]),
    help="Rows for missing dates: as the one before, or in a straight line. Default: they are told of, and not filled.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("xprnn-forecast"), show_default=True, help="Folder."
)
@forecast_options
def forecast(
    file: Path, columns: tuple[str, ...], date: str | None, fill: str | None, out: Path, **options: Any
) -> None:
    """Forecast columns of a CSV file, beside persistence, seasonal naive and autoregression.

    Trains on the first part of the file, tests on the rest, prints the errors of all, and writes forecast.csv,
    model.safetensors and forecast.png to the output folder.
    """
    keep_inputs(out / "forecast.csv", file)
    _run(lambda: read_csv(file, columns, date, fill=fill), out, **options)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("xprnn-demo"), show_default=True, help="Folder.")
@forecast_options
def demo(out: Path, **options: Any) -> None:
    """Forecast six years of generated daily temperatures: needs no file and no network."""
    _run(daily_temperatures, out, **options)


def _run(read: Callable[[], CsvSeries], out: Path, *, backend: str | None, **options: Any) -> None:
    with one_line_errors(backend):
        with one_line_warnings():
            source = read()
        _forecast(source, out, **options)


def _forecast(
    source: CsvSeries,
    out: Path,
    *,
    test: float,
    horizon: int,
    strategy: str,
    seasons: Sequence[float],
    as_json: bool,
    **options: Any,
) -> None:
    writable_folder(out)  # before the work, not after it
    periods = tuple(seasons) or source.periods()
    test_steps = count_test_steps(len(source.values), test)
    train_steps = len(source.values) - test_steps
    forecaster = Forecaster(
        strategy=strategy,
        horizon=horizon if strategy == "direct" else 1,
        periods=periods,
        progress=True,
        **options,
    )
    click.echo(
        f"{len(source.values)} rows, {train_steps} for training and {test_steps} for the test; "
        f"seasons of {', '.join(f'{p:g}' for p in periods) or 'no'} steps; computing on {default_backend()}",
        err=True,
    )
    baselines = _baselines(train_steps, source.values.shape[1], periods)
    evaluated = forecaster.backtest(source.values, test=test_steps, horizon=horizon, baselines=baselines)
    future = forecaster.observe(source.values[train_steps:]).predict(horizon)
    report = ForecastReport(source, evaluated, future)
    if not as_json:
        click.echo(report.table())
    written = _write(report, forecaster, out)
    if as_json:
        click.echo(json.dumps(report.as_json() | {"files": written}, indent=2, allow_nan=False))
    else:
        click.echo(f"\nwritten: {', '.join(written)}")


def _baselines(train_steps: int, columns: int, periods: Sequence[float]) -> list[SeriesForecaster]:
    """Those that the training part is long enough for."""
    found: list[SeriesForecaster] = [Persistence()]
    if not periods:
        click.echo("no season is known, so there is no seasonal naive forecast: give --season", err=True)
    seasons = dict.fromkeys(round(period) for period in periods)
    found += [SeasonalNaive(season) for season in seasons if season <= train_steps]
    found += [AutoRegression(order) for order in AR_ORDERS if train_steps - order >= 2 * (order * columns + 1)]
    return found


def _write(report: ForecastReport, forecaster: Forecaster, out: Path) -> list[str]:
    """Write the files. A picture that cannot be drawn costs nothing else."""
    pictures = {}
    for k, column in enumerate(report.source.columns):
        try:
            pictures["forecast.png" if k == 0 else f"forecast-{k}.png"] = draw_forecast(report, k)
        except Exception as error:  # matplotlib missing, or failing in one of its many ways
            click.echo(f"no picture of {column}: {error}", err=True)
    write_atomically(out / "forecast.csv", report.csv_text().encode())
    forecaster.save(out / "model.safetensors")
    for name, picture in pictures.items():
        write_atomically(out / name, picture)
    return [str(out / name) for name in ("forecast.csv", "model.safetensors", *pictures)]
