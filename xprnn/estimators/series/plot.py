"""The picture of a forecasting run."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from xprnn.estimators.series.report import ForecastReport

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
    test, name = report.backtest, report.source.columns[column]
    scores = {row["forecaster"]: row["rmse"] for row in test.scores(column)}
    model, *baselines = scores
    rival = min(baselines, key=scores.__getitem__) if baselines else None
    # At each step, what was said the longest time ahead: the hardest of the forecasts that were made.
    at = test.origins + test.horizon - 1
    ahead = "one step" if test.horizon == 1 else f"{test.horizon} steps"

    figure = figure_type(figsize=(11, 7.5), layout="constrained")
    canvas_type(figure)
    whole, close = figure.subplots(2, 1)
    whole.plot(at, test.series[at, column], color=ACTUAL, linewidth=0.8, label="actual")
    whole.plot(at, test.forecasts[model][:, -1, column], color=MODEL, linewidth=1.2, label=f"{model}, {ahead} ahead")
    whole.set_title(f"{name}: {len(at)} test steps never seen in training, RMSE of {model} {scores[model]:.3g}")

    last = slice(-CLOSE_UP, None)
    close.plot(
        at[last], test.series[at[last], column], color=ACTUAL, marker="o", markersize=3, linewidth=1, label="actual"
    )
    close.plot(
        at[last],
        test.forecasts[model][last, -1, column],
        color=MODEL,
        linewidth=1.8,
        label=f"{model} (RMSE {scores[model]:.3g})",
    )
    if rival is not None:
        label = f"{rival}, best baseline (RMSE {scores[rival]:.3g})"
        close.plot(
            at[last], test.forecasts[rival][last, -1, column], color=OTHER, linewidth=1.2, linestyle="--", label=label
        )
    beyond = len(test.series) + np.arange(len(report.future))
    close.plot(
        beyond,
        report.future[:, column],
        color=MODEL,
        marker="D",
        linestyle=":",
        label=f"{model}, after the end of the data",
    )
    close.set_title(f"The last {min(CLOSE_UP, len(at))} test steps, and what comes next")
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


def _matplotlib() -> tuple[Any, Any, Any]:
    """Figure, an off-screen canvas, and options for a while; pyplot would keep figures alive and want a display."""
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"drawing needs matplotlib ({error}): pip install 'xprnn[plot]'") from None
    return Figure, FigureCanvasAgg, rc_context
