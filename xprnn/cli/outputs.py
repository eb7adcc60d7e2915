"""What a command prints, and the files that it writes, checked before the work and not after it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click


def in_a_line(text: Any) -> str:
    """A text as one cell of a line whose cells are parted by tabs."""
    return " ".join(str(text).split())


def echo_json(found: Any) -> None:
    """Print JSON. Raises ValueError for NaN and infinity, which JSON does not have."""
    click.echo(json.dumps(found, indent=2, allow_nan=False))


def keep_inputs(path: Path, *inputs: Path | None) -> None:
    """Refuse to write to a path that is one of the inputs, whatever it is called."""
    for given in inputs:
        if given is not None and path.exists() and given.exists() and path.samefile(given):
            raise click.UsageError(f"{path} is read, and would be overwritten: give another --out")


def writable_folder(folder: Path, *names: str) -> None:
    """Make a folder where it is missing. Raises OSError where nothing, or none of these files, can be written to it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"cannot write to the folder {folder}")
    for name in names:
        writable_file(folder / name)


def writable_file(path: Path) -> None:
    """Raise OSError where a file cannot be written."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected the name of a file to write")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"cannot write to the folder {path.parent}")
