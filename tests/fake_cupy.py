"""Enough of CuPy, on the host, to run what kernels/cuda/ does with it: arrays with addresses, cuBLAS, launches.

cuBLAS reads and writes plain memory here, by columns, and knows nothing of the arrays it came from. Kernels run as the
Python that they are translated from, one thread after another; test_translate.py compares the two.
"""

import ctypes
import itertools
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np

from xprnn.backend import namespaces

launches, products = [], []  # what was asked for


class Device:
    def __init__(self, number=0):
        self.id = number
        self.compute_capability = "90"
        self.attributes = {
            "MultiProcessorCount": 132,
            "MaxSharedMemoryPerBlockOptin": 232448,
            "CooperativeLaunch": 1,
        }

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    __hash__ = None


class ndarray(np.ndarray):
    __module__ = "cupy"

    @property
    def data(self):
        return SimpleNamespace(ptr=self.__array_interface__["data"][0])

    @property
    def device(self):
        return Device()


namespaces.PLAIN = *namespaces.PLAIN, ndarray  # no kind of NumPy array, as far as anybody is to know


def array(values):
    return np.array(values, order="C").view(ndarray)


def __getattr__(name):
    function = getattr(np, name)
    if isinstance(function, type):
        return function
    return lambda *args, **kwargs: np.asarray(function(*args, **kwargs)).view(ndarray)


def _by_columns(place, dtype, rows, columns, step):
    """The matrix at an address, as a writeable view."""
    assert step >= rows, "cuBLAS refuses a leading dimension below the number of rows"
    item = np.dtype(dtype).itemsize
    size = step * (columns - 1) + rows
    memory = np.frombuffer((ctypes.c_byte * (size * item)).from_address(place), dtype)
    return np.lib.stride_tricks.as_strided(memory, (rows, columns), (item, step * item))


def _gemm_ex(handle, ta, tb, m, n, k, alpha, a, a_type, lda, b, b_type, ldb, beta, c, c_type, ldc, compute, algorithm):
    dtype = {0: "float32", 1: "float64"}[a_type]
    assert a_type == b_type == c_type
    assert (compute == "CUBLAS_COMPUTE_64F") == (dtype == "float64")
    factor, old = (np.frombuffer((ctypes.c_byte * 8).from_address(p), dtype)[0] for p in (alpha, beta))
    first = _by_columns(a, dtype, k, m, lda).T if ta else _by_columns(a, dtype, m, k, lda)
    second = _by_columns(b, dtype, n, k, ldb).T if tb else _by_columns(b, dtype, k, n, ldb)
    out = _by_columns(c, dtype, m, n, ldc)
    products.append((m, n, k, compute))
    value = factor * (first @ second)
    out[...] = value if old == 0 else value + old * out  # cuBLAS does not read C where beta is 0


class RawModule:
    def __init__(self, *, code, options):
        self.code, self.options = code, options

    def get_function(self, entry):
        from xprnn.kernels.cuda import pointwise

        assert f'extern "C" __global__ void {entry}(' in self.code
        kernel = pointwise.KERNELS[entry]

        def launch(grid, block, args):
            assert all(isinstance(arg, (ndarray, np.int64)) for arg in args)
            launches.append((entry, grid, block))
            flat = [arg.view(np.ndarray).reshape(-1) if isinstance(arg, ndarray) else int(arg) for arg in args]
            for unit, row in itertools.product(range(min(grid[0] * block[0], flat[-2])), range(grid[1])):
                here, all_rows = SimpleNamespace(y=row), SimpleNamespace(y=grid[1])
                thread = SimpleNamespace(grid=lambda axes, unit=unit: unit, blockIdx=here, gridDim=all_rows)
                with patch.object(pointwise, "cuda", thread):
                    kernel(*flat)

        launch.num_regs = 32
        return launch


class CompileException(Exception):
    """Of a text that does not compile."""


cublas = SimpleNamespace(
    gemmEx=_gemm_ex,
    CUBLAS_OP_N=0,
    CUBLAS_OP_T=1,
    CUBLAS_GEMM_DEFAULT=-1,
    **{name: name for name in (f"CUBLAS_COMPUTE_{kind}" for kind in ("32F", "64F", "32F_FAST_TF32", "32F_FAST_16BF"))},
)
cuda = SimpleNamespace(
    Device=Device,
    cublas=cublas,
    compiler=SimpleNamespace(CompileException=CompileException),
    device=SimpleNamespace(get_cublas_handle=lambda: 1),
    runtime=SimpleNamespace(CUDA_R_32F=0, CUDA_R_64F=1),
)
