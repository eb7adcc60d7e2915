"""The pages of forecasts: what comes next, how far off they were, and how wide an interval has to be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from xprnn.cli.quantiles import Quantiles
from xprnn.cli.report.drawing import (
    BLACK,
    BLUE,
    COLOURS,
    ORANGE,
    autocorrelation,
    bars_of_autocorrelation,
    legend_below,
    name_ticks,
    reliability,
    thinned,
)
from xprnn.cli.report.intervals import SHOWN, Intervals, intervals_from_errors
from xprnn.cli.report.page import Page, learned
from xprnn.estimators.series.report import ForecastReport, readable
from xprnn.train import History

Host = np.ndarray[Any, Any]
CLOSE_UP = 60  # steps of the test part that are shown beside the future
LISTED = 30  # steps of the future that are written down


def forecast_page(
    title: str,
    report: ForecastReport,
    training: History | None,
    settings: dict[str, Any],
    quantiles: Quantiles | None = None,
) -> bytes:
    """The page of the first forecaster of a report, beside the others, as HTML."""
    model = next(iter(report.backtest.forecasts))
    page = Page(title, _verdict(report, model))
    for column, name in enumerate(report.source.columns):
        prefix = f"{name}: " if len(report.source.columns) > 1 else ""
        intervals = intervals_from_errors(report.backtest, model, report.future, column)
        if len(report.future):
            _future(page, prefix, report, column, intervals, quantiles)
        _errors(page, prefix, report, column, model)
        _test_part(page, prefix, report, column, model, intervals)
        _residuals(page, prefix, report, column, model)
        _coverage(page, prefix, report, column, intervals)
    learned(page, training, settings)
    return page.html()


def _verdict(report: ForecastReport, model: str) -> str:
    test, name = report.backtest, report.source.columns[0]
    mae = {row["forecaster"]: row["mae"] for row in test.scores(0)}
    ahead = "one step ahead" if test.horizon == 1 else f"1 to {test.horizon} steps ahead"
    said = (
        f"On {len(test.series) - test.train_size} steps that were kept out of training, the forecasts of {model} for "
        f"{name}, {ahead}, were off by {readable(mae[model])} on average."
    )
    others = {other: value for other, value in mae.items() if other != model}
    if not others:
        return said
    best = min(others, key=others.__getitem__)
    if mae[model] < others[best]:
        return f"{said} The best of the others, {best}, was off by {readable(others[best])}."
    return f"{said} {best} did better with {readable(others[best])}: for this series take that one."


def _label(report: ForecastReport) -> Callable[[int], str]:
    return report.source.label


def _axis(report: ForecastReport) -> str:
    return "step" if report.source.calendar is None else "date"


def _future(
    page: Page,
    prefix: str,
    report: ForecastReport,
    column: int,
    intervals: Intervals | None,
    quantiles: Quantiles | None,
) -> None:
    test, future = report.backtest, report.future[:, column]
    page.section(
        f"{prefix}What comes next",
        "The black line is what is known, up to the end of the file. The blue one goes on from there."
        + ("" if intervals is None else f" Nine of ten values are expected in the coloured band. {intervals.how}"),
    )
    begin = max(0, len(test.series) - CLOSE_UP)
    known = np.arange(begin, len(test.series))
    beyond = len(test.series) + np.arange(len(future))
    level = None if intervals is None else intervals.at(SHOWN)

    def draw(axes: Any) -> None:
        axes.plot(known, test.series[begin:, column], color=BLACK, linewidth=1.2, label="known")
        if intervals is not None:
            low, high = intervals.future_lower[level], intervals.future_upper[level]
            _band(axes, beyond, low, high)
        marker = "o" if len(beyond) < 40 else None
        axes.plot(beyond, future, color=BLUE, marker=marker, markersize=4, label="forecast")
        axes.set_xlabel(_axis(report))
        axes.set_ylabel(report.source.columns[column])
        name_ticks(axes, _label(report), int(known[0]), int(beyond[-1]))
        legend_below(axes, 3)

    page.picture(draw, f"The last {len(known)} steps of the file and the {len(future)} after them.", 3.8)
    shown = range(min(len(future), LISTED))
    header, rows = [_axis(report), "forecast"], [[_label(report)(int(beyond[k])), readable(future[k])] for k in shown]
    if intervals is not None:
        header += ["from", "to"]
        for k, row in zip(shown, rows, strict=True):
            row += [readable(intervals.future_lower[level][k]), readable(intervals.future_upper[level][k])]
    if quantiles is not None:
        page.words(
            "Of many futures that might be, so large a share stays below the values of the columns with %. The others "
            "are the forecast and where nine of ten values are expected."
        )
        header += [f"{100 * level:g} %" for level in quantiles.levels]
        for k, row in zip(shown, rows, strict=True):
            row += [readable(value) for value in quantiles.values[k, column]]
    page.table(header, rows)
    if len(future) > LISTED:
        page.words(f"The other {len(future) - LISTED} steps stand in forecast.csv.")


def _band(axes: Any, x: Host, low: Host, high: Host) -> None:
    if len(x) == 1:
        axes.errorbar(x, (low + high) / 2, yerr=(high - low) / 2, color=BLUE, alpha=0.45, capsize=6, linewidth=2)
    else:
        axes.fill_between(x, low, high, color=BLUE, alpha=0.2, linewidth=0, label="9 of 10 in here")


def _errors(page: Page, prefix: str, report: ForecastReport, column: int, model: str) -> None:
    test = report.backtest
    rows = test.scores(column)
    page.section(
        f"{prefix}How far off",
        "All were asked at the same places, and none had seen what came. MAE is how far off on average, in the units "
        "of the series. RMSE is like it, but counts large errors more; the best is marked. MASE below 1 is better than "
        "it was, in training, to say that nothing changes from a step to the next.",
        "The others are simple rules. Persistence: as the last value. Drift: on in a straight line. Seasonal naive "
        "(P): as P steps before. AR(p): a sum of the last p values, each with a fixed weight.",
    )
    best = min(range(len(rows)), key=lambda k: rows[k]["rmse"])
    shown = [[row["forecaster"], readable(row["mae"]), readable(row["rmse"]), _three(row["mase"])] for row in rows]
    page.table(["who", "MAE", "RMSE", "MASE"], shown, best=best)
    if test.horizon == 1:
        return
    actual, steps = test.actual[..., column], np.arange(1, test.horizon + 1)
    ahead = {name: np.abs(said[..., column] - actual).mean(axis=0) for name, said in test.forecasts.items()}

    def draw(axes: Any) -> None:
        for k, (name, values) in enumerate(ahead.items()):
            style = "-" if name == model else "--"
            axes.plot(steps, values, style, color=COLOURS[k % len(COLOURS)], marker="o", markersize=3, label=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("steps ahead")
        axes.set_ylabel("off by, on average")
        legend_below(axes)

    page.picture(draw, "How far off on average, the further ahead.", 3.4 + 0.25 * ((len(ahead) + 1) // 2))


def _three(number: float) -> str:
    """With three digits behind the point; a dash where there is no number."""
    return "-" if math.isnan(number) else f"{number:.3f}"


def _test_part(
    page: Page, prefix: str, report: ForecastReport, column: int, model: str, intervals: Intervals | None
) -> None:
    test = report.backtest
    at = test.origins + test.horizon - 1
    ahead = "one step" if test.horizon == 1 else f"{test.horizon} steps"
    page.section(
        f"{prefix}What it would have said",
        f"The part of the file that was kept out of training: in black what came, in colour what {model} said {ahead} "
        "before.",
    )
    said, actual = test.forecasts[model][:, -1, column], test.series[at, column]

    def draw(axes: Any, last: int | None = None) -> None:
        part = slice(None) if last is None else slice(-last, None)
        if intervals is not None:
            level = intervals.at(SHOWN)
            low, high = intervals.lower[level][part, -1], intervals.upper[level][part, -1]
            known = ~np.isnan(low)
            axes.fill_between(
                at[part][known], low[known], high[known], color=ORANGE, alpha=0.3, linewidth=0, label="9 of 10 in here"
            )
        wide = 1.4 if last else 0.8
        axes.plot(*thinned(at[part], actual[part]), color=BLACK, linewidth=wide, label="came")
        axes.plot(*thinned(at[part], said[part]), color=BLUE, linewidth=wide, label=f"said {ahead} before")
        axes.set_xlabel(_axis(report))
        axes.set_ylabel(report.source.columns[column])
        name_ticks(axes, _label(report), int(at[part][0]), int(at[-1]))
        legend_below(axes, 3)

    page.picture(draw, f"All {len(at)} forecasts of the test part.", 3.8)
    if len(at) > 2 * CLOSE_UP:
        page.picture(lambda axes: draw(axes, CLOSE_UP), f"The last {CLOSE_UP} of them.", 3.8)


def _residuals(page: Page, prefix: str, report: ForecastReport, column: int, model: str) -> None:
    test = report.backtest
    errors = test.actual[:, 0, column] - test.forecasts[model][:, 0, column]  # one step ahead
    bias = float(errors.mean())
    leaning = "too low" if bias > 0 else "too high"
    sure = abs(bias) > 1.96 * float(errors.std()) / np.sqrt(len(errors))
    page.section(
        f"{prefix}What it gets wrong",
        f"The errors one step ahead: what came less what was said. On average the forecasts were {leaning} by "
        f"{readable(abs(bias))}, which is {'more than chance explains' if sure else 'no more than chance explains'}. "
        "Errors without a pattern are what is wanted: a hill about zero.",
    )

    def histogram(axes: Any) -> None:
        axes.hist(errors, bins=min(40, max(8, len(errors) // 10)), color=BLUE)
        axes.axvline(0.0, color=BLACK, linewidth=1.0)
        axes.set_xlabel("came less said")
        axes.set_ylabel("how often")

    page.picture(histogram, "How often errors of each size came.", 3.0)
    if len(errors) < 8:
        return
    found = autocorrelation(errors)
    outside = int((np.abs(found) > 1.96 / np.sqrt(len(errors))).sum())
    usual = "about as many as chance gives" if outside <= max(1, round(0.1 * len(found))) else "more than chance gives"
    page.words(
        "Does an error say something about a later one? Each bar compares errors that are so many steps apart. Bars "
        f"outside of the grey band would be rare if errors had nothing to do with each other: here {outside} of "
        f"{len(found)} are outside, {usual}"
        + (". Where there are many, something is left to be learned, such as a season." if outside else ".")
    )
    page.picture(lambda axes: bars_of_autocorrelation(axes, errors), "How errors go together with later ones.", 3.0)


def _coverage(page: Page, prefix: str, report: ForecastReport, column: int, intervals: Intervals | None) -> None:
    if intervals is None:
        page.section(f"{prefix}How sure it is", "The test part is too short to say how wide intervals have to be.")
        return
    came = intervals.coverage(report.backtest.actual[..., column])
    level = intervals.at(SHOWN)
    page.section(
        f"{prefix}Do its intervals hold?",
        f"{intervals.how} Of those said to hold {intervals.levels[level]:.0%} of the values, {came[level]:.1%} did. On "
        "the dashed line intervals hold what they say; above it they are wider than needed, below it too narrow.",
    )
    page.picture(
        lambda axes: reliability(axes, list(intervals.levels), came.tolist(), None, "intervals", "held"),
        "The share of values inside the intervals, by the share that was said.",
        3.6,
    )
