"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from xprnn.estimators.cells import cells


class _Input(click.Path):
    """A file to read; a dash is standard input, where the system has a file for it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert("/dev/stdin" if str(value) == "-" and STDIN.exists() else value, param, ctx)


PATH, STDIN = click.Path(path_type=Path), Path("/dev/stdin")
INPUT = _Input(path_type=Path)
Command = Callable[..., Any]
Option = Callable[[Command], Command]

BACKEND = click.option("--backend", type=click.Choice(["auto", "numpy", "cupy"]), help="Where to compute.")
SEED = click.option("--seed", default=0, show_default=True, help="Same seed, same numbers.")
EPOCHS = click.option("--epochs", default=40, show_default=True, help="At most this many; stops early.")
RESUME = click.option("--resume", type=PATH, help="Keep the training in this file, and go on from it if it is there.")
CELL = click.Choice(list(cells()))
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def one_cell(default: str) -> Option:
    """The recurrent cell of a network."""
    return click.option("--cell", type=CELL, default=default, show_default=True, help="Recurrent cell.")


def options(*given: Option) -> Option:
    """Options in the order in which help shall list them."""

    def decorate(command: Command) -> Command:
        for option in reversed(given):
            command = option(command)
        return command

    return decorate
