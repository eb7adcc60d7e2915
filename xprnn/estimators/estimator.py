"""Reading the file of a fitted model: what it must hold, and errors that name it."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from xprnn.backend import get_backend
from xprnn.train.checkpoint import HostArrays, read_tensors


@contextmanager
def model_file(
    path: str | os.PathLike[str],
    kind: str,
    *,
    settings: Collection[str],
    metadata: Mapping[str, type],
    arrays: Mapping[str, int] | None = None,
    backend: str | None = None,
) -> Iterator[tuple[HostArrays, dict[str, Any]]]:
    """The arrays and the metadata of a model's file, version 1, for a block that builds the model of them.

    They have been looked over: "settings" with exactly these names, further metadata by their types, arrays by their
    numbers of axes. Raises ValueError, naming the file and what is missing or wrong, and turns what the block finds
    wrong into one; as :func:`read_tensors` for a file that cannot be read. A wrong backend is not the file's fault.
    """
    if backend is not None:
        get_backend(backend)
    held, found = read_tensors(path)
    name, other, version = os.fspath(path), found.get("kind"), found.get("version")
    if other != kind or version != 1:
        raise ValueError(f"{name}: not a {kind} of version 1, but {json.dumps(other)}, {version}")
    if wrong := [*_wrong_metadata(found, {"settings": dict, **metadata}, settings), *_wrong_arrays(held, arrays or {})]:
        raise ValueError(f"{name}: not a whole {kind}: {'; '.join(wrong)}")
    try:
        yield held, found
    except (ValueError, TypeError, LookupError) as error:
        reason = error.args[0] if isinstance(error, KeyError) else error  # str() of a KeyError is a repr
        raise ValueError(f"{name}: cannot load this {kind}: {reason}") from error


def _wrong_metadata(found: Mapping[str, Any], expected: Mapping[str, type], settings: Collection[str]) -> Iterator[str]:
    for name, kind in expected.items():
        if name not in found:
            yield f"{name} is missing"
        elif type(found[name]) is not kind:
            yield f"{name} is a {type(found[name]).__name__}; expected {kind.__name__}"
        elif name == "settings":
            yield from (f"setting {missing} is missing" for missing in settings if missing not in found[name])
            yield from (f"setting {other} is unknown" for other in found[name] if other not in settings)


def _wrong_arrays(held: HostArrays, expected: Mapping[str, int]) -> Iterator[str]:
    for name, axes in expected.items():
        if name not in held:
            yield f"array {name} is missing"
        elif held[name].ndim != axes:
            yield f"array {name} has shape {held[name].shape}; expected {axes} axes"
