"""Which CUDA path takes a call, and what happens where none can: always the next one, with the reason shown."""

import sys

import fake_cupy
import numpy as np
import pytest
from helpers import host
from xprnn.kernels import kinds
from xprnn.kernels.cuda import launch, step

import xprnn
from xprnn import nn
from xprnn.engine import cuda

PATHS = ("cuda-persistent", "cuda-step")


@pytest.fixture
def cupy(monkeypatch):
    """A stand-in for CuPy, with a device that nothing is wrong with."""
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy)
    monkeypatch.setattr(launch, "simulated", lambda: False)
    kept = (launch._facts, launch.loaded, launch._module, step._reason_on)
    for one in kept:
        one.cache_clear()
    yield fake_cupy
    for one in kept:
        one.cache_clear()


def on_cupy(layer):
    for parameter in layer.parameters():
        parameter.data = fake_cupy.array(parameter.data)
    return layer


def verdict(layer, x, path):
    state = [fake_cupy.array(np.zeros((1, x.shape[1], layer.hidden_size), layer.dtype)) for _ in layer.state_names]
    said = xprnn.explain(layer, fake_cupy.array(x), state[0] if len(state) == 1 else tuple(state))
    assert ": runs" in said  # whoever declines, another takes the call
    return next(line.strip() for line in said.splitlines() if line.strip().startswith(path))


X = np.ones((4, 2, 3), "float32")


@pytest.mark.parametrize("path", PATHS)
def test_other_arrays_are_declined(path):
    said = xprnn.explain(nn.GRU(3, 4, rng=0), X)
    assert f"{path}: declines (x is a numpy.ndarray, not a CuPy array)" in said
    with xprnn.use_kernels(path), pytest.raises(xprnn.engine.dispatch.DeclinedError, match="not a CuPy array"):
        nn.GRU(3, 4, rng=0)(X)


@pytest.mark.usefixtures("cupy")
def test_cells_without_kernels_are_declined():
    for layer, cell in (
        (nn.LSTM(3, 4, proj_size=2), "LSTM projected to 2"),
        (nn.LSTM(3, 4, peephole="full"), "FullPeepholeLSTM"),
        (nn.GRU(3, 4, reset_after=False), "ResetBeforeGRU"),
    ):
        call = xprnn.engine.reference.SequenceCall(layer.cell, {}, fake_cupy.array(X), ())
        assert cuda.STEP.reasons_against(call) == [f"no kernel for the cell {cell}"]
    assert verdict(on_cupy(nn.RNN(3, 4)), X, "cuda-persistent").endswith("no kernel for the cell Elman (tanh))")


def test_with_a_broken_driver(cupy, monkeypatch):
    def broken(*args):
        raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")

    monkeypatch.setattr(cupy.cuda, "Device", broken)
    for path in PATHS:
        assert "CuPy cannot use the device (RuntimeError: cudaErrorInsufficientDriver" in verdict(
            on_cupy(nn.GRU(3, 4)), X, path
        )


def test_with_too_old_a_device(cupy, monkeypatch):
    old = vars(fake_cupy.Device()) | {"compute_capability": "61"}
    monkeypatch.setattr(cupy.cuda, "Device", lambda number=0: type("Device", (), old)())
    for path in PATHS:
        assert "the device has compute capability 6.1" in verdict(on_cupy(nn.GRU(3, 4)), X, path)


class Failing:
    """A module of kernels, of which the first few do not load."""

    def __init__(self, error, times):
        self.error, self.times, self.asked = error, times, 0

    def __call__(self, **text):
        return self

    def get_function(self, name):
        self.asked += 1
        if self.asked <= self.times:
            raise self.error
        return type("Kernel", (), {"num_regs": 32})()


def test_want_of_memory_passes(cupy, monkeypatch):
    module = Failing(MemoryError("cudaErrorMemoryAllocation: out of memory"), 1)
    monkeypatch.setattr(cupy, "RawModule", module)
    reasons = lambda: step.reasons_against(kinds.GRU, 4, 2, 4, "float32", "float32")
    assert reasons() == [
        "the kernels cannot be compiled and loaded (MemoryError: cudaErrorMemoryAllocation: out of memory)"
    ]
    assert reasons() == []
    asked = module.asked
    assert reasons() == []
    assert module.asked == asked  # looked for once


def test_a_text_that_does_not_compile_is_not_compiled_again(cupy, monkeypatch):
    module = Failing(cupy.CompileException("nvrtc: error"), 100)
    monkeypatch.setattr(cupy, "RawModule", module)
    for path in PATHS * 2:
        assert "(CompileException: nvrtc: error" in verdict(on_cupy(nn.GRU(3, 4)), X, path)
    assert module.asked == 3  # two kernels of one path, and the first of the other


def test_without_nvrtc(cupy, monkeypatch):
    monkeypatch.setattr(cupy, "RawModule", Failing(RuntimeError("libnvrtc.so.13: cannot open shared object file"), 100))
    said = verdict(on_cupy(nn.GRU(3, 4)), X, "cuda-step")
    assert "the kernels cannot be compiled and loaded (RuntimeError: libnvrtc.so.13" in said


@pytest.mark.usefixtures("cupy")
def test_arrays_on_two_devices(monkeypatch):
    layer = on_cupy(nn.GRU(3, 4))
    monkeypatch.setattr(
        fake_cupy.ndarray, "device", property(lambda self: fake_cupy.Device(1 if self.shape == (12, 3) else 0))
    )
    assert "but weight_ih is not" in verdict(layer, X, "cuda-step")


def test_in_a_simulating_process_a_device_is_not_used(cupy, monkeypatch):
    monkeypatch.setattr(launch, "simulated", lambda: True)
    assert "NUMBA_ENABLE_CUDASIM is set" in verdict(on_cupy(nn.GRU(3, 4)), X, "cuda-step")


@pytest.mark.usefixtures("cupy")
def test_explain_says_that_no_gpu_has_run_them():
    said = verdict(on_cupy(nn.RNN(3, 4)), X, "cuda-step")
    assert said == "cuda-step: runs (tested without a GPU only: none has run it yet)"


def test_whoever_declines_the_numbers_are_right(cupy, monkeypatch):
    monkeypatch.setattr(cupy, "RawModule", Failing(RuntimeError("no NVRTC"), 100))
    layer, twin = on_cupy(nn.GRU(3, 4, rng=0)), nn.GRU(3, 4, rng=0)
    h = np.zeros((1, 2, 4), "float32")
    np.testing.assert_allclose(
        host(layer(fake_cupy.array(X), fake_cupy.array(h))[0]), host(twin(X, h)[0]), rtol=0, atol=1e-6
    )


# --- precision ------------------------------------------------------------------------------------------------------


def test_precision_is_float32_until_chosen():
    current = xprnn.settings.current_precision
    assert current() == "float32"
    with xprnn.use_precision("tf32"):
        assert current() == "tf32"
        with xprnn.use_precision("bf16"):
            assert current() == "bf16"
        assert current() == "tf32"
    assert current() == "float32"
    xprnn.use_precision("bf16")
    assert current() == "bf16"


def test_unknown_precision_changes_nothing():
    with pytest.raises(ValueError, match="'fp8' is unknown; expected one of float32, tf32, bf16, fp16"):
        xprnn.use_precision("fp8")
    assert xprnn.settings.current_precision() == "float32"


def test_precision_is_a_permission_that_training_on_the_host_does_not_need():
    layer = nn.LSTM(3, 4, rng=0)
    expected = host(layer(X)[0])
    with xprnn.use_precision("tf32"):
        np.testing.assert_array_equal(host(layer(X)[0]), expected)


@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM, nn.GRU])
def test_the_host_knows_no_fp16(make):
    layer = make(3, 40, rng=0)
    with xprnn.no_grad():
        expected, steps = host(layer(X)[0]), [np.array(layer.stream(2).step(x)) for x in X]
        with xprnn.use_precision("fp16"):
            np.testing.assert_array_equal(host(layer(X)[0]), expected)
            np.testing.assert_array_equal([np.array(layer.stream(2).step(x)) for x in X], steps)


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_rounding_needs_a_device_that_has_it(cupy, monkeypatch, precision):
    old = vars(fake_cupy.Device()) | {"compute_capability": "75"}
    monkeypatch.setattr(cupy.cuda, "Device", lambda number=0: type("Device", (), old)())
    with xprnn.use_precision(precision):
        said = verdict(on_cupy(nn.GRU(3, 4)), X, "cuda-step")
    assert f"compute capability 7.5; precision '{precision}' needs 8.0" in said
