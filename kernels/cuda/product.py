"""Matrix products of row-major arrays: cuBLAS on a device, NumPy in the simulator.

``cupy.matmul`` would do, but it cannot add to its result, and its precision is chosen for the whole process. Here each
product is one call of cublasGemmEx, on CuPy's current stream.

precision      operands are rounded to        sums      (cuBLAS compute type)
"float32"      nothing                        float32   CUBLAS_COMPUTE_32F
"tf32"         10 bits after the point        float32   CUBLAS_COMPUTE_32F_FAST_TF32
"bf16"         7 bits after the point         float32   CUBLAS_COMPUTE_32F_FAST_16BF
"fp16"         as in tf32; back as in bf16    float32
float64 arrays are multiplied in float64 whatever is chosen.

TF32 has float16's 10 bits and float32's range: no input overflows. CUBLAS_COMPUTE_32F_FAST_16F may take either, and
what it makes of numbers above 65504 is not documented. Back it is bfloat16, since float16 has no numbers as small as
many cotangents.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import numpy as np

Array = Any

MOST_ROWS = 2**31 - 1  # sizes are C's int there; elements, of which there may be more, are counted with 64 bits

EXACT, TF32, BF16 = "CUBLAS_COMPUTE_32F", "CUBLAS_COMPUTE_32F_FAST_TF32", "CUBLAS_COMPUTE_32F_FAST_16BF"
# Forward and backward.
COMPUTE = {"float32": (EXACT, EXACT), "tf32": (TF32, TF32), "bf16": (BF16, BF16), "fp16": (TF32, BF16)}

# Where cuBLAS reads its factors: on the host, and alive as long as this module.
_FACTORS = {name: (np.zeros(1, name), np.ones(1, name)) for name in ("float32", "float64")}
_PLACES = {name: tuple(number.ctypes.data for number in pair) for name, pair in _FACTORS.items()}


class Layout(NamedTuple):
    """What cuBLAS, which counts by columns, is told of C = op(A) op(B) by rows: C^T = op(B)^T op(A)^T."""

    transpose_first: bool
    transpose_second: bool
    m: int
    n: int
    k: int
    ld_first: int
    ld_second: int
    ld_out: int


def layout(a: Array, b: Array, out: Array, transpose_a: bool, transpose_b: bool) -> Layout:
    """For matrices whose rows are contiguous. The first operand of cuBLAS is B, the second A."""
    k = a.shape[0] if transpose_a else a.shape[1]
    return Layout(transpose_b, transpose_a, out.shape[1], out.shape[0], k, _step(b), _step(a), _step(out))


def _step(matrix: Array) -> int:
    """Elements from one row to the next."""
    return max(int(matrix.strides[0]) // matrix.itemsize, matrix.shape[1]) if matrix.shape[0] > 1 else matrix.shape[1]


def on_host(
    a: Array, b: Array, out: Array, *, transpose_a: bool = False, transpose_b: bool = False, add: bool = False
) -> None:
    """C = op(A) op(B), or C += op(A) op(B), for matrices A, B and C."""
    product = (a.T if transpose_a else a) @ (b.T if transpose_b else b)
    out[...] = out + product if add else product


class OnDevice:
    """The same on CuPy's current device and stream, as a precision has it on one way."""

    def __init__(self, dtype: str, precision: str, backward: bool) -> None:
        cupy = importlib.import_module("cupy")
        cublas, runtime = cupy.cuda.cublas, cupy.cuda.runtime
        wide = dtype == "float64"
        self._multiply, self._handle = cublas.gemmEx, cupy.cuda.device.get_cublas_handle()
        self._type = runtime.CUDA_R_64F if wide else runtime.CUDA_R_32F
        self._compute = cublas.CUBLAS_COMPUTE_64F if wide else getattr(cublas, COMPUTE[precision][backward])
        self._operations = cublas.CUBLAS_OP_N, cublas.CUBLAS_OP_T
        self._algorithm = cublas.CUBLAS_GEMM_DEFAULT
        self._zero, self._one = _PLACES[dtype]

    def __call__(
        self,
        a: Array,
        b: Array,
        out: Array,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
        add: bool = False,
    ) -> None:
        at, kind = layout(a, b, out, transpose_a, transpose_b), self._type
        self._multiply(
            self._handle, self._operations[at.transpose_first], self._operations[at.transpose_second],
            at.m, at.n, at.k, self._one, b.data.ptr, kind, at.ld_first, a.data.ptr, kind, at.ld_second,
            self._one if add else self._zero, out.data.ptr, kind, at.ld_out, self._compute, self._algorithm,
        )  # fmt: skip


def rows_against(steps: int, batch: int) -> list[str]:
    """What keeps cuBLAS from one product for all steps of all sequences; nothing does as a rule."""
    if steps * batch <= MOST_ROWS:
        return []
    return [f"{steps} steps of {batch} sequences are more rows than the {MOST_ROWS} of a product of cuBLAS"]


def reason_against(precision: str) -> str:
    """What keeps cuBLAS from multiplying as asked; empty if nothing does."""
    try:
        cublas = importlib.import_module("cupy").cuda.cublas
        cublas.gemmEx, [getattr(cublas, compute) for compute in COMPUTE[precision]]
    except Exception as error:  # a missing library of CUDA raises what it likes
        return f"cuBLAS cannot be used for precision {precision!r} ({type(error).__name__}: {error})"
    return ""
