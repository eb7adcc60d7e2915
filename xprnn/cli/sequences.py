"""What the commands for sequences share: their file in long form, its columns, and what a model's file says of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from xprnn.cli.errors import one_line_warnings
from xprnn.cli.options import INPUT, PATH, Option, options
from xprnn.data.long_csv import LongCsv, read_long_csv
from xprnn.estimators.model_file import notes_of

TIME = click.option("--time", help="Column that says when a step was: numbers or ISO 8601 dates. Default: file order.")
COLUMNS = click.option(
    "--column", "columns", multiple=True, help="Column of numbers to learn from; may be repeated. Default: all others."
)


def file_and_folder(folder: str) -> Option:
    """The argument FILE and the folder that is written to."""
    return options(
        click.argument("file", type=INPUT),
        click.option("--out", type=PATH, default=Path(folder), show_default=True, help="Folder."),
    )


def notes(source: LongCsv, **columns: Any) -> dict[str, Any]:
    """What a model's file has to say so that other files are read as the one learned from."""
    return {"columns": list(source.features), **columns}


def read_told(file: Path, **columns: Any) -> LongCsv:
    """Its sequences, as :func:`read_long_csv` reads them, with a line for what it warns of."""
    with one_line_warnings():
        return read_long_csv(file, **columns)


def read_as_noted(model: Path, file: Path, names: Sequence[str]) -> tuple[LongCsv, dict[str, Any]]:
    """Another file, its columns as the model's notes name them, and those notes, which are looked at by these names."""
    found = notes_of(model)
    columns = found.get("columns")
    if not isinstance(columns, list) or not all(name in found for name in names):
        raise ValueError(f"{model}: it does not say which columns it reads; it was not written by this command")
    return read_told(file, id=found["id"], time=found["time"], columns=columns), found
