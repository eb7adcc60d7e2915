"""Checkpoints: arrays and plain values in one safetensors file, whole or not at all, and never pickle.

The file's metadata has one entry, "xprnn": JSON with the caller's metadata and a SHA-256 over it and all arrays.
Format: https://github.com/huggingface/safetensors
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from typing import Any

import numpy as np

from xprnn.backend import Array, to_numpy
from xprnn.nn.module import Module
from xprnn.storage import write_atomically

Path_ = str | PathLike[str]
HostArrays = dict[str, np.ndarray[Any, Any]]
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES = ("bool", *INTEGERS, "float16", "float32", "float64")
KEY, TENSOR = "xprnn", "__tensor__"
STORED = {"BOOL": "bool", "F16": "<f2", "F32": "<f4", "F64": "<f8"}
STORED |= {f"{kind.upper()}{8 * size}": f"<{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)}


class ModelFileError(ValueError):
    """A file that is damaged, lacks something, or is something else; the message names it."""


def write_tensors(path: Path_, arrays: Mapping[str, Array], metadata: Mapping[str, Any]) -> None:
    """Write arrays and JSON-able metadata to a safetensors file.

    Whatever fails, an old file stays as it was (:func:`xprnn.storage.write_atomically`).

    Raises
    ------
    TypeError
        An array's dtype has no place in the format, or the metadata is not JSON-able.
    OSError
        The folder is missing or cannot be written to, or the disk is full.
    """
    from safetensors.numpy import save

    host = {name: _host(name, array) for name, array in arrays.items()}
    try:
        text = json.dumps(metadata)
    except (TypeError, ValueError) as error:
        raise TypeError(f"write_tensors: the metadata cannot be written as JSON: {error}") from error
    content = save(host, {KEY: json.dumps({"sha256": _digest(text, host), "metadata": metadata})})
    write_atomically(path, content)


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
        found = json.loads(header[KEY], object_pairs_hook=_without_repeats)
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
    try:
        with open(path, "rb"):
            pass
        yield
    except OSError as error:
        raise OSError(error.errno, f"{owner}: cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # of the reader, or of NumPy for a shape or a dtype that it does not have
        raise ModelFileError(f"{owner}: {path} is truncated, corrupt or no safetensors file: {error}") from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError for a name that comes twice: two readers would see two things."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice in one object")
    return found


def save_checkpoint(path: Path_, **parts: Any) -> None:
    """Write the states of several objects to one file: ``save_checkpoint("a.safetensors", model=model, adam=adam)``.

    A part has ``state_dict`` and ``load_state_dict``; a state is made of dicts, arrays, and plain values. Of a Module
    the random generators are kept too, so that dropout goes on with the same bits.

    Raises TypeError for a part without a state or a value that cannot be written, and as :func:`write_tensors`.
    """
    for name, part in parts.items():
        if not hasattr(part, "state_dict") or not hasattr(part, "load_state_dict"):
            raise TypeError(f"save_checkpoint: {name} is a {type(part).__name__}, which has no state_dict")
    arrays: dict[str, Array] = {}
    states = {name: _split(name, _state(part), arrays) for name, part in parts.items()}
    write_tensors(path, arrays, {"parts": states})


def load_checkpoint(path: Path_, **parts: Any) -> None:
    """Bring objects to the states in a file of :func:`save_checkpoint`; parts of the file not asked for are left alone.

    Raises ModelFileError, a ValueError, where the file lacks a part or a part refuses its state, and as
    :func:`read_tensors`. Either all parts are loaded or, after an error or an interrupt, all are as before.
    """
    arrays, metadata = read_tensors(path)
    states = metadata.get("parts", {})
    if not isinstance(states, dict):
        raise ModelFileError(f"load_checkpoint: {path}: its parts are a {type(states).__name__}; expected dict")
    if missing := [name for name in parts if name not in states]:
        raise ModelFileError(
            f"load_checkpoint: {path} has no {', '.join(missing)}; it has {', '.join(states) or 'nothing'}"
        )
    before = {name: _state(part) for name, part in parts.items()}
    name = ""
    try:
        for name, part in parts.items():
            _load(part, _joined(states[name], arrays))
    except BaseException as error:
        for other, state in before.items():
            _load(parts[other], state)
        if not isinstance(error, Exception):
            raise
        raise ModelFileError(f"load_checkpoint: {path}: {name} refuses: {error}; nothing has been loaded") from error


def _state(part: Any) -> dict[str, Any]:
    if isinstance(part, Module):
        generators = {name: generator.bit_generator.state for name, generator in part.generators().items()}
        return {"parameters": part.state_dict(), "generators": generators}
    state: dict[str, Any] = part.state_dict()
    return state


def _load(part: Any, state: dict[str, Any]) -> None:
    if not isinstance(part, Module):
        part.load_state_dict(state)
        return
    generators, states = part.generators(), state["generators"]
    if set(generators) != set(states):
        raise ValueError(f"the random generators are {sorted(generators)}, but those of the file are {sorted(states)}")
    part.load_state_dict(state["parameters"])
    for name, generator in generators.items():
        generator.bit_generator.state = states[name]


def _split(name: str, value: Any, arrays: dict[str, Array]) -> Any:
    """A state without its arrays, which are put under dotted names; a reference stays where each one was."""
    if isinstance(value, Mapping):
        return {str(key): _split(f"{name}.{key}", part, arrays) for key, part in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "shape"):
        while name in arrays:  # {"a.b": x, "a": {"b": y}}
            name += "'"
        arrays[name] = value
        return {TENSOR: name}
    if isinstance(value, (list, tuple)):
        return [_split(f"{name}.{k}", part, arrays) for k, part in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"save_checkpoint: {name} is a {type(value).__name__}; expected dicts, arrays and plain values")


def _joined(value: Any, arrays: HostArrays) -> Any:
    """The other direction of _split."""
    if isinstance(value, list):
        return [_joined(part, arrays) for part in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {TENSOR}:
        return arrays[value[TENSOR]]
    return {key: _joined(part, arrays) for key, part in value.items()}


def _host(name: str, array: Array) -> np.ndarray[Any, Any]:
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
