"""What a command writes, looked at before the work and not after it."""

from __future__ import annotations

from pathlib import Path

import click


def keep_inputs(path: Path, *inputs: Path | None) -> None:
    """Refuse to write to a path that is one of the inputs, whatever it is called."""
    for given in inputs:
        if given is not None and path.exists() and given.exists() and path.samefile(given):
            raise click.UsageError(f"{path} is read, and would be overwritten: give another --out")
