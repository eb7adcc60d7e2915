"""Which array library an array belongs to, where new arrays are made, and how arrays move between the two.

Arrays carry their backend: code asks ``xp = namespace(x, w)`` and then speaks the Python array API standard
(https://data-apis.org/array-api/2024.12). Nothing here imports CuPy until somebody asks for it.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, TypeAlias

import array_api_compat as compat
import numpy as np

from xprnn.randomness import new_generator
from xprnn.settings import BACKEND, BACKEND_VARIABLE, Choice

logger = logging.getLogger("xprnn")

Array = Any
"""An array of any supported library. The array API has no common base class to name here."""

Rng: TypeAlias = "int | np.random.Generator | None"  # a word for now: NumPy imports its generators when asked to

NAMES = ("numpy", "cupy", "array_api_strict")
NAMESPACES = {
    "array_api_compat.numpy": "numpy",
    "array_api_compat.cupy": "cupy",
    "array_api_strict": "array_api_strict",
}
DTYPES = ("float32", "float64")
PLAIN = (np.ndarray, np.memmap)
"""NumPy's arrays that are memory and nothing more."""


@dataclass(frozen=True)
class Backend:
    """An array library and a device of it: a place where arrays can be made.

    ``device=None`` is the library's current device.
    """

    name: str
    xp: ModuleType
    device: Any = None

    def asarray(self, values: Any, dtype: str | None = None) -> Array:
        """Bring host values, or an array of any backend or library, here. Copies only where it must."""
        if not isinstance(values, (bool, int, float, list, tuple)):
            if self.name == "cupy" and _is_foreign_on_gpu(values):  # such as a CUDA tensor of PyTorch's
                with self._current():
                    values = self.xp.from_dlpack(values)
            if _is_ours(values) and backend_of(values).name == self.name:
                device = self.device if self.device is not None else compat.device(values)
                values = compat.to_device(values, device)
                return values if dtype is None else self.xp.astype(values, getattr(self.xp, dtype), copy=False)
            values = to_numpy(values)
            plain("the array", values)
        with self._current():
            return self.xp.asarray(values, dtype=None if dtype is None else getattr(self.xp, dtype), device=self.device)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        """An array of zeros."""
        with self._current():
            return self.xp.zeros(shape, dtype=getattr(self.xp, dtype), device=self.device)

    def arange(self, stop: int, dtype: str = "int64") -> Array:
        """0, 1, ..., stop - 1."""
        with self._current():
            return self.xp.arange(stop, dtype=getattr(self.xp, dtype), device=self.device)

    def _current(self) -> AbstractContextManager[Any]:
        """CuPy makes arrays on its current device, whatever ``device`` says."""
        return self.device if self.name == "cupy" and self.device is not None else nullcontext()

    def __reduce__(self) -> Any:  # a module cannot be pickled
        return get_backend, (self.name, self.device)

    def __str__(self) -> str:
        return self.name if self.device is None else f"{self.name} on {self.device}"


_working = {"numpy"}  # backends that were tried with success; a failure may be repaired, and is tried again


def _reason_against(name: str) -> str:
    """Why a backend cannot be used on this machine; empty when it can."""
    if name in _working:
        return ""
    extra = {"cupy": "cuda12", "array_api_strict": "test"}[name]
    try:
        library = importlib.import_module(name)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == name
        why = f"{name} is not installed" if missing else f"{name} does not import ({error})"
        return f"{why}: pip install 'xprnn[{extra}]'"
    if name == "cupy":
        try:
            if library.cuda.runtime.getDeviceCount() == 0:
                return "CuPy is installed but finds no CUDA device"
            # A device that is listed can still fail to compile or launch, so one real kernel decides.
            if int((library.ones(2) + 1).sum()) != 4:
                return "CuPy computes 1 + 1 wrongly on this device"
        except Exception as error:  # CuPy raises many types here, and each of them means that it is unusable
            reason = " ".join(str(error).split())
            return f"CuPy is installed but cannot use a GPU ({reason}): check the NVIDIA driver with nvidia-smi"
    _working.add(name)
    return ""


def available_backends() -> dict[str, str]:
    """Every backend by name, with the reason why it cannot be used here, or an empty string.

    Tries to import CuPy and to run a kernel on its device.
    """
    return {name: _reason_against(name) for name in NAMES}


def devices(name: str) -> list[str]:
    """The devices of a backend that can be used here, by name."""
    if name == "cupy":
        runtime = importlib.import_module("cupy").cuda.runtime
        properties = (runtime.getDeviceProperties(k) for k in range(runtime.getDeviceCount()))
        return [f"{k}: {p['name'].decode()}, {p['totalGlobalMem'] / 2**30:.0f} GiB" for k, p in enumerate(properties)]
    if name == "numpy":
        return [f"CPU, {os.cpu_count()} cores"]
    return [str(device) for device in get_backend(name).xp.__array_namespace_info__().devices()]


def get_backend(name: str, device: Any = None) -> Backend:
    """The backend of that name: "numpy", "cupy", "array_api_strict", or "auto" for CuPy where a GPU works.

    Raises
    ------
    ValueError
        The name is unknown.
    RuntimeError
        The backend cannot be used here; the message says what is missing.
    """
    if isinstance(name, str) and name == "auto":
        reason = _reason_against("cupy")
        name = "numpy" if reason else "cupy"
        logger.info("backend 'auto' is %s%s", name, f" ({reason})" if reason else "")
    if not isinstance(name, str) or name not in NAMES:
        raise ValueError(f"backend {name!r} is unknown; expected 'auto' or one of {', '.join(map(repr, NAMES))}")
    if reason := _reason_against(name):
        raise RuntimeError(f"backend {name!r} cannot be used: {reason}")
    if name == "numpy" and not (device is None or (isinstance(device, str) and device == "cpu")):
        raise ValueError(f"backend 'numpy': device is {device!r}; expected None or 'cpu'")
    if name == "cupy" and isinstance(device, int):
        device = importlib.import_module("cupy").cuda.Device(device)
    compatible = {"numpy": "array_api_compat.numpy", "cupy": "array_api_compat.cupy"}
    return Backend(name, importlib.import_module(compatible.get(name, name)), device)


def default_backend() -> Backend:
    """Where new arrays are made: what ``use_backend`` chose last, else XPRNN_BACKEND, else NumPy."""
    chosen: Backend | None = BACKEND.get()
    if chosen is None:
        try:
            chosen = BACKEND.settle(get_backend(os.environ.get(BACKEND_VARIABLE, "numpy")))
        except (ValueError, RuntimeError) as error:
            raise type(error)(f"environment variable {BACKEND_VARIABLE}: {error}") from None
    return chosen


class use_backend(Choice[Backend]):  # noqa: N801 - reads as a verb in both of its uses
    """Choose where new arrays are made, for the process or, as a context manager, for a block.

    >>> use_backend("numpy")
    use_backend('numpy')
    >>> with use_backend("auto") as backend:
    ...     print(backend)  # doctest: +SKIP
    cupy

    It decides creation only: arrays that exist stay where they are, and ``module.to`` moves modules. Of several GPUs,
    make the one with your arrays CuPy's current device too: ``with cupy.cuda.Device(1): ...``.

    A block's choice is its thread's or task's. But a call cannot know whether ``with`` stands before it: from the call
    until the block is entered the choice is the process's, as that of a statement, and seen by threads that are in no
    block themselves. Give each thread a block of its own, or choose for the process before they start; of threads that
    do so none sees another's choice. :func:`xprnn.use_kernels`, :func:`xprnn.use_precision`,
    :func:`xprnn.use_seed` and :func:`xprnn.debug` do the same.

    Raises what :func:`get_backend` raises, and then changes nothing.
    """

    def __init__(self, name: str, device: Any = None) -> None:
        self.backend = get_backend(name, device)
        super().__init__(BACKEND, self.backend)

    def __repr__(self) -> str:
        return f"use_backend({self.backend.name!r})"


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
    """As :func:`namespace`, of arguments that the error shall call "owner: name"."""
    for array in arrays:
        if type(array) is not np.ndarray:
            return namespace(**{f"{owner}: {name}": array for name, array in zip(names, arrays, strict=True)})
    return _namespace_of("", arrays[0])  # nothing to compare, and no names to put together


def _is_ours(array: Any) -> bool:
    """Whether it belongs to a library that we compute with."""
    try:
        namespace(array)
    except TypeError:
        return False
    return True


def _is_foreign_on_gpu(array: Any) -> bool:
    """Whether another library's array lies in the memory of a CUDA device: DLPack's device type 2."""
    device = getattr(array, "__dlpack_device__", None)
    return not _is_ours(array) and device is not None and int(device()[0]) == 2


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
    """Let arrays of a type of another library be computed with, in a namespace of the array API's functions."""
    _namespaces[kind] = xp


def _meaning(array: np.ndarray[Any, Any]) -> str:
    """What a kind of NumPy array is that is more than its memory, and what to give instead."""
    if isinstance(array, np.ma.MaskedArray):
        return "a masked array, whose mask would be lost: use x.filled(0.0), and give losses and layers the mask"
    if isinstance(array, np.matrix):
        return "an np.matrix, whose operators mean something else: use np.asarray"
    kind = f"{type(array).__module__.split('.')[0]}.{type(array).__name__}"
    return f"a {kind}, a kind of NumPy array that may mean something else: use np.asarray where it is just numbers"


def plain(label: str, array: Any) -> Array:
    """The array; a memory map as the np.ndarray that it is in all but name, which compiled kernels take.

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


def backend_of(array: Array) -> Backend:
    """The backend and device an array lives on."""
    xp = namespace(array)
    return Backend(library(xp), xp, compat.device(array))


def copied(array: Array) -> Array:
    """A copy, contiguous in the order of its axes."""
    return array.copy() if type(array) is np.ndarray else namespace(array).asarray(array, copy=True)


def zeros_beside(array: Array, shape: tuple[int, ...]) -> Array:
    """Zeros of the library, device and dtype of an array."""
    if type(array) is np.ndarray:  # the most common, and one call
        return np.zeros(shape, array.dtype)
    return backend_of(array).zeros(shape, dtype_name(array))


def ones_like(array: Array) -> Array:
    """Ones of the shape, library, device and dtype of an array."""
    if type(array) is not np.ndarray:
        return namespace(array).ones_like(array)
    ones = np.empty(array.shape, array.dtype)
    ones.fill(1)  # in half of the time that np.ones takes
    return ones


def summed(array: Array) -> Array:
    """The sum of all numbers."""
    if type(array) is np.ndarray:  # likewise
        return np.add.reduce(array, axis=None)
    return namespace(array).sum(array)


def reshaped(array: Array, shape: tuple[int, ...]) -> Array:
    """The same elements in another shape; one length may be -1."""
    return array.reshape(shape) if type(array) is np.ndarray else namespace(array).reshape(array, shape)


def to_backend(array: Array, name: str | Backend, device: Any = None) -> Array:
    """Move an array to a backend, explicitly. Returns it as it is where it is there already.

    Takes arrays of other libraries too, of JAX's or Dask's say, which computing calls refuse. A CPU tensor of
    PyTorch's, an Arrow array of numbers, or any array with ``__dlpack__`` becomes a NumPy array, and a CUDA tensor a
    CuPy array, over the same memory. The other way round, ``torch.from_dlpack(x)`` takes any array of ours so, and any
    Tensor that requires no gradient. Raises ValueError for an Arrow array with nulls, which no array here can hold.
    """
    backend = name if isinstance(name, Backend) else get_backend(name, device)
    return backend.asarray(array)


def to_numpy(array: Any) -> np.ndarray[Any, Any]:
    """Copy an array, or a Tensor's data, to the host. A NumPy array is returned as it is."""
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "numpy"):  # a Tensor of ours, and also one of PyTorch's
        return np.asarray(array.numpy())
    if compat.is_cupy_array(array):
        return np.asarray(array.get())
    if (nulls := _nulls(array)) > 0:
        raise ValueError(f"the {type(array).__name__} has {nulls} nulls, which no array can hold: fill or drop them")
    if hasattr(array, "__dlpack__") and not hasattr(array, "__array__") and not _is_ours(array):
        return np.from_dlpack(array)
    if _is_ours(array) or not hasattr(array, "__array__"):  # the rest are of other libraries, which know how
        xp = namespace(array)
        if library(xp) == "array_api_strict":
            array = compat.to_device(array, xp.Device("CPU_DEVICE"))
    return np.asarray(array)


def _nulls(array: Any) -> int:
    """How many numbers an Arrow array lacks, which NumPy would have as NaN."""
    if not hasattr(array, "__arrow_c_array__") and not hasattr(array, "__arrow_c_stream__"):
        return 0
    count = getattr(array, "null_count", 0)
    count = count() if callable(count) else count  # a method in Polars
    return count if isinstance(count, int) else 0  # that of a table is a table


def synchronize(array: Array | None = None) -> None:
    """Wait until the device has finished what was asked of it. On the CPU there is nothing to wait for.

    Waits for CuPy's current stream, of the array's device or of the default backend.
    """
    backend = default_backend() if array is None else backend_of(array)
    if backend.name == "cupy":
        import cupy

        with cupy.cuda.Device(None if array is None else array.device.id):
            cupy.cuda.get_current_stream().synchronize()


def generator(rng: Rng = None) -> np.random.Generator:
    """A NumPy random generator from a seed, a generator (returned as it is), or None for one of ``use_seed``'s.

    Where no seed was chosen, None is for a fresh one. All random numbers are drawn on the host, so that one seed gives
    the same bits on every backend.
    """
    if rng is None or isinstance(rng, np.random.Generator):
        return rng or new_generator()
    if isinstance(rng, bool) or not isinstance(rng, (int, np.integer)):
        raise TypeError(f"rng is a {type(rng).__name__}; expected an int seed, a numpy.random.Generator or None")
    if rng < 0:
        raise ValueError(f"rng is {rng}; expected a seed of at least 0, a numpy.random.Generator or None")
    return np.random.default_rng(int(rng))


def dtype_name(array: Array) -> str:
    """The dtype as a word, the same in every library: "float32", "int64", ..."""
    return _word(type(array.dtype).__module__, array.dtype)


@cache
def _word(library: str, dtype: Any) -> str:
    """Looked up by library too: dtypes of different ones must not be compared."""
    if isinstance(dtype, np.dtype) and not dtype.isnative:
        native, order = dtype.newbyteorder("="), "big" if sys.byteorder == "little" else "little"
        return f"{order}-endian {native} (.astype('{native}') casts it)"
    return str(dtype).rsplit(".", 1)[-1]
