"""Checkpoints: the states of several objects in one file of :mod:`xprnn.storage`, whole or not at all."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from xprnn.arguments import checked_state
from xprnn.backend import Array
from xprnn.nn.module import Module
from xprnn.randomness import restore
from xprnn.storage import HostArrays, ModelFileError, read_tensors, write_tensors
from xprnn.whole_files import Path_

TENSOR = "__tensor__"


def save_checkpoint(path: Path_, **parts: Any) -> None:
    """Write the states of several objects to one file: ``save_checkpoint("a.safetensors", model=model, adam=adam)``.

    A part has ``state_dict`` and ``load_state_dict``; a state is made of dicts, arrays, and plain values. Of a Module
    the random generators are kept too, so that dropout goes on with the same bits.

    Raises TypeError for a part without a state or a value that cannot be written, and as :func:`write_tensors`.
    """
    _check_parts("save_checkpoint", parts)
    states, arrays = states_of(parts)
    write_tensors(path, arrays, {"parts": states})


def states_of(parts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
    """The states of parts, made of plain values, and the arrays that they refer to."""
    arrays: dict[str, Array] = {}
    return {name: _split(name, _state(part), arrays) for name, part in parts.items()}, arrays


def take_states(parts: Mapping[str, Any], states: Mapping[str, Any], arrays: HostArrays) -> None:
    """Give parts the states of others like them, as :func:`states_of` gave those."""
    for name, part in parts.items():
        _load(part, _joined(states[name], arrays))


def load_checkpoint(path: Path_, **parts: Any) -> None:
    """Bring objects to the states in a file of :func:`save_checkpoint`; parts of the file not asked for are left alone.

    Raises ModelFileError, a ValueError, where the file lacks a part or a part refuses its state, and as
    :func:`read_tensors`. Either all parts are loaded or, after an error or an interrupt, all are as before.
    """
    _check_parts("load_checkpoint", parts)
    arrays, metadata = read_tensors(path)
    states = metadata.get("parts", {})
    if not isinstance(states, dict):
        raise ModelFileError(f"load_checkpoint: {path}: its parts are a {type(states).__name__}; expected dict")
    if missing := [name for name in parts if name not in states]:
        raise ModelFileError(
            f"load_checkpoint: {path} has no {', '.join(missing)}; it has {', '.join(states) or 'nothing'}"
        )
    before = {name: _state(part) for name, part in parts.items()}
    name, whole = "", False
    try:
        try:
            for name, part in parts.items():
                _load(part, _joined(states[name], arrays))
            whole = True
        finally:
            if not whole:
                _put_back(parts, before)
                whole = True
    except Exception as error:
        raise ModelFileError(f"load_checkpoint: {path}: {name} refuses: {error}; nothing has been loaded") from error
    finally:
        if not whole:  # once more, for an interrupt on the way to the first time
            _put_back(parts, before)


def _check_parts(owner: str, parts: Mapping[str, Any]) -> None:
    for name, part in parts.items():
        if not hasattr(part, "state_dict") or not hasattr(part, "load_state_dict"):
            raise TypeError(f"{owner}: {name} is a {type(part).__name__}, which has no state_dict")


def _put_back(parts: Mapping[str, Any], before: Mapping[str, dict[str, Any]]) -> None:
    """Give parts the states that they had, from the beginning again where Ctrl-C comes in between."""
    while True:
        try:
            for name, state in before.items():
                _load(parts[name], state)
            return
        except KeyboardInterrupt:
            continue


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
    owner, generators = type(part).__name__, part.generators()
    states, parameters = (_table(owner, state, name) for name in ("generators", "parameters"))
    if set(generators) != set(states):
        raise ValueError(
            f"{owner}: the random generators are {sorted(generators)}, but those of the file are {sorted(states)}"
        )
    part.load_state_dict(parameters)
    for name, generator in generators.items():
        try:
            restore(generator, states[name])
        except ValueError as error:
            raise ValueError(f"{owner}: {name}: {error}") from error


def _table(owner: str, state: Any, name: str) -> Mapping[str, Any]:
    found = checked_state(owner, state, ("generators", "parameters"))[name]
    if not isinstance(found, Mapping):
        raise ValueError(f"{owner}: the state's {name} are a {type(found).__name__}; expected dict")
    return found


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
        name = value[TENSOR]
        if not isinstance(name, str) or name not in arrays:
            raise ValueError(f"the file has no array {reprlib.repr(name)}; expected all that the state refers to")
        return arrays[name]
    return {key: _joined(part, arrays) for key, part in value.items()}
