"""Memory that is used again."""

import platform
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("numba")

from xprnn.kernels.cpu.scratch import KEPT_BYTES, LINE, lined, scratch

FAULTS = """
import resource
import numpy as np
import xprnn
{load}

def step():
    return [np.ones(1 << 20) for _ in range(4)]  # 8 MiB each

for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10)
"""


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16"])
@pytest.mark.parametrize("shape", [(), (5,), (3, 4, 7)])
def test_an_array_begins_on_a_cache_line(shape, dtype):
    arrays = [lined(shape, dtype) for _ in range(4)]
    assert {array.ctypes.data % LINE for array in arrays} == {0}
    assert {(array.shape, array.dtype.name, array.flags.c_contiguous) for array in arrays} == {(shape, dtype, True)}
    assert scratch("in a line", shape, dtype).ctypes.data % LINE == 0


def test_an_array_of_the_same_name_is_used_again():
    first = scratch("a test", (3, 4), "float32")
    address = first.ctypes.data
    assert scratch("a test", (2, 5), np.float32).ctypes.data == address
    assert scratch("a test", (2, 5), "float64").ctypes.data != address
    assert scratch("another", (3, 4), "float32").ctypes.data != address
    assert scratch("a test", (KEPT_BYTES // 4 + 1,), "float32").size == KEPT_BYTES // 4 + 1
    assert scratch("a test", (3, 4), "float32").ctypes.data == address


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have their own ways")
def test_freed_arrays_stay_in_the_process():
    faults = {}
    for name, load in (("without", ""), ("with", "import xprnn.kernels.cpu")):
        code = FAULTS.format(load=load)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        faults[name] = float(done.stdout)
    assert faults["with"] < 100, faults
    assert faults["without"] > 10 * faults["with"], f"it would have been so without us: {faults}"
