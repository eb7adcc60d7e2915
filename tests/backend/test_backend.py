import importlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import array_api_strict
import numpy as np
import pytest
from helpers import host, leaf

import xprnn
from xprnn import backend, namespace, nn, to_backend, to_numpy, use_backend
from xprnn.backend import backend_of, default_backend

STRICT = array_api_strict
DEVICE1 = STRICT.Device("device1")

# --- which library an array belongs to ------------------------------------------------------------------------------


def test_namespace_passes_over_numbers_and_none(home):
    x = home.asarray(np.ones(2))
    assert namespace(x, None, 1, 2.0, True) is namespace(x) is home.xp
    assert namespace(x=x, state=None) is home.xp
    assert backend_of(x).name == home.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected at least one array, got none"),
        ((None, 1.0), "expected at least one array"),
        (("text",), "argument 0 is a str; expected an array"),
        ((np.ones(2), [1.0]), "argument 1 is a list; expected an array"),
        ((np.ones(2), STRICT.ones(2)), "argument 0 is a numpy ndarray .* but argument 1 is a array_api_strict Array"),
        ((STRICT.ones(2), STRICT.ones(2, device=DEVICE1)), "CPU_DEVICE.* but argument 1 .*device1"),
        ((np.ones(2), xprnn.Tensor([1.0])), "argument 0 is a numpy ndarray .* argument 1 is a xprnn Tensor"),
    ],
)
def test_namespace_refuses(arguments, message):
    with pytest.raises(TypeError, match=message):
        namespace(*arguments)


def test_namespace_names_its_arguments():
    with pytest.raises(TypeError, match=r"^x is a numpy ndarray.* but weight is a array_api_strict.*xprnn.to_backend"):
        namespace(x=np.ones(2), h=None, weight=STRICT.ones(2))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_dtype_name_is_the_same_everywhere(home, dtype):
    assert backend.dtype_name(home.asarray(np.ones(2), dtype)) == dtype


def test_another_byte_order_is_named_with_its_remedy():
    order = "big" if sys.byteorder == "little" else "little"
    foreign = lambda kind: np.ones((3, 1, 2), np.dtype(kind).newbyteorder())
    message = rf"x has dtype {order}-endian float32 \(.astype\('float32'\) casts it\); expected float32"
    with pytest.raises(TypeError, match=message):
        nn.LSTM(2, 3)(foreign("float32"))
    with pytest.raises(TypeError, match=rf"x has dtype {order}-endian int64 \(.*\); expected integers"):
        nn.Embedding(2, 3)(foreign("int64"))
    with pytest.raises(TypeError, match=rf"this Tensor has {order}-endian float64"):
        xprnn.Parameter(foreign("float64"))


# --- arrays of other libraries ---------------------------------------------------------------------------------------


class Foreign:
    """An array of a library that speaks the array API, whose namespace may be called anything."""

    shape, ndim, dtype, device = (2, 3), 2, np.dtype("float32"), "chip"

    def __init__(self, name):
        self.name = name

    def __array_namespace__(self, api_version=None):
        return SimpleNamespace(__name__=self.name)

    def __array__(self, dtype=None, copy=None):
        return np.full((2, 3), 7.0, "float32")


def foreign(name):
    return type(f"Array_{name.replace('.', '_')}", (Foreign,), {"__module__": name.split(".")[0]})(name)


NAMESPACES = [
    "jax.numpy",
    "numpy",
    "other.cupy",
    "array_api_compat.torch",
    "a.array_api_strict",
    "dask.array",
    "xprnnx",
]


@pytest.mark.parametrize("name", NAMESPACES)
@pytest.mark.parametrize(
    "call",
    [
        xprnn.Tensor,
        namespace,
        xprnn.ops.tanh,
        lambda x: xprnn.ops.add(x, np.ones((2, 3), "float32")),
        lambda x: xprnn.Tensor(np.ones((2, 3), "float32")) * x,
        lambda x: namespace(x=np.ones(3), y=x),
        xprnn.nn.Linear(3, 1),
        xprnn.nn.LSTM(3, 1),
        backend_of,
    ],
)
def test_arrays_of_other_libraries_are_refused_by_name(name, call):
    with pytest.raises(TypeError, match=rf"{name.split('.')[0]} Array_\w+ on device chip; .*xprnn.to_backend"):
        call(foreign(name))


@pytest.mark.parametrize("name", NAMESPACES)
def test_arrays_of_other_libraries_are_taken_over_where_that_is_asked_for(name, home):
    taken = to_backend(foreign(name), home)
    assert type(taken) is type(home.zeros((1,), "float32"))
    assert host(taken).tolist() == [[7.0] * 3] * 2
    assert type(to_numpy(foreign(name))) is np.ndarray


def test_an_array_without_a_device_is_refused_by_name():
    class Lazy:
        shape = (2,)

        def __array_namespace__(self, api_version=None):
            return SimpleNamespace(__name__="lazy")

    with pytest.raises(TypeError, match="Lazy; expected an array of NumPy or CuPy"):
        xprnn.Tensor(Lazy())


def test_jax_arrays():
    jax = pytest.importorskip("jax.numpy")
    x = jax.ones((2, 3))
    for call in (xprnn.Tensor, xprnn.ops.tanh, xprnn.nn.Linear(3, 1), lambda x: xprnn.nn.LSTM(3, 1)(x)):
        with pytest.raises(TypeError, match="jaxlib.* expected an array of NumPy or CuPy"):
            call(x)
    for mixed in (lambda: xprnn.Tensor(np.ones(3, "float32")) * x, lambda: x * xprnn.Tensor(np.ones(3, "float32"))):
        with pytest.raises(TypeError, match="jaxlib"):
            mixed()
    assert type(to_backend(x, "numpy")) is type(to_numpy(x)) is np.ndarray
    assert namespace(to_backend(x, "array_api_strict")) is STRICT


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    x = torch.ones((2, 3))
    for call in (
        xprnn.Tensor,
        xprnn.ops.tanh,
        xprnn.nn.Linear(3, 1),
        lambda x: xprnn.Tensor(np.ones(3, "float32")) * x,
    ):
        with pytest.raises(TypeError, match="torch Tensor on device cpu; expected an array of NumPy or CuPy"):
            call(x)
    assert type(to_backend(x, "numpy")) is np.ndarray


def test_any_array_with_dlpack_is_taken_over_where_that_is_asked_for():
    class Exporter:
        def __init__(self, array):
            self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__

    x = np.arange(6.0).reshape(2, 3)
    with pytest.raises(TypeError, match="Exporter; expected an array"):
        xprnn.Tensor(Exporter(x))
    assert np.shares_memory(to_backend(Exporter(x), "numpy"), x)
    assert np.shares_memory(to_backend(xprnn.Tensor(x), "numpy"), x)


@pytest.mark.parametrize("library", ["pyarrow", "polars"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_arrow_arrays(library, dtype):
    arrow = pytest.importorskip(library)
    values = np.arange(5, dtype=dtype)
    make = arrow.array if library == "pyarrow" else arrow.Series
    whole = make(values)
    found = to_backend(whole, "numpy")
    assert found.dtype == dtype
    assert np.shares_memory(found, whole.to_numpy())
    np.testing.assert_array_equal(found, values)
    many = arrow.chunked_array([values, values]) if library == "pyarrow" else whole
    assert len(to_backend(many, "numpy")) >= 5
    with pytest.raises(ValueError, match="1 nulls, which no array can hold"):
        to_backend(make([1.0, None]), "numpy")


# --- moving ---------------------------------------------------------------------------------------------------------


def test_to_numpy_gives_back_the_values(home, rng):
    values = rng.standard_normal((2, 3))
    array = home.asarray(values)
    np.testing.assert_array_equal(to_numpy(array), values)
    np.testing.assert_array_equal(to_numpy(leaf(home, values)), values)
    assert to_numpy(values) is values


def test_to_backend_moves_and_does_not_copy_in_vain(home):
    values = np.arange(6.0, dtype="float32").reshape(2, 3)
    there = to_backend(values, home)
    assert backend_of(there) == backend_of(home.zeros((1,), "float32"))
    assert backend.dtype_name(there) == "float32"
    assert to_backend(there, home) is there
    np.testing.assert_array_equal(to_backend(there, "numpy"), values)


def test_to_backend_moves_between_devices():
    there = to_backend(STRICT.ones(2), "array_api_strict", DEVICE1)
    assert there.device == DEVICE1
    assert to_backend(there, "array_api_strict", STRICT.Device("CPU_DEVICE")).device != DEVICE1


@pytest.mark.parametrize("values", [2.5, 3, True, [1.0, 2.0], np.float32(1.5)])
def test_asarray_takes_host_values(home, values):
    array = home.asarray(values, "float32")
    assert backend_of(array).name == home.name
    assert backend.dtype_name(array) == "float32"
    assert host(array).tolist() == np.asarray(values, "float32").tolist()


def test_synchronize_has_nothing_to_wait_for_on_the_cpu(home):
    xprnn.synchronize(home.zeros((1,), "float32"))
    xprnn.synchronize()


# --- the default ----------------------------------------------------------------------------------------------------


def test_use_backend_decides_where_arrays_are_made():
    with use_backend("array_api_strict", DEVICE1) as chosen:
        assert default_backend() is chosen
        assert str(chosen) == "array_api_strict on array_api_strict.Device('device1')"
        assert xprnn.Tensor([1.0]).device == DEVICE1
        assert xprnn.nn.Linear(2, 3).weight.device == DEVICE1
        with use_backend("numpy"):
            assert default_backend().name == "numpy"
        assert default_backend() is chosen
    assert default_backend().name == "numpy"


def test_use_backend_ends_with_an_error():
    with pytest.raises(ZeroDivisionError), use_backend("array_api_strict"):
        raise ZeroDivisionError
    assert default_backend().name == "numpy"


def test_use_backend_as_a_call_stays():
    assert repr(use_backend("array_api_strict")) == "use_backend('array_api_strict')"
    assert default_backend().name == "array_api_strict"


def test_unknown_backend_changes_nothing():
    before = default_backend()
    with pytest.raises(
        ValueError, match="'tpu' is unknown; expected 'auto' or one of 'numpy', 'cupy', 'array_api_strict'"
    ):
        use_backend("tpu")
    assert default_backend() is before


# --- CuPy, without a GPU --------------------------------------------------------------------------------------------


@pytest.fixture
def no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)


def fake_cupy(devices, ones=None):
    def get_device_count():
        if isinstance(devices, Exception):
            raise devices
        return devices

    runtime = SimpleNamespace(getDeviceCount=get_device_count)
    return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime), ones=ones)


def broken(n):
    raise RuntimeError("cannot\ncompile")


CUPY = {
    "not installed": (None, r"cupy .*: pip install 'xprnn\[cuda12\]'"),
    "no driver": (
        fake_cupy(RuntimeError("cudaErrorInsufficientDriver: too old")),
        r"cannot use a GPU \(cudaErrorInsufficientDriver: too old\): check the NVIDIA driver with nvidia-smi",
    ),
    "no device": (fake_cupy(0), "CuPy is installed but finds no CUDA device"),
    "broken kernels": (fake_cupy(1, broken), r"cannot use a GPU \(cannot compile\)"),
    "wrong results": (fake_cupy(1, np.zeros), "computes 1 \\+ 1 wrongly"),
}
each_failure = pytest.mark.parametrize(("module", "message"), CUPY.values(), ids=CUPY.keys())


@each_failure
def test_cupy_that_cannot_work_says_why_and_changes_nothing(module, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", module)
    before = default_backend()
    with pytest.raises(RuntimeError, match=f"backend 'cupy' cannot be used: .*{message}"):
        use_backend("cupy")
    assert default_backend() is before


@each_failure
def test_auto_takes_numpy_then_and_says_so(module, message, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "cupy", module)
    with caplog.at_level(logging.INFO, "xprnn"), use_backend("auto") as chosen:
        assert chosen.name == "numpy"
    assert "backend 'auto' is numpy" in caplog.text


def test_cupy_missing_and_cupy_broken_are_told_apart(monkeypatch):
    def import_module(name):
        raise error

    monkeypatch.setattr(importlib, "import_module", import_module)
    error = ModuleNotFoundError("No module named 'cupy'", name="cupy")
    assert backend.available_backends()["cupy"].startswith("cupy is not installed: pip install")
    error = ImportError("libcudart.so.12 is missing")
    assert "cupy does not import (libcudart.so.12 is missing)" in backend.available_backends()["cupy"]


@pytest.mark.usefixtures("no_cupy")
def test_available_backends_lists_all_with_reasons():
    found = xprnn.available_backends()
    assert list(found) == ["numpy", "cupy", "array_api_strict"]
    assert found["numpy"] == found["array_api_strict"] == ""
    assert found["cupy"]


@pytest.mark.usefixtures("no_cupy")
def test_a_module_that_cannot_move_stays():
    layer = xprnn.nn.Linear(2, 1)
    weight = layer.weight.data
    with pytest.raises(RuntimeError, match="backend 'cupy' cannot be used"):
        layer.to("cupy")
    assert layer.weight.data is weight


@pytest.mark.gpu
def test_cupy_that_works():
    if reason := xprnn.available_backends()["cupy"]:
        pytest.skip(reason)
    with use_backend("auto") as chosen:
        assert chosen.name == "cupy"
        layer = xprnn.nn.LSTM(2, 3, rng=0)
    x = np.ones((4, 1, 2), "float32")
    output, _ = layer(to_backend(x, "cupy"))
    np.testing.assert_allclose(to_numpy(output), to_numpy(xprnn.nn.LSTM(2, 3, rng=0)(x)[0]), atol=1e-6)
    xprnn.synchronize(output.data)


# --- the environment variable ---------------------------------------------------------------------------------------


def default_with(value):
    code = "from xprnn.backend import default_backend; print(default_backend().name)"
    paths = os.pathsep.join([str(Path(xprnn.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"XPRNN_BACKEND": value, "PYTHONPATH": paths}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


def test_environment_variable_sets_the_default():
    assert default_with("array_api_strict").stdout.strip() == "array_api_strict"


def test_environment_variable_with_an_unknown_name():
    assert "backend 'tpu' is unknown; expected" in default_with("tpu").stderr


def test_devices_have_names(monkeypatch):
    assert backend.devices("numpy")[0].startswith("CPU, ")
    assert len(backend.devices("array_api_strict")) >= 2
    properties = {"name": b"Some GPU", "totalGlobalMem": 80 * 2**30}
    runtime = SimpleNamespace(getDeviceCount=lambda: 1, getDeviceProperties=lambda k: properties)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)))
    assert backend.devices("cupy") == ["0: Some GPU, 80 GiB"]
