"""What the CUDA paths ask of CuPy, asked of CuPy itself, as far as it goes without a device."""

import ctypes
import inspect
import re
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("cupy")

import cupy
from cupy.cuda import compiler
from xprnn.kernels.cuda import launch, persistent, plan, pointwise, product, source, translate

DEVICES = {"90": (132, 232448), "80": (108, 166912)}  # compute capability: multiprocessors, shared memory of a block
SHAPES = [(1, 128), (16, 512), (64, 1024)]  # sequences, units

each_device = pytest.mark.parametrize("capability", DEVICES)
each_way = pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])


@pytest.fixture
def compiled(monkeypatch):
    """Takes what RawModule is given through all that RawModule does, but for loading what came out: a cubin."""
    if not cupy.__version__.startswith("14."):
        pytest.skip("this knows the inside of CuPy 14 only")
    cubins = []

    class Module(cupy.cuda.function.Module):
        def load(self, cubin):
            cubins.append(cubin)

    monkeypatch.setattr(compiler, "function", SimpleNamespace(Module=Module))
    nothing_kept = SimpleNamespace(load=lambda name: None, save=lambda *arguments: None)
    monkeypatch.setattr(compiler, "_kernel_cache_backend", nothing_kept)
    ask = inspect.unwrap(compiler._get_arch_for_options_for_nvrtc)  # wrapped, it asks which device is current
    monkeypatch.setattr(compiler, "_get_arch_for_options_for_nvrtc", ask)
    try:
        compiler._get_nvrtc_version()
    except Exception as error:
        pytest.skip(f"NVRTC cannot be used: {error}")

    def compiled(text, options, capability):
        cupy._core.core.compile_with_cache(
            text, options, capability, prepend_cupy_headers=False, enable_cooperative_groups=True
        )
        return cubins.pop()

    return compiled


@pytest.mark.slow
@each_device
@each_way
@pytest.mark.parametrize("cell", plan.GATES)
@pytest.mark.parametrize("precision", plan.NUMBERS)
def test_the_kernels_compile_as_cupy_compiles_them(compiled, precision, cell, backward, capability):
    for batch, size in SHAPES:
        shape = plan.best(cell, backward, precision, batch, size, *DEVICES[capability])
        if shape is not None:
            cubin = compiled(source.text(shape.source), shape.options, capability)
            assert cubin.startswith(b"\x7fELF")
            assert re.search(rb"\.text\.%b\0" % shape.name.encode(), cubin)  # the name that get_function is asked for


@each_device
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_pointwise_kernels_compile_as_cupy_compiles_them(compiled, dtype, capability):
    cubin = compiled(translate.text(), launch.options(dtype), capability)
    for name in pointwise.KERNELS:
        assert re.search(rb"\.text\.%b\0" % name.encode(), cubin)


def test_a_mistake_in_a_kernel_is_an_exception(compiled):
    shape = plan.best("Lstm", False, "float32", 16, 512, *DEVICES["90"])
    with pytest.raises(compiler.CompileException, match="no_such_thing"):
        compiled(source.text(shape.source) + "\nno_such_thing x;", shape.options, "90")


def test_modules_take_what_we_give_them():
    shape = plan.best("Lstm", False, "float32", 16, 512, *DEVICES["90"])
    cupy.RawModule(code=source.text(shape.source), options=shape.options, enable_cooperative_groups=True)
    cupy.RawModule(code=translate.text(), options=launch.options("float32"))
    for name in ("kernel", "num_regs", "local_size_bytes", "max_dynamic_shared_size_bytes"):
        assert inspect.isdatadescriptor(getattr(cupy.RawKernel, name))
    assert inspect.isdatadescriptor(cupy.cuda.function.Function.ptr)


@pytest.mark.parametrize("value", [np.int32(-7), np.int64(2**40), persistent.NULL])
def test_a_number_comes_to_a_kernel_in_its_own_width(value):
    scalar = pytest.importorskip("cupy._core._scalar").CScalar(value)
    assert scalar.dtype == value.dtype
    assert ctypes.string_at(scalar.ptr, value.itemsize) == value.tobytes()


def test_errors_of_a_text_have_the_name_we_know():
    assert issubclass(cupy.cuda.compiler.CompileException, Exception)


def test_a_device_has_the_facts():
    runtime = cupy.cuda.runtime
    for name in (
        "MultiProcessorCount",
        "MaxSharedMemoryPerBlockOptin",
        "CooperativeLaunch",
    ):
        assert hasattr(runtime, f"cudaDevAttr{name}")  # Device.attributes has all that begin so
    for name in ("id", "attributes", "compute_capability"):
        assert hasattr(cupy.cuda.Device, name)


def parameters(function):
    """The names of a compiled function's parameters, from the first line of its documentation."""
    return re.findall(r"(\w+)(?=[,)])", function.__doc__.splitlines()[0])


def test_functions_have_their_arguments_in_our_order():
    try:
        cublas, driver = cupy.cuda.cublas, cupy.cuda.driver
    except ImportError as error:
        pytest.skip(f"cuBLAS is not installed ({error})")
    operands = ["alpha", "A", "Atype", "lda", "B", "Btype", "ldb", "beta", "C", "Ctype", "ldc"]
    how = ["computeType", "algo"]
    assert parameters(cublas.gemmEx) == ["handle", "transa", "transb", "m", "n", "k", *operands, *how]
    occupancy = driver.occupancyMaxActiveBlocksPerMultiprocessor
    assert parameters(occupancy) == ["func", "blockSize", "dynamicSMemSize"]
    assert parameters(cupy.cuda.device.get_cublas_handle) == []
    for name in ("CUBLAS_OP_N", "CUBLAS_OP_T", "CUBLAS_GEMM_DEFAULT", "CUBLAS_COMPUTE_64F"):
        assert isinstance(getattr(cublas, name), int)
    assert isinstance(cupy.cuda.runtime.CUDA_R_32F, int)
    assert isinstance(cupy.cuda.runtime.CUDA_R_64F, int)
    for precision in product.COMPUTE:
        assert product.reason_against(precision) == ""
