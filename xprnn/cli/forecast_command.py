"""``xprnn forecast``, ``xprnn demo`` and ``xprnn backtest``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from xprnn.arguments import probability
from xprnn.backend import default_backend
from xprnn.cli.errors import one_line_errors
from xprnn.cli.options import BACKEND, CELL, EPOCHS, JSON, PATH, SEED, Option, one_cell, options
from xprnn.cli.outputs import echo_json, keep_inputs, writable_folder
from xprnn.cli.quantiles import Quantiles
from xprnn.cli.report.forecast import forecast_page
from xprnn.cli.series_file import FILE, Known, read_file
from xprnn.data.csv_series import CsvSeries
from xprnn.data.synthetic import daily_temperatures
from xprnn.estimators import AutoRegression, Backtest, Drift, Forecaster, Persistence, SeasonalNaive, SeriesForecaster
from xprnn.estimators import backtest as run_backtest
from xprnn.estimators.series.backtest import Informed, count_test_steps
from xprnn.estimators.series.plot import draw_forecast
from xprnn.estimators.series.report import ForecastReport
from xprnn.whole_files import write_atomically

AR_ORDERS = (7, 29)
FILES = ("forecast.csv", "quantiles.csv", "model.safetensors", "report.html")
COMPARED = ("backtest.csv", "report.html")
TRAINED = options(
    click.option(
        "--test", default=0.2, show_default=True, help="Share, or number of steps, at the end of the series to test on."
    ),
    click.option("--horizon", default=1, show_default=True, help="Steps ahead."),
    click.option(
        "--strategy",
        type=click.Choice(["recursive", "direct"]),
        default="recursive",
        show_default=True,
        help="Several steps by feeding forecasts back, or all at once.",
    ),
    click.option("--hidden", default=32, show_default=True, help="Hidden units."),
    click.option("--layers", default=1, show_default=True, help="Recurrent layers."),
    click.option(
        "--window", type=int, help="Steps of the past that a forecast sees. Default: as many as what is chosen needs."
    ),
    click.option(
        "--season", "seasons", type=float, multiple=True, help="Length of a season in steps; may be repeated."
    ),
    EPOCHS,
    BACKEND,
    SEED,
    JSON,
)
"""How forecasters are trained and tested."""
ONE_FORECASTER = options(
    one_cell("lstm"),
    click.option(
        "--quantile",
        "quantiles",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        multiple=True,
        help="Also say what this share of futures stays below, such as 0.1; may be repeated.",
    ),
)


def out_folder(name: str) -> Option:
    """The folder that is written to."""
    return click.option("--out", type=PATH, default=Path(name), show_default=True, help="Folder.")


@click.command()
@FILE
@out_folder("xprnn-forecast")
@options(ONE_FORECASTER, TRAINED)
def forecast(file: Path, out: Path, **given: Any) -> None:
    """Forecast columns of a CSV file, beside persistence, drift, seasonal naive and autoregression.

    Trains on the first part of the file, tests on the rest, prints the errors of all, and writes forecast.csv,
    model.safetensors, forecast.png and report.html to the output folder, and with --quantile quantiles.csv.
    """
    for name in FILES:
        keep_inputs(out / name, file)
    backend = given.pop("backend")
    with one_line_errors(backend):
        source, known = read_file(file, given)
        _forecast(source, known, file.name, out, **given)


@click.command()
@out_folder("xprnn-demo")
@options(ONE_FORECASTER, TRAINED)
def demo(out: Path, backend: str | None, **given: Any) -> None:
    """Forecast six years of generated daily temperatures: needs no file and no network."""
    with one_line_errors(backend):
        _forecast(daily_temperatures(), Known(), "generated temperatures", out, **given)


@click.command()
@FILE
@out_folder("xprnn-backtest")
@options(
    click.option(
        "--cell", "cells", type=CELL, multiple=True, default=["lstm"], show_default=True, help="May be repeated."
    ),
    click.option(
        "--refit", default="never", show_default=True, help="Fit again: never, always, or each so many steps."
    ),
    TRAINED,
)
def backtest(file: Path, out: Path, **given: Any) -> None:
    """Compare forecasters on the end of a CSV file: cells of networks, persistence, drift, seasonal naive, AR.

    All are fitted on the first part of the file and forecast from every step of the rest. Prints the errors of all, and
    writes backtest.csv and report.html, which tells most of the best one, to the output folder.
    """
    for name in COMPARED:
        keep_inputs(out / name, file)
    backend = given.pop("backend")
    with one_line_errors(backend):
        source, known = read_file(file, given)
        _backtest(source, known, file.name, out, **given)


def _forecast(
    source: CsvSeries,
    known: Known,
    called: str,
    out: Path,
    *,
    cell: str,
    quantiles: Sequence[float],
    as_json: bool,
    **given: Any,
) -> None:
    writable_folder(out, *FILES, *_pictures(source.columns))  # before the work, not after it
    levels = sorted({probability("forecast", "--quantile", level) for level in quantiles})  # which may be nan
    steps, horizon = len(source.values), given["horizon"]
    to_come = None if known.future is None else known.future.values[steps : steps + horizon]
    if to_come is not None and len(to_come) < horizon:
        raise ValueError(
            f"--horizon is {horizon}, but the file knows --future for {len(to_come)} rows in which "
            f"{source.columns[0]} is empty"
        )
    (forecaster,), tested = _tested(source, known, [cell], **given)
    seen = known.part(tested.train_size, steps)
    future = forecaster.observe(source.values[tested.train_size :], **seen).predict(horizon, future=to_come)
    report = ForecastReport(source, tested, future)
    said = Quantiles(source, levels, forecaster.predict(horizon, quantiles=levels, future=to_come)) if levels else None
    written = _write(report, said, forecaster, _described(source, known, called), out)
    if as_json:
        more = {} if said is None else {"quantiles": said.rows()}
        echo_json(report.as_json() | more | {"files": written})
    else:
        click.echo(report.table())
        click.echo(f"\nwritten: {', '.join(written)}")


def _backtest(
    source: CsvSeries,
    known: Known,
    called: str,
    out: Path,
    *,
    cells: Sequence[str],
    as_json: bool,
    **given: Any,
) -> None:
    writable_folder(out, *COMPARED)
    forecasters, tested = _tested(source, known, list(dict.fromkeys(cells)), **given)
    best = min(tested.scores(), key=lambda row: row["rmse"])["forecaster"]
    ordered = {best: tested.forecasts[best], **tested.forecasts}
    report = ForecastReport(source, replace(tested, forecasts=ordered), np.zeros((0, source.values.shape[1])))
    network = next((forecaster for forecaster in forecasters if forecaster.name == best), None)
    settings = _described(source, known, called) | _settings(forecasters[0])
    settings |= {"cell": ", ".join(forecaster.settings["cell"] for forecaster in forecasters)}
    page = forecast_page(
        f"Forecasters compared on {called}", report, None if network is None else network.training, settings
    )
    written = [str(out / name) for name in COMPARED]
    for path, content in zip(written, (report.csv_text().encode(), page), strict=True):
        write_atomically(path, content)
    if as_json:
        echo_json(report.as_json() | {"files": written})
        return
    click.echo(report.table())
    click.echo(f"\nwritten: {', '.join(written)}")


def _described(source: CsvSeries, known: Known, called: str) -> dict[str, str]:
    """What a report says of the file."""
    return {"file": called, "columns": ", ".join(source.columns)} | known.described()


def _settings(forecaster: Forecaster) -> dict[str, Any]:
    """The settings of a fitted forecaster, with the window that it chose where none was given."""
    return forecaster.settings | {"window": forecaster.window_}


def _tested(
    source: CsvSeries,
    known: Known,
    cells: Sequence[str],
    *,
    test: float,
    horizon: int,
    strategy: str,
    seasons: Sequence[float],
    refit: str = "never",
    **settings: Any,
) -> tuple[list[Forecaster], Backtest]:
    """Forecasters of these cells, fitted on the first part, and a backtest of them and the baselines on the rest."""
    periods = tuple(seasons) or source.periods()
    train_steps = len(source.values) - count_test_steps(len(source.values), test)
    forecasters = [
        Forecaster(cell, strategy=strategy, horizon=horizon, periods=periods, progress=True, **settings)
        for cell in cells
    ]
    click.echo(
        f"{len(source.values)} rows, {train_steps} for training and {len(source.values) - train_steps} for the test; "
        f"seasons of {', '.join(f'{p:g}' for p in periods) or 'no'} steps; computing on {default_backend()}",
        err=True,
    )
    others = _baselines(train_steps, source.values.shape[1], periods)
    again = int(refit) if refit.isdecimal() else refit
    covariates = {"past": None, "future": None} | known.part(0, len(source.values))
    asked: list[Any] = [Informed(each, **covariates) for each in forecasters]
    return forecasters, run_backtest([*asked, *others], source.values, test=test, horizon=horizon, refit=again)


def _baselines(train_steps: int, columns: int, periods: Sequence[float]) -> list[SeriesForecaster]:
    """The baselines that the training part is long enough for; a line says where there is no season for one."""
    found: list[SeriesForecaster] = [Persistence(), Drift()]
    if not periods:
        click.echo("no season is known, so there is no seasonal naive forecast: give --season", err=True)
    seasons = dict.fromkeys(round(period) for period in periods)
    found += [SeasonalNaive(season) for season in seasons if season <= train_steps]
    found += [AutoRegression(order) for order in AR_ORDERS if train_steps - order >= 2 * (order * columns + 1)]
    return found


def _pictures(columns: Sequence[str]) -> list[str]:
    """The files of pictures, one a column."""
    return ["forecast.png" if k == 0 else f"forecast-{k}.png" for k in range(len(columns))]


def _write(
    report: ForecastReport, said: Quantiles | None, forecaster: Forecaster, described: dict[str, str], out: Path
) -> list[str]:
    """Write the files; returns their names. Where a picture cannot be drawn, the others are written."""
    pictures = {}
    for k, (name, column) in enumerate(zip(_pictures(report.source.columns), report.source.columns, strict=True)):
        try:
            pictures[name] = draw_forecast(report, k)
        except Exception as error:  # matplotlib missing, or failing in one of its many ways
            click.echo(f"no picture of {column}: {error}", err=True)
    title, settings = f"Forecast of {described['columns']}", described | _settings(forecaster)
    page = forecast_page(title, report, forecaster.training, settings, said)
    others = {} if said is None else {"quantiles.csv": said.csv_text().encode()}
    write_atomically(out / "forecast.csv", report.csv_text().encode())
    forecaster.save(out / "model.safetensors")
    others |= pictures | {"report.html": page}
    for name, content in others.items():
        write_atomically(out / name, content)
    return [str(out / name) for name in ("forecast.csv", "model.safetensors", *others)]
