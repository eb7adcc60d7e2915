"""The pointwise kernels as CUDA C++: against the Python they come from, and on NVIDIA's compilers, without a device."""

import ctypes
import itertools
import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from emulator import COMPILER, shared_library
from mapped_memory import mapped
from xprnn.kernels.cuda import launch, pointwise, translate

NVCC = shutil.which("nvcc")
each_kernel = pytest.mark.parametrize("name", pointwise.KERNELS)
both_types = pytest.mark.parametrize("dtype", ["float32", "float64"])

MAIN = """
#include "cuda_emulator.h"
using std::tanh;
#include "kernels.cu"
"""
LAUNCH = """
extern "C" int launch_{name}(void* const* arguments, unsigned columns, unsigned rows, unsigned threads) {{
    return emulator::launch<{name}>({name}, arguments, {{columns, rows}}, {{threads}}, 1, 0, 1);
}}
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """The kernels of both types, compiled for the CPU."""
    if not COMPILER:
        pytest.skip("needs a C++ compiler on Linux")
    folder = tmp_path_factory.mktemp("pointwise")
    (folder / "kernels.cu").write_text(translate.text())
    main = MAIN + "".join(LAUNCH.format(name=name) for name in pointwise.KERNELS)
    found = {}
    for dtype in ("float32", "float64"):
        options = launch.options(dtype)[1], f"-I{folder}"
        found[dtype] = shared_library(tmp_path_factory, main, folder / f"{dtype}.so", *options)
    return found


def emulated(library, name, size, batch, arrays, numbers):
    """One launch of several small blocks, with as many rows as launch.py may give it or fewer."""
    values = [ctypes.c_void_p(a.ctypes.data) for a in arrays] + [ctypes.c_longlong(n) for n in numbers]
    pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
    assert getattr(library, f"launch_{name}")(pointers, -(-size // 32), min(batch, 2), 32) == 0


def as_python(monkeypatch, name, size, batch, arrays, numbers):
    """The same, one thread after another."""
    for unit, row in itertools.product(range(size), range(min(batch, 2))):
        index, dim = SimpleNamespace(y=row), SimpleNamespace(y=min(batch, 2))
        grid = SimpleNamespace(grid=lambda _, unit=unit: unit, blockIdx=index, gridDim=dim)
        monkeypatch.setattr(pointwise, "cuda", grid)
        pointwise.KERNELS[name](*arrays, *numbers)


ROWS = {"z": 12 * 4, "dz": 12 * 4, "zh": 4 * 4, "bias": 4, "p": 3, "dzx": 12 * 3, "dzh": 12 * 3, "dh": 4, "dc": 4}
ROWS |= {"hs": 16, "cs": 16, "dhs": 12, "dcs": 12}


@both_types
@each_kernel
def test_both_languages_say_the_same(monkeypatch, libraries, name, dtype):
    draws, (t, batch) = np.random.default_rng(0), (1, 4)
    for k, options in enumerate(draws.choice(256, 40, replace=False)):
        size = 5 if k else 40  # of two blocks
        arrays = [
            draws.integers(0, 4, 12).astype("uint8")
            if parameter == "flags"
            else draws.uniform(-1, 1, ROWS[parameter] * size).astype(dtype)
            for parameter in launch.array_parameters(name)
        ]
        expected, numbers = [array.copy() for array in arrays], (t, batch, size, int(options))
        as_python(monkeypatch, name, size, batch, expected, numbers)
        emulated(libraries[dtype], name, size, batch, arrays, numbers)
        for a, b in zip(arrays, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-13 if dtype == "float64" else 2e-6)


@both_types
def test_nan_is_not_hidden(libraries, dtype):
    z, zh, bias = (np.full(n, np.nan, dtype) for n in (8, 4, 4))
    for options in (0, pointwise.RELU):
        hs, flags = np.zeros(12, dtype), np.zeros(1, "uint8")
        emulated(libraries[dtype], "elman_forward", 4, 1, [z, zh, bias, hs, flags], (1, 1, 4, options))
        assert np.isnan(hs[8:]).all()


def test_elements_are_numbered_with_64_bits(libraries):
    """The last step of so many that gates lie beyond 2^31 elements, in memory that is mapped and hardly touched."""
    size, steps = 32, 2**24 + 3
    draws, arrays = np.random.default_rng(0), {}
    for name in launch.array_parameters("lstm_forward"):
        rows = {"z": 4 * steps, "hs": steps + 1, "cs": steps + 1}.get(name, 4)
        arrays[name] = mapped((rows, size)) if name != "flags" else np.zeros(1, "uint8")
        if name != "flags":
            arrays[name][-4:] = draws.uniform(-1, 1, (4, size) if rows >= 4 else (rows, size))
    assert arrays["z"].size > 2**31
    near = {name: array[-4:].copy() if name != "flags" else array.copy() for name, array in arrays.items()}
    options = pointwise.KEEP
    emulated(libraries["float32"], "lstm_forward", size, 1, [*arrays.values()], (steps - 1, 1, size, options))
    # The same step as the last of one, whose states before and after it are the last two.
    near["hs"], near["cs"] = near["hs"][-2:].copy(), near["cs"][-2:].copy()
    emulated(libraries["float32"], "lstm_forward", size, 1, [*near.values()], (0, 1, size, options))
    for name in ("z", "hs", "cs"):
        np.testing.assert_array_equal(arrays[name][-len(near[name]) :], near[name])


def test_arrays_of_further_parts_of_a_state(monkeypatch):
    def many_forward(hs, ms, flags, t, batch, size, options):
        hs[t] = ms[t]

    monkeypatch.setitem(pointwise.KERNELS, "many_forward", many_forward)
    launch.array_parameters.cache_clear()
    real = "real* __restrict__"
    assert [translate._type(name) for name in ("hs", "ms", "t", "batch")] == [real, real, *["long long"] * 2]
    launch.array_parameters.cache_clear()


def test_what_has_no_translation_is_refused():
    def refused(text):
        import ast

        function = ast.parse(text).body[0]
        with pytest.raises(TypeError, match="nothing in CUDA"):
            translate._Function(function, {"tanh": "real"}, {"z": "real* __restrict__", "t": "long long"}).text()

    refused("def f(z, t):\n    while t: pass")
    refused("def f(z, t):\n    z[t] **= 2")
    refused("def f(z, t):\n    z[t] = t // 2")
    refused("def f(z, t):\n    z[t] = unknown(t)")
    refused("def f(z, t):\n    z[t], t = t, z[t]")  # one after another it would be another thing


def ptx(folder, dtype, *options):
    """What nvcc makes of the kernels, and what the assembler says."""
    (folder / "kernels.cu").write_text(translate.text())
    report = ""
    for kind in ("-ptx", "-cubin"):
        done = subprocess.run(
            [NVCC, "-arch=sm_90", kind, "-ftz=true", "-Xptxas", "-v", *launch.options(dtype), *options,
             "-o", str(folder / f"kernels{kind}"), str(folder / "kernels.cu")],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        report += done.stdout + done.stderr
    return (folder / "kernels-ptx").read_text(), report


@pytest.mark.skipif(NVCC is None, reason="needs nvcc")
@both_types
def test_float32_stays_float32_and_nothing_spills(tmp_path, dtype):
    text, report = ptx(tmp_path, dtype)
    assert (re.search(r"\w\.f64\b", text) is not None) == (dtype == "float64")
    entries = dict(re.findall(r"\.visible \.entry (\w+)\((.*?)\)", text, re.DOTALL))
    assert set(entries) == set(pointwise.KERNELS)
    for name, declared in entries.items():
        assert re.findall(r"\.param \.(\w+)", declared) == ["u64"] * (len(launch.array_parameters(name)) + 4)
    spills = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert spills == [("0", "0", "0")] * len(pointwise.KERNELS)
    assert max(map(int, re.findall(r"Used (\d+) registers", report))) <= 64
