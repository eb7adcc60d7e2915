"""Which array library an array belongs to, and which arrays are refused.

Code asks ``xp = namespace(x, w)`` and then speaks the Python array API standard
(https://data-apis.org/array-api/2024.12).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import array_api_compat as compat
import numpy as np

Array = Any
"""An array of any supported library. The array API has no common base class to name here."""

NAMESPACES = {
    "array_api_compat.numpy": "numpy",
    "array_api_compat.cupy": "cupy",
    "array_api_strict": "array_api_strict",
}
DTYPES = ("float32", "float64")
NATIVE = {name: np.dtype(name) for name in DTYPES}
"""Most arrays' dtypes, which are quickly compared."""
PLAIN = (np.ndarray, np.memmap)
"""Types of NumPy arrays that are plain memory, with no meaning beside it."""


def _labelled(arrays: tuple[Any, ...], named: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for position, array in enumerate(arrays):
        yield f"argument {position}", array
    yield from named.items()


def namespace(*arrays: Any, **named: Any) -> Any:
    """The array API namespace that all these arrays share.

    Python numbers and None are passed over. Name an argument (``namespace(x=x, weight_ih=w)``) to have it named
    in the error.

    Raises
    ------
    TypeError
        Something is not an array, or two arrays belong to different libraries or devices.
    """
    if len(arrays) == 1 and not named:
        return _namespace_of("argument 0", arrays[0])
    if not arrays and not named:
        raise TypeError("expected at least one array, got none")
    if all(type(array) is np.ndarray for array in (*arrays, *named.values())):  # nothing to compare, and most common
        return _namespace_of("", arrays[0] if arrays else next(iter(named.values())))
    found: tuple[str, Any, Any, Any] | None = None
    for label, array in _labelled(arrays, named):
        if array is None or isinstance(array, (bool, int, float)):
            continue
        xp, device = _namespace_of(label, array), compat.device(array)
        if found is None:
            found = (label, array, xp, device)
        elif xp is not found[2] or device != found[3]:
            raise TypeError(
                f"{found[0]} is {_describe(found[1])} but {label} is {_describe(array)}; "
                f"move one of them with xprnn.to_backend(array, name) or module.to(name): nothing is copied silently"
            )
    if found is None:
        raise TypeError("expected at least one array, got none")
    return found[2]


def shared_namespace(owner: str, names: Sequence[str], *arrays: Any) -> Any:
    """As :func:`namespace`, for arguments that errors call "owner: name"."""
    for array in arrays:
        if type(array) is not np.ndarray:
            return namespace(**{f"{owner}: {name}": array for name, array in zip(names, arrays, strict=True)})
    return _namespace_of("", arrays[0])  # nothing to compare, and no names to put together


def is_ours(array: Any) -> bool:
    """Whether an array belongs to a library that we compute with."""
    try:
        namespace(array)
    except TypeError:
        return False
    return True


_namespaces: dict[type, Any] = {}  # by type of array: asking array-api-compat costs as much as a small sum


def _namespace_of(label: str, array: Any) -> Any:
    try:
        return _namespaces[type(array)]
    except KeyError:
        pass
    try:
        xp = compat.array_namespace(array)
    except TypeError:
        raise TypeError(f"{label} is a {type(array).__name__}; expected an array of NumPy or CuPy") from None
    name = getattr(xp, "__name__", "")
    if name not in NAMESPACES and not name.startswith("xprnn."):  # Tensors have a namespace of ours
        raise TypeError(
            f"{label} is a {_describe(array)[2:]}; expected an array of NumPy or CuPy: "
            "xprnn.to_backend(array, name) takes it over, without a copy where it lies on the same device"
        )
    if isinstance(array, np.ndarray) and type(array) not in PLAIN and library(xp) == "numpy":
        raise TypeError(f"{label} is {_meaning(array)}")
    _namespaces[type(array)] = xp
    return xp


def admit(kind: type, xp: Any) -> None:
    """Admit a type of arrays of another library, with the namespace of array API functions that computes with them."""
    _namespaces[kind] = xp


def _meaning(array: np.ndarray[Any, Any]) -> str:
    """For kinds of NumPy arrays with a meaning beside their memory: what they are, and what to give instead."""
    if isinstance(array, np.ma.MaskedArray):
        return "a masked array, whose mask would be lost: use x.filled(0.0), and give losses and layers the mask"
    if isinstance(array, np.matrix):
        return "an np.matrix, whose operators mean something else: use np.asarray"
    kind = f"{type(array).__module__.split('.')[0]}.{type(array).__name__}"
    return f"a {kind}, a kind of NumPy array that may mean something else: use np.asarray where it is just numbers"


def plain(label: str, array: Any) -> Array:
    """The array itself; a memory map as a view of type np.ndarray, which compiled kernels take.

    Raises TypeError, naming it by its label, for what is no array of ours, and for kinds of NumPy arrays with a meaning
    of their own, such as masked arrays.
    """
    _namespace_of(label, array)
    return np.asarray(array) if type(array) is np.memmap else array


def _describe(array: Any) -> str:
    module = type(array).__module__.split(".")[0]
    try:
        where = f" on device {compat.device(array)}"
    except (AttributeError, TypeError):  # of a library that has none
        where = ""
    return f"a {module} {type(array).__name__}{where}"


def library(xp: ModuleType) -> str:
    """The backend name of a namespace: "numpy", "cupy" or "array_api_strict"; that of Tensors has its own."""
    return NAMESPACES.get(xp.__name__, xp.__name__)


def dtype_name(array: Array) -> str:
    """The dtype as a word, the same in every library: "float32", "int64", ..."""
    dtype = array.dtype
    kind: Any = type(dtype)
    return _word(kind, dtype)


@cache
def _word(kind: type, dtype: Any) -> str:
    """Cached by type too: dtypes of different libraries must not be compared."""
    if isinstance(dtype, np.dtype) and not dtype.isnative:
        native, order = dtype.newbyteorder("="), "big" if sys.byteorder == "little" else "little"
        return f"{order}-endian {native} (.astype('{native}') casts it)"
    return str(dtype).rsplit(".", 1)[-1]
