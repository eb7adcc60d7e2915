"""Where kernels run: a CUDA device, through CuPy, or Numba's simulator of one.

Numba only compiles, to PTX that is kept on disk; CuPy loads it and launches it, on its current stream. Numba's own
launcher waits for the stream of each CuPy array that it is given (NUMBA_CUDA_ARRAY_INTERFACE_SYNC).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import product

Array = Any
OLDEST = (7, 0)
NEWEST = (9, 0)  # that we compile for; a newer device takes it too, and a compiler need not know of it
OLDEST_BY_PRECISION = {"float32": OLDEST, "tf32": (8, 0), "bf16": (8, 0), "fp16": (8, 0)}
PTX_VERSION = "8.0"  # CUDA 12.0's: a driver refuses PTX that says it is newer than the driver, whatever is in it
THREADS = 128
MOST_ROWS = 65535  # of a grid


class Facts(NamedTuple):
    """What a device is."""

    number: int
    capability: tuple[int, int]
    multiprocessors: int
    shared_memory: int
    """Bytes that one block can get."""
    registers: int
    """Of a multiprocessor."""
    cooperative: bool
    """Whether a grid can be launched such that all of its blocks run at once."""


def facts() -> Facts:
    """Of CuPy's current device. Raises what CuPy raises where there is none."""
    device = importlib.import_module("cupy").cuda.Device()
    return _facts(int(device.id))


@cache
def _facts(number: int) -> Facts:
    device = importlib.import_module("cupy").cuda.Device(number)
    text, attributes = str(device.compute_capability), device.attributes
    return Facts(
        number,
        (int(text[:-1]), int(text[-1])),
        int(attributes["MultiProcessorCount"]),
        int(attributes["MaxSharedMemoryPerBlockOptin"]),
        int(attributes["MaxRegistersPerMultiprocessor"]),
        bool(attributes["CooperativeLaunch"]),
    )


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
        self._dtype, self._facts = dtype, facts()
        self.product = product.OnDevice(dtype, precision, backward)

    def launch(self, name: str, size: int, batch: int, arrays: tuple[Array, ...], *numbers: int) -> None:
        """As in the simulator."""
        threads = min(THREADS, -(-size // 32) * 32)
        grid = -(-size // threads), min(batch, MOST_ROWS)
        arguments = (*arrays, *map(np.int64, numbers))
        loaded(name, self._dtype, self._facts.capability)(grid, (threads, 1), arguments)


def place_of(x: Array, precision: str, backward: bool) -> Simulator | Device:
    """Where one way of a call with x runs: NumPy arrays in the simulator, CuPy's on the current device."""
    return Simulator() if type(x) is np.ndarray else Device(x.dtype.name, precision, backward)


@cache
def loaded(name: str, dtype: str, capability: tuple[int, int]) -> Any:
    """A kernel for devices of a compute capability; CuPy loads it on each device where it is first launched."""
    path = _kept(name, dtype, min(capability, NEWEST))
    entry = re.search(r"\.entry\s+([\w$]+)", path.read_text())
    assert entry is not None
    return importlib.import_module("cupy").RawModule(path=str(path)).get_function(entry.group(1))


def _kept(name: str, dtype: str, capability: tuple[int, int]) -> Path:
    """The file with a kernel's PTX, written whole or not at all."""
    path = _folder() / f"{name}-{dtype}-sm{capability[0]}{capability[1]}.ptx"
    if not path.exists():
        text = ptx(name, dtype, capability)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    return path


def ptx(name: str, dtype: str, capability: tuple[int, int]) -> str:
    """A kernel compiled for a compute capability. Needs numba-cuda and NVIDIA's compilers, but no device."""
    numba = importlib.import_module("numba")
    compiler, types = importlib.import_module("numba.cuda"), numba.types
    number = types.CPointer(getattr(types, dtype))
    arguments = [
        types.CPointer(types.uint8) if parameter == "flags" else number for parameter in array_parameters(name)
    ]
    signature = types.void(*arguments, *[types.int64] * 4)
    with _compiling, _row_stack():
        text, _ = compiler.compile(_source(name), signature, device=False, abi="numba", cc=capability, output="ptx")
    return re.sub(r"(?m)^\.version .*", f".version {PTX_VERSION}", str(text), count=1)


_compiling = threading.Lock()  # no thread takes away what another still needs


@contextmanager
def _row_stack() -> Iterator[None]:
    """numba-cuda up to 0.30.4 asks for a name that NumPy 2.5 has no more, and then cannot compile anything."""
    if "row_stack" in vars(np):
        yield
        return
    np.row_stack = np.vstack
    try:
        yield
    finally:
        del np.row_stack


def array_parameters(name: str) -> list[str]:
    """The names of a kernel's arrays; four integers follow them."""
    return list(inspect.signature(_source(name)).parameters)[:-4]


def _source(name: str) -> Any:
    return importlib.import_module(f"{__package__}.pointwise").KERNELS[name]


@cache
def _folder() -> Path:
    """Below NUMBA_CACHE_DIR, XDG_CACHE_HOME or ~/.cache; a temporary folder where nothing can be written there.

    Its name holds a digest of the sources and of the compiler's version.
    """
    digest = hashlib.sha256(importlib.metadata.version("numba-cuda").encode())
    here = Path(__file__).parent
    for path in [*sorted(here.glob("*.py")), here.parent / "scalar_cells.py"]:
        digest.update(path.read_bytes())
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(base) / "xprnn" / f"cuda-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return _temporary_folder()


def _temporary_folder() -> Path:
    return Path(_temporary().name)


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    """Removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="xprnn-cuda-")
