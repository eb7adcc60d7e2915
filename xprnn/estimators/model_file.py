"""The file of a fitted model, looked over before anything is built of it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from xprnn.backend import get_backend
from xprnn.estimators.cells import Shapes
from xprnn.storage import HostArrays, ModelFileError, read_tensors


def notes_of(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The notes in the file of a model, none where it has none. Raises ModelFileError for a file that is none."""
    notes = read_tensors(path)[1].get("notes", {})
    if not isinstance(notes, dict):
        raise ModelFileError(f"{os.fspath(path)}: its notes are a {type(notes).__name__}; expected a dict")
    return notes


@contextmanager
def model_file(
    path: str | os.PathLike[str],
    kind: str,
    *,
    settings: Collection[str],
    metadata: Mapping[str, type],
    arrays: Mapping[str, int] | None = None,
    version: int = 1,
    added: Mapping[str, Any] | None = None,
    backend: str | None = None,
) -> Iterator[tuple[HostArrays, dict[str, Any]]]:
    """The arrays and the metadata of a model's file of this version, for a block that builds the model of them.

    They have been looked over: "settings" with exactly these names, those ``added`` since by default, further metadata
    by their types, arrays of finite float64 by their numbers of axes. Raises ModelFileError, naming the file and what
    is missing or wrong, and turns what the block finds wrong into one; as :func:`read_tensors` for a file that cannot
    be read. A wrong backend is not the file's fault.
    """
    if backend is not None:
        get_backend(backend)
    held, found = read_tensors(path)
    name, other, held_version = os.fspath(path), found.get("kind"), found.get("version")
    if other != kind or held_version != version:
        raise ModelFileError(f"{name}: not a {kind} of version {version}, but {json.dumps(other)}, {held_version}")
    if added and isinstance(found.get("settings"), dict):
        found["settings"] = {**added, **found["settings"]}
    if wrong := [*_wrong_metadata(found, {"settings": dict, **metadata}, settings), *_wrong_arrays(held, arrays or {})]:
        raise ModelFileError(f"{name}: not a whole {kind}: {'; '.join(wrong)}")
    try:
        yield held, found
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
        reason = error.args[0] if isinstance(error, KeyError) else error  # str() of a KeyError is a repr
        raise ModelFileError(f"{name}: cannot load this {kind}: {reason}") from error


def _wrong_metadata(found: Mapping[str, Any], expected: Mapping[str, type], settings: Collection[str]) -> Iterator[str]:
    for name, kind in expected.items():
        if name not in found:
            yield f"{name} is missing"
        elif type(found[name]) is not kind:
            yield f"{name} is a {type(found[name]).__name__}; expected {kind.__name__}"
        elif name == "settings":
            yield from (f"setting {missing} is missing" for missing in settings if missing not in found[name])
            yield from (f"setting {other} is unknown" for other in found[name] if other not in settings)
            large = (n for n, value in found[name].items() if isinstance(value, int) and abs(value) > sys.maxsize)
            yield from (f"setting {other} is larger than any count" for other in large if other != "seed")


def _wrong_arrays(held: HostArrays, expected: Mapping[str, int]) -> Iterator[str]:
    for name, axes in expected.items():
        if name not in held:
            yield f"array {name} is missing"
        elif held[name].ndim != axes:
            yield f"array {name} has shape {held[name].shape}; expected {axes} axes"
        elif held[name].dtype != np.float64 or not np.isfinite(held[name]).all():
            yield f"array {name} is not of finite float64 numbers"


def check_weights(held: Mapping[str, np.ndarray[Any, Any]], expected: Shapes, dtype: str) -> None:
    """Hold a network's stored arrays against the shapes that its settings declare, before anything is built of those.

    A matrix may be one of codes of 8 bits beside its scales.
    ``expected`` may promise any number of arrays of any size: it is read up to the first that is not there. Raises
    ValueError for one that is missing, unexpected, of another shape or dtype, or not finite.
    """
    known = set()
    for name, shape in expected:
        known.add(name)
        if name not in held:
            raise ValueError(f"{name} is missing")
        if held[name].shape != shape:
            raise ValueError(f"{name} has shape {held[name].shape}; expected {shape}")
        if held[name].dtype == np.int8 and len(shape) == 2:  # codes, with a scale for each row
            place, _, last = name.rpartition("weight")
            name, shape = f"{place}scale{last}", shape[:1]
            known.add(name)
            if name not in held or held[name].shape != shape:
                raise ValueError(f"{name} is missing, or of another shape than {shape}")
        if held[name].dtype != np.dtype(dtype):
            raise ValueError(f"{name} has dtype {held[name].dtype}; expected {dtype}")
        if not np.isfinite(held[name]).all():
            raise ValueError(f"{name} has values that are not finite")
    if unexpected := [name for name in held if name not in known]:
        raise ValueError(f"{', '.join(unexpected)} not expected")
