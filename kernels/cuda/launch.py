"""Where kernels run: a CUDA device, through CuPy, or Numba's simulator of one."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, NamedTuple

import numpy as np

from . import product
from .plan import PORTABLE_CLUSTER

Array = Any
OLDEST = (7, 0)
OLDEST_BY_PRECISION = {"float32": OLDEST, "tf32": (8, 0), "bf16": (8, 0), "fp16": (8, 0)}
THREADS = 128
MOST_ROWS = 65535  # of a grid
CLUSTERS_SINCE = (9, 0)
WIDE_CLUSTER = 16  # blocks; every device that has clusters has those of PORTABLE_CLUSTER, and some have these
WIDE_ALLOWED = 14  # CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, for which CuPy has no name
TRIAL = f'extern "C" __global__ void __cluster_dims__(1, {WIDE_CLUSTER}, 1) trial() {{}}'


class Facts(NamedTuple):
    """What a device is."""

    number: int
    capability: tuple[int, int]
    multiprocessors: int
    shared_memory: int
    """Bytes that one block can get."""
    cooperative: bool
    """Whether a grid can be launched such that all of its blocks run at once."""
    wide_clusters: bool = False
    """Whether WIDE_CLUSTER blocks can be a cluster, each with all shared memory that one can get."""

    @property
    def largest_cluster(self) -> int:
        """How many blocks can write into each other's shared memory; 0: none."""
        if self.capability < CLUSTERS_SINCE:
            return 0
        return WIDE_CLUSTER if self.wide_clusters else PORTABLE_CLUSTER


def facts() -> Facts:
    """Of CuPy's current device. Raises what CuPy raises where there is none."""
    device = importlib.import_module("cupy").cuda.Device()
    return _facts(int(device.id))


@cache
def _facts(number: int) -> Facts:
    device = importlib.import_module("cupy").cuda.Device(number)
    text, attributes = str(device.compute_capability), device.attributes
    found = Facts(
        number,
        (int(text[:-1]), int(text[-1])),
        int(attributes["MultiProcessorCount"]),
        int(attributes["MaxSharedMemoryPerBlockOptin"]),
        bool(attributes["CooperativeLaunch"]),
    )
    return found._replace(wide_clusters=found.largest_cluster > 0 and _runs_wide_clusters(found))


def _runs_wide_clusters(device: Facts) -> bool:
    """Found by running an empty one: CuPy cannot ask the driver how many clusters of a kernel a device has room for."""
    try:
        kernel = importlib.import_module("cupy").RawKernel(TRIAL, "trial")
        kernel.max_dynamic_shared_size_bytes = device.shared_memory
        allow_wide_clusters(kernel)
        kernel((1, WIDE_CLUSTER, 1), (THREADS,), (), shared_mem=device.shared_memory)
    except Exception:  # drivers refuse as they like, and the others are left
        return False
    return True


def allow_wide_clusters(kernel: Any) -> None:
    """Let a kernel's clusters have more blocks than all devices can run."""
    importlib.import_module("cupy").cuda.driver.funcSetAttribute(kernel.kernel.ptr, WIDE_ALLOWED, 1)


def simulated() -> bool:
    """Whether Numba simulates a device: NUMBA_ENABLE_CUDASIM=1, set before the process began."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


class Simulator:
    """Runs kernels on NumPy arrays, a thread of Python for each of a device's."""

    threads, rows = 4, 2  # few of each, so that tiny shapes need several blocks and passes
    xp, product = np, staticmethod(product.on_host)

    def launch(self, name: str, size: int, batch: int, arrays: tuple[Array, ...], *numbers: int) -> None:
        """A thread for each of ``size`` units, in as many rows as there are sequences, or fewer."""
        compiled = importlib.import_module("numba.cuda").jit(_source(name))
        grid = -(-size // self.threads), min(batch, self.rows)
        compiled[grid, (self.threads, 1)](*(array.reshape(-1) for array in arrays), *numbers)


class Device:
    """Runs kernels on CuPy arrays of one dtype, on CuPy's current device and stream."""

    def __init__(self, dtype: str, precision: str, backward: bool) -> None:
        self.xp = importlib.import_module("cupy")
        self._dtype = dtype
        self.product = product.OnDevice(dtype, precision, backward)

    def launch(self, name: str, size: int, batch: int, arrays: tuple[Array, ...], *numbers: int) -> None:
        """As in the simulator."""
        threads = min(THREADS, -(-size // 32) * 32)
        grid = -(-size // threads), min(batch, MOST_ROWS)
        arguments = (*arrays, *map(np.int64, numbers))
        loaded(name, self._dtype)(grid, (threads, 1), arguments)


def place_of(x: Array, precision: str, backward: bool) -> Simulator | Device:
    """Where one way of a call with x runs: NumPy arrays in the simulator, CuPy's on the current device."""
    return Simulator() if type(x) is np.ndarray else Device(x.dtype.name, precision, backward)


@cache
def loaded(name: str, dtype: str) -> Any:
    """A kernel; CuPy compiles it, keeps it on disk, and loads it on each device where it is first launched."""
    return _module(dtype).get_function(name)


@cache
def _module(dtype: str) -> Any:
    translate = importlib.import_module(f"{__package__}.translate")
    return importlib.import_module("cupy").RawModule(code=translate.text(), options=options(dtype))


def options(dtype: str) -> tuple[str, ...]:
    """What NVRTC is told of the pointwise kernels."""
    return "-std=c++17", f"-DXPRNN_REAL={'double' if dtype == 'float64' else 'float'}"


@cache
def array_parameters(name: str) -> list[str]:
    """The names of a kernel's arrays; four integers follow them."""
    return list(inspect.signature(_source(name)).parameters)[:-4]


def _source(name: str) -> Any:
    return importlib.import_module(f"{__package__}.pointwise").KERNELS[name]


def looked_for_once(look: Callable[..., str]) -> Any:
    """A function that says what is against a kernel on a device: what ``look`` says, or what it raises; empty: nothing.

    It is looked for once, but for what may pass, as want of memory does: of errors only those of a text are kept.
    """
    kept: dict[tuple[Any, ...], str] = {}

    @wraps(look)
    def reason(*key: Any) -> str:
        if key not in kept:
            try:
                kept[key] = look(*key)
            except Exception as error:  # compilers and drivers raise what they like
                found = f"the kernels cannot be compiled and loaded ({type(error).__name__}: {error})"
                if not isinstance(error, importlib.import_module("cupy").cuda.compiler.CompileException):
                    return found
                kept[key] = found
        return kept[key]

    reason.cache_clear = kept.clear  # type: ignore[attr-defined]
    return reason
