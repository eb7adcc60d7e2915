"""The picture of a forecasting run."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from xprnn.estimators.series.report import ForecastReport, readable

ACTUAL, MODEL, OTHER = "#000000", "#0072B2", "#E69F00"  # Okabe and Ito's colours, told apart by colour-blind readers
CLOSE_UP = 60  # steps of the test part that the lower picture shows


def draw_forecast(report: ForecastReport, column: int = 0) -> bytes:
    """A PNG: above, the whole test part; below, its last steps beside the best baseline, and the future.

    Raises ImportError, saying which extra to install, where matplotlib is missing.
    """
    figure_type, canvas_type, settings = _matplotlib()
    with settings({"text.parse_math": False}):  # a dollar sign in a column's name is a dollar sign
        return _draw(report, column, figure_type, canvas_type)


def _draw(report: ForecastReport, column: int, figure_type: Any, canvas_type: Any) -> bytes:
    name = report.source.columns[column]
    figure = figure_type(figsize=(11, 7.5), layout="constrained")
    canvas_type(figure)
    whole, close = figure.subplots(2, 1)
    _draw_test(whole, report, column)
    _draw_end(close, report, column)
    for axes in (whole, close):
        axes.set_ylabel(name)
        axes.set_xlabel("step" if report.source.calendar is None else "date")
        axes.grid(alpha=0.25)
        # Beside the lines and not on them: forecasts fill the picture from edge to edge.
        axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.0), frameon=False)
        if report.source.calendar is not None:
            ticks = [int(t) for t in axes.get_xticks() if axes.get_xlim()[0] <= t <= axes.get_xlim()[1]]
            axes.set_xticks(ticks, [report.source.label(t) for t in ticks])
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue()


def _draw_test(axes: Any, report: ForecastReport, column: int) -> None:
    """The whole test part, and what the model said of it."""
    test, at, name = report.backtest, _forecast_steps(report), report.source.columns[column]
    model, error = next(iter(_errors(report, column).items()))
    ahead = "one step" if test.horizon == 1 else f"{test.horizon} steps"
    axes.plot(at, test.series[at, column], color=ACTUAL, linewidth=0.8, label="actual")
    axes.plot(at, test.forecasts[model][:, -1, column], color=MODEL, linewidth=1.2, label=f"{model}, {ahead} ahead")
    axes.set_title(f"{name}: {len(at)} test steps never seen in training, RMSE of {model} {readable(error)}")


def _draw_end(axes: Any, report: ForecastReport, column: int) -> None:
    """The last steps of the test part, by the model and the best baseline, and what comes after them."""
    test, errors, at, last = report.backtest, _errors(report, column), _forecast_steps(report), slice(-CLOSE_UP, None)
    model, *baselines = errors

    def said(name: str) -> Any:
        return test.forecasts[name][last, -1, column]

    axes.plot(
        at[last], test.series[at[last], column], label="actual", color=ACTUAL, marker="o", markersize=3, linewidth=1
    )
    axes.plot(at[last], said(model), label=f"{model} (RMSE {readable(errors[model])})", color=MODEL, linewidth=1.8)
    if baselines:
        rival = min(baselines, key=errors.__getitem__)
        label = f"{rival}, best baseline (RMSE {readable(errors[rival])})"
        axes.plot(at[last], said(rival), label=label, color=OTHER, linewidth=1.2, linestyle="--")
    beyond = len(test.series) + np.arange(len(report.future))
    label = f"{model}, after the end of the data"
    axes.plot(beyond, report.future[:, column], label=label, color=MODEL, marker="D", linestyle=":")
    axes.set_title(f"The last {min(CLOSE_UP, len(at))} test steps, and what comes next")


def _errors(report: ForecastReport, column: int) -> dict[str, float]:
    """The RMSE of each forecaster, the model's first."""
    return {row["forecaster"]: row["rmse"] for row in report.backtest.scores(column)}


def _forecast_steps(report: ForecastReport) -> Any:
    """The steps that are shown, each with the forecast that was made the longest time before, and is the hardest."""
    return report.backtest.origins + report.backtest.horizon - 1


def _matplotlib() -> tuple[Any, Any, Any]:
    """Figure, an off-screen canvas, and options for a while; pyplot would keep figures alive and want a display."""
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"drawing needs matplotlib ({error}): pip install 'xprnn[plot]'") from None
    return Figure, FigureCanvasAgg, rc_context
