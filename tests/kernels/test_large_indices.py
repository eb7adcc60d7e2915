"""Kernels number elements with 64 bits: beyond 2^31 of them, where memory is mapped but hardly any of it is touched."""

import mmap
import sys

import numpy as np
import pytest

pytest.importorskip("numba")

from xprnn.kernels.cpu import elementwise, loops
from xprnn.kernels.cpu.compiling import kernel
from xprnn.kernels.cpu.intrinsics import address, offset
from xprnn.kernels.cpu.product import padded

FAR = 2**31 + 5
NORESERVE = 0x4000  # Linux's number, which Python's module has not in all versions


@kernel
def write(array, index, value):
    address(array, index)[0] = value
    offset(address(array, 0), index + 1)[0] = value + 1


@pytest.fixture(scope="module")
def large():
    """More than 2^31 float32, all zero, of which pages exist only where they are written to."""
    if sys.platform != "linux":
        pytest.skip("maps memory as Linux does")
    try:
        memory = mmap.mmap(-1, 4 * (FAR + 2**20), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE)
    except (OSError, OverflowError):
        pytest.skip("this system maps no 8 GiB")
    return np.frombuffer(memory, "float32")


def test_addresses(large):
    write(large, FAR, 3.0)
    assert large[FAR : FAR + 3].tolist() == [3.0, 4.0, 0.0]
    assert large[FAR - 2**31 : FAR - 2**31 + 2].tolist() == [0.0, 0.0]
    write(large, FAR, 0.0)


def test_rows_of_a_product(large):
    inputs = 2**16
    row = FAR // inputs
    a, w = large[: (row + 2) * inputs].reshape(row + 2, 1, inputs), np.zeros((padded(1, 4), inputs), "float32")
    a[row, 0, :2] = 2.0, 3.0
    w.reshape(-1)[0] = 1.0  # the first column's first weight, whatever the width of a vector
    columns = w.shape[0]
    c = np.zeros((row + 2, columns), "float32")
    loops.rows_times(a, w, c, row, row + 1)
    assert c[row, 0] == 2.0
    assert not c[:row].any()
    a[row, 0, :2] = 0.0


def test_elements(large):
    x = large[: FAR + 8]
    x[FAR] = 0.5
    elementwise._erf(x, x, FAR, FAR + 1)
    np.testing.assert_allclose(x[FAR], 0.5204999, rtol=1e-6)
    x[FAR] = 0.0
