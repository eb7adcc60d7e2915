"""The cells' sigmoid and tanh in the persistent kernels: how exact they are, and that no thread branches in them."""

import ctypes
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from xprnn.kernels.cuda import plan, source

HERE = Path(__file__).parent
SOURCES = Path(source.__file__).parent
COMPILER = shutil.which("g++") or shutil.which("clang++")
NVCC = shutil.which("nvcc")
# Of sigmoid, absolute. The GPU's exponential and reciprocal are less exact than the CPU's: see BOUNDS.
ON_CPU, ANYWHERE = 1.5e-7, 3e-7

MAIN = """
#define XPRNN_EMULATED
#include "cells.cuh"
extern "C" void sigmoids(const float* x, float* y, int count) {
    for (int i = 0; i < count; ++i) y[i] = sigmoid(x[i]);
}
"""
ON_DEVICE = """
#include "cells.cuh"
extern "C" __global__ void both(const float* x, float* y) {
    y[2 * threadIdx.x] = sigmoid(x[threadIdx.x]);
    y[2 * threadIdx.x + 1] = tanhf(x[threadIdx.x]);
}
"""


@pytest.fixture(scope="module")
def sigmoid(tmp_path_factory):
    """The kernels' sigmoid, compiled for the CPU."""
    if COMPILER is None or sys.platform != "linux":
        pytest.skip("needs a C++ compiler on Linux")
    folder = tmp_path_factory.mktemp("cells")
    (folder / "main.cc").write_text(MAIN)
    library = folder / "cells.so"
    subprocess.run(
        [COMPILER, "-std=c++20", "-O1", "-shared", "-fPIC", "-ffp-contract=off", f"-I{SOURCES}", f"-I{HERE}",
         str(folder / "main.cc"), "-o", str(library)],
        check=True,
    )  # fmt: skip
    compiled = ctypes.CDLL(str(library)).sigmoids

    def run(x):
        y = np.full_like(x, -1.0)
        compiled(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data), x.size)
        return y

    return run


def arguments():
    """Every magnitude, denormals too, and the range where the function bends, in order."""
    info = np.finfo("float32")
    logs = np.geomspace(float(info.smallest_subnormal), float(info.max) * 0.99, 200_001)
    return np.sort(np.concatenate([logs, -logs, np.linspace(-110, 110, 2_000_001)]).astype("float32"))


def test_sigmoid_is_within_its_bound_and_rises(sigmoid):
    x = arguments()
    y = sigmoid(x)
    with np.errstate(over="ignore"):
        exact = 1 / (1 + np.exp(-x.astype("float64")))
    assert np.abs(y - exact).max() <= ON_CPU
    assert (np.diff(y) >= -(2.0**-24)).all()  # neighbours may differ by the last bit
    assert y.min() == 0
    assert (y[x > 18] == 1).all()


def test_sigmoid_of_special_values(sigmoid):
    tiny = np.finfo("float32").smallest_subnormal
    x = np.float32([0.0, -0.0, tiny, -tiny, np.inf, -np.inf, np.nan, 3e38, -3e38, 88.8, -88.8])
    np.testing.assert_array_equal(sigmoid(x)[:-1], [0.5, 0.5, 0.5, 0.5, 1, 0, np.nan, 1, 0, 1])
    assert 0 <= sigmoid(x)[-1] < 1e-38


def test_the_bound_holds_with_what_cuda_promises():
    """__expf: 2 + 1.173 |x| units in the last place; __fdividef: 2; the sum: a half."""
    x = np.linspace(-80, 80, 1_000_001)
    s = 1 / (1 + np.exp(-x))
    unit = 2.0**-23  # the last place of 1 to 2, the largest there is for any number's size
    assert (
        s * (1 - s) * (2 + 1.173 * np.abs(x)) * unit + s * unit / 2 + 2 * np.spacing(s.astype("float32"))
    ).max() <= ANYWHERE


def ptx(folder, text, *options):
    """What nvcc makes of a kernel, with the flag that CuPy adds."""
    kernel, made = folder / "kernel.cu", folder / "kernel.ptx"
    kernel.write_text(text)
    subprocess.run(
        [NVCC, "-arch=sm_90", "-ptx", "-ftz=true", *options, f"-I{SOURCES}", "-o", str(made), str(kernel)],
        check=True, capture_output=True,
    )  # fmt: skip
    return made.read_text()


# Instructions for which the assembler puts a call of a slow way beside the fast one, and its own branches and calls.
SLOW = re.compile(r"\b(?:(?:div|rcp|sqrt)\.r[nzmp]|div\.full|bra|call)\b")


@pytest.mark.skipif(NVCC is None, reason="needs nvcc")
def test_nothing_branches_in_sigmoid_and_tanh(tmp_path):
    text = ptx(tmp_path, ON_DEVICE, "-std=c++17")
    assert "ex2.approx.ftz" in text
    assert not SLOW.search(text)
    exact = ON_DEVICE.replace("sigmoid(x[threadIdx.x])", "1.0f / (1.0f + expf(-x[threadIdx.x]))")
    assert SLOW.search(ptx(tmp_path, exact, "-std=c++17"))


@pytest.mark.skipif(NVCC is None, reason="needs nvcc")
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("cell", plan.GATES)
def test_no_kernel_divides_slowly(tmp_path, cell, backward):
    shape = plan.best(cell, backward, "bf16", 16, 512, 132, 232448)
    text = ptx(tmp_path, source.text(shape.source), *shape.options)
    assert ".approx" in text or (cell, backward) == ("Gru", True)
    assert not re.search(r"\b(?:div|rcp|sqrt)\.(?:r[nzmp]|full)\.ftz|call", text)
