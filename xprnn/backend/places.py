"""Where arrays are made: a library and one of its devices; which of them work here, and which was chosen.

Nothing here imports CuPy until somebody asks for it.
"""

from __future__ import annotations

import importlib
import logging
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import array_api_compat as compat
import numpy as np

from xprnn.backend.arrays import to_numpy
from xprnn.backend.namespaces import Array, dtype_name, is_ours, library, namespace, plain
from xprnn.settings import BACKEND, BACKEND_VARIABLE, Choice

logger = logging.getLogger("xprnn")

NAMES = ("numpy", "cupy", "array_api_strict")


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
            if is_ours(values) and backend_of(values).name == self.name:
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
        if self.name == "numpy":  # array-api-compat takes ten times as long
            return np.arange(stop, dtype=dtype)
        with self._current():
            return self.xp.arange(stop, dtype=getattr(self.xp, dtype), device=self.device)

    def _current(self) -> AbstractContextManager[Any]:
        """CuPy makes arrays on its current device, whatever ``device`` says."""
        return self.device if self.name == "cupy" and self.device is not None else nullcontext()

    def __reduce__(self) -> Any:  # a module cannot be pickled
        return get_backend, (self.name, self.device)

    def __str__(self) -> str:
        return self.name if self.device is None else f"{self.name} on {self.device}"


_working = {"numpy"}  # backends that were found to work; one that failed is tried again, as the cause may be gone


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


def backend_of(array: Array) -> Backend:
    """The backend and device an array lives on."""
    xp = namespace(array)
    return Backend(library(xp), xp, compat.device(array))


def zeros_beside(array: Array, shape: tuple[int, ...]) -> Array:
    """Zeros of the library, device and dtype of an array."""
    if type(array) is np.ndarray:  # the most common, and one call
        return np.zeros(shape, array.dtype)
    return backend_of(array).zeros(shape, dtype_name(array))


def _is_foreign_on_gpu(array: Any) -> bool:
    """Whether an array of another library lies on a CUDA device: DLPack's device type 2."""
    device = getattr(array, "__dlpack_device__", None)
    return not is_ours(array) and device is not None and int(device()[0]) == 2


def to_backend(array: Array, name: str | Backend, device: Any = None) -> Array:
    """Move an array to a backend, explicitly. Returns it as it is where it is there already.

    Takes arrays of other libraries too, of JAX's or Dask's say, which computing calls refuse. A CPU tensor of
    PyTorch's, an Arrow array of numbers, or any array with ``__dlpack__`` becomes a NumPy array, and a CUDA tensor a
    CuPy array, over the same memory. The other way round, ``torch.from_dlpack(x)`` takes any array of ours so, and any
    Tensor that requires no gradient. Raises ValueError for an Arrow array with nulls, which no array here can hold.
    """
    backend = name if isinstance(name, Backend) else get_backend(name, device)
    return backend.asarray(array)


def synchronize(array: Array | None = None) -> None:
    """Wait until the device has finished what was asked of it. On the CPU there is nothing to wait for.

    Waits for CuPy's current stream, of the array's device or of the default backend.
    """
    backend = default_backend() if array is None else backend_of(array)
    if backend.name == "cupy":
        import cupy

        with cupy.cuda.Device(None if array is None else array.device.id):
            cupy.cuda.get_current_stream().synchronize()
