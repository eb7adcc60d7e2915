"""The persistent kernels on the compiler that CuPy asks, which needs no device: nothing spills, and all is float32."""

import ctypes
import dataclasses
import importlib.util
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from xprnn.kernels.cuda import launch, persistent, plan, source, translate

NVCC = shutil.which("nvcc")
SOURCES = Path(source.__file__).parent
# multiprocessors, shared memory of a block, largest cluster
H100, A100 = ("sm_90", 132, 232448, 8), ("sm_80", 108, 166912, 0)
FTZ = "-ftz=true"  # CuPy adds it

each_cell = pytest.mark.parametrize("cell", plan.GATES)
each_precision = pytest.mark.parametrize("precision", plan.NUMBERS)
each_way = pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])


def nvrtc():
    """NVRTC from its wheel, as CuPy finds it; None where it is not installed."""
    spec = importlib.util.find_spec("nvidia")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for library in sorted(Path(place).glob("*/lib/libnvrtc.so.*")):
            return ctypes.CDLL(str(library))
    return None


needs_nvrtc = pytest.mark.skipif(nvrtc() is None, reason="needs the wheel nvidia-cuda-nvrtc")


def compile_at_run_time(text, options, architecture="sm_90"):
    """As a device would have it, without one; the PTX on the way, and what the compiler says."""
    program, size, library = ctypes.c_void_p(), ctypes.c_size_t(), nvrtc()
    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None)
    options = [option.encode() for option in (*options, FTZ, f"--gpu-architecture={architecture}")]
    status = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    assert status == 0, log.value.decode()
    library.nvrtcGetCUBINSize(program, ctypes.byref(size))
    assert size.value > 0
    library.nvrtcGetPTXSize(program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    library.nvrtcGetPTX(program, ptx)
    return ptx.value.decode(), log.value.decode()


def compiled(shape, architecture):
    """What ptxas says of a plan's kernel, and its PTX."""
    ptx, log = compile_at_run_time(source.text(shape.source), (*shape.options, "--ptxas-options=-v"), architecture)
    return log, ptx


def spilled(report):
    """Bytes of stack frame, stores and loads that would have been registers."""
    found = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)
    return [int(n) for n in found.groups()]


@pytest.mark.slow
@needs_nvrtc
@pytest.mark.parametrize(
    ("device", "batch", "size"),
    [(H100, 64, 1024), (H100, 16, 512), (H100, 16, 256), (A100, 64, 512)],
    ids=["sm_90, H=1024", "sm_90, H=512", "sm_90, H=256, a cluster", "sm_80, H=512"],
)
@each_way
@each_precision
@each_cell
def test_everything_stays_in_registers(cell, precision, backward, device, batch, size):
    architecture, *facts = device
    shapes = plan.candidates(cell, backward, precision, batch, size, *facts)
    shape = min((shape for shape in shapes if (shape.cluster > 0) == (size == 256)), key=plan.microseconds)
    report, ptx = compiled(shape, architecture)
    assert spilled(report) == [0, 0, 0]
    assert ".f64" not in ptx
    mma = {"Float32": set(), "Tf32": {"tf32.tf32"}, "Bf16": {"bf16.bf16"}, "Fp16": {"f16.f16"}}[shape.number]
    assert set(re.findall(r"mma\.sync\S+\.f32\.(\w+\.\w+)\.f32", ptx)) == mma
    assert "satfinite" not in ptx  # it would make the largest number of what is too large
    assert int(re.search(r"Used (\d+) registers", report)[1]) * shape.threads <= plan.REGISTERS


@pytest.mark.slow
@pytest.mark.skipif(NVCC is None, reason="needs nvcc")
@pytest.mark.parametrize(
    ("cell", "backward", "precision", "architecture", "batch", "size", "device"),
    [("Gru", False, "float32", "sm_80", 64, 1024, A100), ("Lstm", True, "tf32", "sm_100", 16, 512, H100)],
)
def test_no_more_is_hoisted_than_there_are_registers_for(
    tmp_path, cell, backward, precision, architecture, batch, size, device
):
    """By the other compiler: of the last, CuPy's spills, and another plan is taken."""
    shapes = plan.candidates(cell, backward, precision, batch, size, *device[1:])
    shape = min((shape for shape in shapes if shape.cluster == shape.polls == 0), key=plan.microseconds)
    command = [NVCC, f"-arch={architecture}", "-cubin", FTZ, "-Xptxas", "-v", *shape.options, "-o", "kernel.cubin"]
    done = subprocess.run(
        [*command, str(SOURCES / shape.source)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert spilled(done.stdout + done.stderr) == [0, 0, 0]


@needs_nvrtc
def test_weights_for_shared_memory_are_loaded_several_at_once():
    """One after another, each would wait for memory."""
    shape = plan.best("Lstm", True, "float32", 16, 1024, *H100[1:])
    assert shape.rest > 0

    def loads(text):
        return len(re.findall(r"\bld\.global", compile_at_run_time(text, shape.options)[0]))

    text = source.text(shape.source)
    loop = "i < REST; ++i) rest"
    at = text.rindex("#pragma unroll", 0, text.index(loop))
    one_by_one = text[:at] + "#pragma unroll 1" + text[text.index("\n", at) :]
    assert loads(text) >= loads(one_by_one) + 3 * 4


@needs_nvrtc
def test_a_plan_for_more_registers_than_there_are_spills():
    shape = plan.best("Lstm", False, "bf16", 64, 1024, *H100[1:])
    report, _ = compiled(dataclasses.replace(shape, warps=16, inner=2048, held=4), "sm_90")
    assert spilled(report) != [0, 0, 0]


@needs_nvrtc
@each_way
@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_one_text_compiles_at_run_time(precision, backward):
    shape = plan.best("Lstm", backward, precision, 16, 512, *H100[1:])
    text = source.text(shape.source)
    assert '#include "device.cuh"' not in text
    compile_at_run_time(text, shape.options)


@needs_nvrtc
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_pointwise_kernels_compile_at_run_time(dtype):
    ptx, _ = compile_at_run_time(translate.text(), launch.options(dtype))
    assert (re.search(r"\w\.f64\b", ptx) is not None) == (dtype == "float64")


@needs_nvrtc
def test_what_is_chosen_keeps_all_in_registers_whatever_the_compiler_makes_of_the_best(monkeypatch):
    """On an RTX 5090 the best plan of one block spilled."""

    def compiled(number, file, name, options):
        log = compile_at_run_time(source.text(file), (*options, "--ptxas-options=-v"), "sm_120")[1]
        return SimpleNamespace(kernel=SimpleNamespace(ptr=0), local_size_bytes=spilled(log)[0])

    everything_fits = lambda pointer, threads, shared: 1
    driver = SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=everything_fits)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(driver=driver)))
    facts = launch.Facts(0, (12, 0), 170, 101376, True)
    monkeypatch.setattr(launch, "facts", lambda: facts)
    alone = lambda *shape: [shape for shape in plan.candidates(*shape) if shape.cluster == 1]
    monkeypatch.setattr(persistent, "best_plan", lambda *shape: min(alone(*shape), key=plan.microseconds))
    monkeypatch.setattr(persistent, "_kernel", cache(compiled))
    persistent._reason_against.cache_clear()
    chosen, reason = persistent._chosen(facts, "Lstm", True, "tf32", 16, 64)
    persistent._reason_against.cache_clear()
    assert reason == ""
    assert persistent._kernel(0, chosen.source, chosen.name, chosen.options).local_size_bytes == 0


def test_a_kernels_text_is_whole_and_includes_nothing_twice():
    for name in ("forward.cu", "backward.cu"):
        text = source.text(name)
        assert re.findall(r'#include "(.*)"', text) == ["cuda_emulator.h"]  # which only tests ask for
        assert text.count("struct GroupBarrier {") == text.count("struct Lstm {") == text.count("struct Tf32 {") == 1
