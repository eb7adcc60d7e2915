"""The picture of what predictions for texts rest on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xprnn.estimators.text.explanation import Explanation
from xprnn.estimators.text.report import NO_EVIDENCE

AGAINST, NEITHER, FOR, UNKNOWN = "#D55E00", "#FFFFFF", "#0072B2", "#DDDDDD"  # Okabe and Ito's vermilion and blue
LINE = 84  # characters of a line of text
LONGEST, WIDEST = 24, 40  # characters of a label, and of a word, that are shown


def draw_explanations(explanations: Sequence[Explanation], title: str = "Which words speak for the label") -> Any:
    """A matplotlib Figure with one block for each text: its words, coloured by their effects, and its label.

    Blue words speak for the label that was predicted, vermilion ones against it; grey ones are unknown. A bar under a
    word is its attention. Raises ImportError, saying which extra to install, where matplotlib is missing; ValueError
    for no explanations.
    """
    if not explanations:
        raise ValueError("draw_explanations: there are no explanations to draw")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import LinearSegmentedColormap, Normalize
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"drawing needs matplotlib ({error}): pip install 'xprnn[plot]'") from None
    words = [[_shown(token) for token in explanation.tokens] for explanation in explanations]
    blocks = [_lines(tokens) for tokens in words]
    rows = sum(map(len, blocks))
    strongest = max((float(abs(e.effects).max(initial=0.0)) for e in explanations), default=0.0) or 1.0
    colours = ScalarMappable(
        Normalize(-strongest, strongest), LinearSegmentedColormap.from_list("effects", [AGAINST, NEITHER, FOR])
    )
    figure = Figure(figsize=(12, 1.4 + 0.42 * rows + 0.2 * len(blocks)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = [NO_EVIDENCE if e.label is None else f"{str(e.label)[:LONGEST]}, {e.probability:.0%}" for e in explanations]
    margin, y = 3.0 + max(map(len, names)), 0.0
    for explanation, tokens, name, lines in zip(explanations, words, names, blocks, strict=True):
        _write(axes, 0, y, name, ha="left", weight="bold")
        top = 0.0 if explanation.attention is None else float(explanation.attention.max())
        for line in lines:
            x = margin
            for k in line:
                width, effect = len(tokens[k]) + 1.0, float(explanation.effects[k])
                face = colours.cmap(0.5 + 0.5 * effect / strongest) if explanation.known[k] else UNKNOWN
                axes.add_patch(_box(x + 0.1, y - 0.36, width - 0.2, 0.66, face))
                dark = abs(effect) > 0.6 * strongest and explanation.known[k]
                _write(axes, x + width / 2, y, tokens[k], color="white" if dark else "black")
                if explanation.attention is not None:
                    share = float(explanation.attention[k]) / top
                    axes.add_patch(_box(x + 0.1, y + 0.32, (width - 0.2) * share, 0.12, "black"))
                x += width
            y += 1.0
        y += 0.45
    axes.set_xlim(0, margin + LINE + 1)
    axes.set_ylim(y - 0.3, -0.7)
    axes.axis("off")
    attended = any(explanation.attention is not None for explanation in explanations)
    bars = "; black bars: attention, beside the most in the text" if attended else ""
    axes.set_title(f"{title}\n(grey: not in the vocabulary{bars})", fontsize=11)
    bar = figure.colorbar(colours, ax=axes, orientation="horizontal", shrink=0.6, aspect=50, pad=0.02)
    bar.set_label("fall of the label's log-odds when the word is left out (natural log; blue: speaks for the label)")
    return figure


def _shown(token: str) -> str:
    """A token as it can be drawn: not over the end of a line, and "?" for half a sign."""
    token = token.encode(errors="replace").decode()
    return token if len(token) <= WIDEST else token[: WIDEST - 1] + "\u2026"


def _lines(tokens: Sequence[str]) -> list[list[int]]:
    """The positions of the tokens of each line; at least one line."""
    lines: list[list[int]] = [[]]
    room = float(LINE)
    for k, token in enumerate(tokens):
        if len(token) + 1 > room and lines[-1]:
            lines.append([])
            room = LINE
        lines[-1].append(k)
        room -= len(token) + 1
    return lines


def _box(x: float, y: float, width: float, height: float, colour: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, facecolor=colour, edgecolor="none")


def _write(axes: Any, x: float, y: float, text: str, **options: Any) -> None:
    """Text in letters of one width, in which a dollar sign is a dollar sign."""
    options = {"ha": "center", "va": "center", "family": "monospace", "fontsize": 9} | options
    axes.text(x, y, text, parse_math=False, **options)
