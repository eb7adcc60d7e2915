"""Files of arrays with plain values beside them, and never pickle.

They are safetensors (https://github.com/huggingface/safetensors). Its metadata has one entry, "xprnn": JSON
with the caller's metadata and a SHA-256 over it and all arrays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from xprnn.backend import Array, to_numpy
from xprnn.whole_files import Path_, checked_path, write_atomically

HostArrays = dict[str, np.ndarray[Any, Any]]
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES = ("bool", *INTEGERS, "float16", "float32", "float64")
KEY = "xprnn"
STORED = {"BOOL": "bool", "F16": "<f2", "F32": "<f4", "F64": "<f8"}
STORED |= {f"{kind.upper()}{8 * size}": f"<{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)}


class ModelFileError(ValueError):
    """A file that is damaged, lacks something, or is something else; the message names it."""


def write_tensors(path: Path_, arrays: Mapping[str, Array], metadata: Mapping[str, Any]) -> None:
    """Write arrays and JSON-able metadata to a safetensors file.

    Whatever fails, an old file stays as it was (:func:`xprnn.whole_files.write_atomically`).

    Raises
    ------
    TypeError
        An array's name or dtype has no place in the format, or the metadata is not JSON-able.
    OSError
        The folder is missing or cannot be written to, or the disk is full.
    """
    from safetensors.numpy import save

    if not isinstance(arrays, Mapping):
        raise TypeError(f"write_tensors: arrays is a {type(arrays).__name__}; expected a dict of arrays by name")
    if not isinstance(metadata, dict):
        raise TypeError(f"write_tensors: metadata is a {type(metadata).__name__}; expected a dict")
    for name in arrays:  # __metadata__ is the format's own entry: no reader would take the file
        if not isinstance(name, str) or name == "__metadata__" or any("\ud800" <= mark <= "\udfff" for mark in name):
            raise TypeError(f"write_tensors: an array is named {name!r}; expected a str of Unicode but '__metadata__'")
    host = {name: _host(name, array) for name, array in arrays.items()}
    try:
        text = json_text(metadata)
    except (TypeError, ValueError) as error:
        raise TypeError(f"write_tensors: the metadata cannot be written as JSON: {error}") from error
    content = save(host, {KEY: json.dumps({"sha256": _digest(text, host), "metadata": metadata})})
    write_atomically(path, content)


def json_text(content: Any, *, allow_nan: bool = True) -> str:
    """JSON that reads back to the same names.

    Raises TypeError or ValueError for what it cannot say, and for names that are no str: they would become one, maybe
    one that is there already.
    """
    try:
        text = json.dumps(content, allow_nan=allow_nan)
    except RecursionError:
        raise ValueError("it lies too deep in itself") from None
    waiting = [content]
    while waiting:
        held = waiting.pop()
        if isinstance(held, dict) and (wrong := [name for name in held if not isinstance(name, str)]):
            raise TypeError(f"{wrong[0]!r} is a name in it; expected a str")
        within = held.values() if isinstance(held, dict) else held
        waiting += [each for each in within if isinstance(each, (dict, list, tuple))]
    return text


def read_tensors(path: Path_) -> tuple[HostArrays, dict[str, Any]]:
    """The arrays, on the host, and the metadata of a file that :func:`write_tensors` wrote.

    Raises FileNotFoundError or another OSError where it cannot be read; ModelFileError, a ValueError, where it is
    truncated, corrupt (its checksum is verified) or written by something else, for which there is
    :func:`load_weights`.
    """
    from safetensors import safe_open

    with _opened("read_tensors", path), safe_open(path, framework="np") as file:
        header = file.metadata() or {}
        arrays = {name: file.get_tensor(name) for name in file.keys()} if KEY in header else {}  # noqa: SIM118 - no dict
    if KEY not in header:
        raise ModelFileError(
            f"read_tensors: {path} was not written by xprnn: its metadata has no entry {KEY!r}; "
            "load_weights reads the arrays of any safetensors file"
        )
    try:
        found = json.loads(header[KEY], object_pairs_hook=without_repeats)
        metadata, digest = dict(found["metadata"]), found["sha256"]
        text = json.dumps(metadata)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelFileError(f"read_tensors: {path} is corrupt: its metadata cannot be read") from error
    if _digest(text, arrays) != digest:
        raise ModelFileError(
            f"read_tensors: {path} is corrupt: its content does not have the checksum it was written with"
        )
    return arrays, metadata


def load_weights(path: Path_) -> HostArrays:
    """The arrays, on the host, of a safetensors file, whoever wrote it: ``model.load_state_dict(load_weights(path))``.

    bfloat16 and float16 become float32, which holds each of their numbers; all others keep their dtype. What the file
    says besides is not looked at. Checkpoints that may hold code (.pt, .bin, .pkl) are never read.

    Raises FileNotFoundError or another OSError where it cannot be read; ModelFileError, a ValueError, where it is
    truncated, corrupt, no safetensors file, or holds numbers of another kind.
    """
    from safetensors import deserialize

    with _opened("load_weights", path), open(path, "rb") as file:
        entries = deserialize(file.read())  # type: ignore[no-untyped-call]
        return {name: _decoded(entry["dtype"], entry["data"]).reshape(entry["shape"]) for name, entry in entries}


def _decoded(dtype: str, data: bytes) -> np.ndarray[Any, Any]:
    """Numbers of the file's dtype, flat, in memory of their own."""
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype not in STORED:
        raise ValueError(f"its arrays have dtype {dtype}; expected one of BF16, {', '.join(STORED)}")
    array = np.frombuffer(data, STORED[dtype])
    return array.astype(np.float32) if dtype == "F16" else array.astype(array.dtype.newbyteorder("="))


@contextmanager
def _opened(owner: str, path: Path_) -> Iterator[None]:
    """A block that reads a safetensors file: an OSError that names it, and what else goes wrong a ModelFileError."""
    checked_path(path)
    try:
        with open(path, "rb"):
            pass
        yield
    except OSError as error:
        raise OSError(error.errno, f"{owner}: cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # of the reader, or of NumPy for a shape or a dtype that it does not have
        raise ModelFileError(f"{owner}: {path} is truncated, corrupt or no safetensors file: {error}") from error


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError for a name that comes twice: two readers would see two things."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice in one object")
    return found


def _host(name: str, array: Array) -> np.ndarray[Any, Any]:
    if not hasattr(array, "shape"):
        raise TypeError(f"write_tensors: {name} is a {type(array).__name__}; expected an array")
    host = np.asarray(to_numpy(array), order="C")
    if host.dtype.name not in DTYPES:
        raise TypeError(f"write_tensors: {name} has dtype {host.dtype.name}; expected one of {', '.join(DTYPES)}")
    return host.astype(host.dtype.newbyteorder("<"), copy=False)


def _digest(text: str, arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
