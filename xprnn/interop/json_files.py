"""Models in JSON: read with every count and number looked at, so that a file costs memory by its size alone."""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from xprnn.storage import ModelFileError, json_text, without_repeats
from xprnn.whole_files import Path_, checked_path, write_atomically

Host = np.ndarray[Any, Any]


@contextmanager
def opened(owner: str, path: Path_) -> Iterator[bytes]:
    """The content of a file, for a block that makes a model of it.

    Raises OSError where it cannot be read, and turns what the block finds wrong into a ModelFileError, a ValueError;
    both name the file.
    """
    try:
        with open(checked_path(path), "rb") as file:
            content = file.read()
    except OSError as error:
        raise OSError(error.errno, f"{owner}: cannot read {path}: {error.strerror or error}") from error
    try:
        yield content
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{owner}: {os.fspath(path)}: {error}") from error


def parsed(content: bytes | str) -> dict[str, Any]:
    """The JSON object that a file holds. Raises ValueError for anything else, and for NaN, infinity and repeated names.

    Python's reader takes some ten times the text's size in memory.
    """
    try:
        found = json.loads(content, object_pairs_hook=without_repeats, parse_constant=_refused)
    except RecursionError:
        raise ValueError("no JSON of a model: lists lie too deep in each other") from None
    except ValueError as error:
        raise ValueError(f"no JSON of a model: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"a JSON {type(found).__name__}; expected an object")
    return found


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def write_json(owner: str, path: Path_, content: Mapping[str, Any]) -> None:
    """Write a file, whole or not at all. Raises ValueError or TypeError for what JSON cannot say, NaN too."""
    try:
        text = json_text(content, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{owner}: this cannot be written as JSON: {error}") from error
    write_atomically(path, text.encode())


def entry(found: Any, name: str, kind: type, where: str = "") -> Any:
    """A named part of a JSON object. Raises ValueError where it is missing or of another type."""
    if not isinstance(found, dict):
        raise ValueError(f"{where.rstrip(': ') or 'it'} is a {type(found).__name__}; expected an object")
    if name not in found:
        raise ValueError(f"{where}{name} is missing")
    if type(found[name]) is not kind:
        raise ValueError(f"{where}{name} is {reprlib.repr(found[name])}; expected a {kind.__name__}")
    return found[name]


def array(name: str, nested: Any, shape: tuple[int, ...], dtype: str) -> Host:
    """Nested lists of finite numbers as an array. Raises ValueError for anything else.

    Lists are held against the shape before anything is made, which a file may declare as large as it likes.
    """
    rows = [nested]
    for axis, length in enumerate(shape):
        for row in rows:
            if not isinstance(row, list) or len(row) != length:
                came = f"{len(row)} entries" if isinstance(row, list) else f"a {type(row).__name__}"
                raise ValueError(f"{name} has {came} along axis {axis}; expected shape {shape}")
        rows = [each for row in rows for each in row]
    if not set(map(type, rows)) <= {int, float}:
        raise ValueError(f"{name} has entries that are no numbers; expected shape {shape}")
    try:
        with np.errstate(over="ignore"):
            found = np.array(rows, np.float64).astype(dtype).reshape(shape)
    except OverflowError:
        raise ValueError(f"{name} holds a number too large for {dtype}") from None
    if not np.isfinite(found).all():
        raise ValueError(f"{name} holds a number too large for {dtype}")
    return found
