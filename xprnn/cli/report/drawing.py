"""Pictures of reports: one figure each, wide enough to read on a phone."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]
BLACK, BLUE, ORANGE, VERMILION, GREY = "#000000", "#0072B2", "#E69F00", "#D55E00", "#8A929C"  # Okabe and Ito's
COLOURS = (BLUE, ORANGE, "#009E73", VERMILION, "#CC79A7", "#56B4E9", BLACK)
WIDTH = 5.4  # inches; a phone makes them two thirds as wide, and letters still 9 pixels high
TICKS = {12: 4, 16: 3}  # names on an axis, for names of so many characters
MANY = 3000  # points of a line, of which a picture this wide shows no more
CONTROL = bytes(sorted(set(range(32)) - set(b"\t\n\r")))  # what no XML may hold
# Characters stay characters: the reader's system has fonts for scripts that matplotlib's own has not.
SETTINGS: Any = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "xprnn",
    "font.size": 11.5,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
}


def drawn(draw: Callable[[Any], None], height: float) -> bytes:
    """The SVG of what is drawn on axes. Raises ImportError, saying which extra to install, without matplotlib."""
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"drawing needs matplotlib ({error}): pip install 'xprnn[plot]'") from None
    with rc_context(SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of signs that its font has not
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        axes.grid(alpha=0.25)
        draw(axes)
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue().translate(None, CONTROL)


def legend_below(axes: Any, columns: int = 2) -> None:
    """Under the picture and not beside it, where a phone has no room."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns)


def name_ticks(axes: Any, label: Callable[[int], str], first: int, last: int) -> None:
    """A few names along the axis of steps, the first and the last of them too."""
    longest = max(len(label(first)), len(label(last)))
    count = next((count for most, count in TICKS.items() if longest <= most), 2)
    places = np.unique(np.linspace(first, last, count).astype(int))
    axes.set_xticks(places, [label(int(place)) for place in places], fontsize=9)
    for k, text in enumerate(axes.get_xticklabels()):
        text.set_horizontalalignment("left" if k == 0 else "right" if k == len(places) - 1 else "center")


def by_tens(axes: Any, which: str) -> None:
    """A logarithmic axis, "x" or "y", with plain numbers: powers would be formulas, which no text here is."""
    axes.set(**{f"{which}scale": "log"})
    axis = getattr(axes, f"{which}axis")
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(lambda value, _: "")


def thinned(*lines: Host) -> list[Host]:
    """Lines of as many points, of each stretch of which those are kept where the last line is least and greatest."""
    count = len(lines[0])
    if count <= MANY:
        return list(lines)
    edges = np.linspace(0, count, MANY // 2 + 1).astype(int)
    kept = {0, count - 1}
    for begin, end in pairwise(edges):
        part = lines[-1][begin:end]
        kept.update((begin + int(np.argmin(part)), begin + int(np.argmax(part))))
    places = sorted(kept)
    return [line[places] for line in lines]


def autocorrelation(errors: Host, most: int = 30) -> Host:
    """r[k] = sum of e[t] e[t + k] / sum of e[t]^2 for errors less their mean, k from 1 on; of a constant zeros."""
    errors = errors - errors.mean()
    total, lags = float(np.sum(errors * errors)), min(most, len(errors) // 2)
    return np.array([np.sum(errors[k:] * errors[:-k]) / total if total > 0.0 else 0.0 for k in range(1, lags + 1)])


def bars_of_autocorrelation(axes: Any, errors: Host) -> None:
    """Bars, and the band that 19 of 20 stay within where errors have nothing to do with each other."""
    found, bound = autocorrelation(errors), 1.96 / np.sqrt(len(errors))
    lags = np.arange(1, len(found) + 1)
    axes.axhspan(-bound, bound, color=GREY, alpha=0.25, linewidth=0)
    axes.bar(lags, found, width=0.7, color=[VERMILION if abs(r) > bound else BLUE for r in found])
    axes.axhline(0.0, color=BLACK, linewidth=0.8)
    axes.set_xlabel("steps between two errors")
    axes.set_ylabel("correlation")
    most = float(np.max(np.abs(found), initial=0.0))
    axes.set_ylim(*(sign * max(1.2 * most, 2.0 * bound, 0.1) for sign in (-1, 1)))


def reliability(
    axes: Any, said: Sequence[float], came: Sequence[float], counts: Sequence[int] | None, what: str, happened: str
) -> None:
    """Shares that came against those that were said: right on the line, points larger by their counts."""
    axes.plot([0, 100], [0, 100], color=GREY, linestyle="--", label="as said")
    axes.plot(100 * np.asarray(said), 100 * np.asarray(came), color=BLUE, linewidth=1.0)
    sizes = 30 if counts is None else [20 + 130 * count / max(counts) for count in counts]
    axes.scatter(100 * np.asarray(said), 100 * np.asarray(came), s=sizes, color=BLUE, zorder=3, label=what)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 103)
    axes.set_xlabel("said, %")
    axes.set_ylabel(f"{happened}, %")
    legend_below(axes)


def learning(axes: Any, epochs: Sequence[dict[str, Any]]) -> None:
    """Losses by epoch, of the part learned from and, where there is one, of the part held out."""
    numbers = np.arange(1, len(epochs) + 1)
    for colour, key, name in ((BLUE, "loss", "learned from"), (VERMILION, "validation_loss", "held out meanwhile")):
        values = [epoch.get(key) for epoch in epochs]
        if all(value is not None for value in values):
            axes.plot(numbers, values, color=colour, marker="o", markersize=3, label=name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("passes over the data")
    axes.set_ylabel("error that training lowers")
    legend_below(axes)
