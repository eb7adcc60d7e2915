"""What all examples share: their options, their colours, how they print a table and save a picture."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from matplotlib.figure import Figure

import xprnn

# Okabe and Ito's, told apart by colour-blind readers: blue, orange, green, vermilion, purple, sky blue, yellow, black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
OUTPUT = Path(__file__).parent / "output"


def example(main: Callable[..., None]) -> click.Command:
    """Make ``main(quick, output, ...)`` a command with the options that every example has.

    ``quick`` is True for a run of seconds, with the same table from fewer steps; ``output`` is the folder for pictures.
    ``--backend`` acts through xprnn.use_backend, so create arrays with ``xprnn.default_backend()`` and models after it.
    Options of your own go below this decorator.
    """

    @functools.wraps(main)
    def command(backend: str, **options: Any) -> None:
        try:
            xprnn.use_backend(backend)
        except RuntimeError as error:
            raise click.ClickException(str(error)) from None
        main(**options)

    for option in (
        click.option("--output", type=click.Path(path_type=Path), default=OUTPUT, help="Folder for pictures."),
        click.option("--backend", type=click.Choice(["numpy", "cupy"]), default="numpy", show_default=True),
        click.option("--quick", is_flag=True, help="A few seconds: fewer steps, the same table."),
    ):
        command = option(command)
    return click.command()(command)


def plot(rows: int = 1, columns: int = 1, size: tuple[float, float] = (9, 5), **options: Any) -> tuple[Figure, Any]:
    """A figure and its axes, as pyplot.subplots gives them, but without pyplot, which keeps figures alive."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def save(figure: Figure, output: Path, name: str) -> Path:
    """Write ``name``.png into the folder, made where it is missing, and say where."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{name}.png"
    figure.savefig(path, dpi=120)
    print(f"picture: {path}")
    return path


def table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> None:
    """Print rows in aligned columns: numbers to four digits, on the right; text on the left."""
    cells = [list(header), *([_shown(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    text = [any(isinstance(row[k], str) for row in rows) for k in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(row, widths, text, strict=True)
        )
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    print("\n".join(line.rstrip() for line in lines))


def _shown(cell: Any) -> str:
    return f"{cell:.4g}" if isinstance(cell, numbers.Real) and not isinstance(cell, numbers.Integral) else str(cell)
