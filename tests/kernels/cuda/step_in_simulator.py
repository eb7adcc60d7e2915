"""The step path in Numba's simulator, against the reference. test_step_simulated.py runs this in a process of its own.

Twice: on NumPy arrays as they are, and on those of a stand-in for CuPy, which also sees the calls of cuBLAS and the
launches.
"""

import inspect
import sys
from dataclasses import replace

import fake_cupy
import numba
import numpy as np
import pytest
from helpers import sequence_call
from hypothesis import given
from hypothesis import strategies as st
from xprnn.kernels.cuda import launch, pointwise, step

import xprnn
from xprnn import cells, nn
from xprnn.backend import get_backend
from xprnn.engine import dispatch
from xprnn.tensor import Tensor, grad
from xprnn.testing import check_laws
from xprnn.testing.strategies import flags, lengths

LAYERS = {
    "rnn": lambda **o: nn.RNN(**o),
    "relu": lambda **o: nn.RNN(nonlinearity="relu", **o),
    "lstm": lambda **o: nn.LSTM(**o),
    "peephole": lambda **o: nn.LSTM(peephole="diagonal", **o),
    "gru": lambda **o: nn.GRU(**o),
}


@pytest.fixture(params=["numpy", "cupy"])
def array(request, monkeypatch):
    """How a test makes arrays."""
    if request.param == "numpy":
        return np.asarray
    stand_in(monkeypatch)
    return fake_cupy.array


def stand_in(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy)
    monkeypatch.setattr(launch, "ptx", lambda name, dtype, capability: f".visible .entry {name}(")
    monkeypatch.setattr(launch, "simulated", lambda: False)
    monkeypatch.setattr(step.importlib.util, "find_spec", lambda name: True)
    for kept in (launch.loaded, launch._folder, launch._facts, step._reason_on):
        kept.cache_clear()
    monkeypatch.setattr(launch, "_folder", launch._temporary_folder)
    fake_cupy.launches.clear()
    fake_cupy.products.clear()


def everything(layer, arrays, control, name):
    """Outputs, all states and all gradients, from one implementation."""
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    with xprnn.use_kernels(name):
        state = tensors[1] if len(tensors) == 2 else tuple(tensors[1:])
        output, final, states = layer(tensors[0], state, return_all_states=True, **control)
        results = [output, *(final if isinstance(final, tuple) else (final,)), *states]
        draws = np.random.default_rng(7)
        like = type(arrays[0])
        cotangents = [draws.standard_normal(r.shape).astype(layer.dtype).view(like) for r in results]
        gradients = grad(results, [*tensors, *layer.parameters()], cotangents)
    return [np.asarray(t.data) for t in (*results, *gradients)]


def compare(layer, arrays, control, array):
    expected = everything(layer, arrays, control, "reference")
    for parameter in layer.parameters():
        parameter.data = array(parameter.data)
    found = everything(layer, [array(a) for a in arrays], control, "cuda-step")
    tolerance = 1e-12 if layer.dtype == "float64" else 1e-5
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, np.abs(b).max(initial=0.0)))


def draw_arrays(layer, steps, batch, rng):
    draws = np.random.default_rng(rng)
    state = (layer.num_layers * layer.directions, batch, layer.hidden_size)
    shapes = [(steps, batch, layer.input_size), *[state] * len(layer.state_names)]
    return [draws.standard_normal(shape).astype(layer.dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", LAYERS)
@given(data=st.data())
def test_step_equals_reference(name, dtype, data):
    steps, batch = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    sizes = {"input_size": data.draw(st.integers(1, 4)), "hidden_size": data.draw(st.integers(1, 9))}
    options = {"bias": data.draw(st.booleans()), "bidirectional": data.draw(st.booleans())}
    layer = LAYERS[name](dtype=dtype, rng=1, **sizes, **options)
    control = {
        "lengths": data.draw(st.none() | lengths(steps, batch)),
        "mask": data.draw(st.none() | flags(steps, batch)),
        "reset": data.draw(st.none() | flags(steps, batch)),
    }
    arrays = draw_arrays(layer, steps, batch, data.draw(st.integers(0, 99)))
    with pytest.MonkeyPatch.context() as patch:
        on_cupy = data.draw(st.booleans())
        if on_cupy:
            stand_in(patch)
        compare(layer, arrays, control, fake_cupy.array if on_cupy else np.asarray)


@pytest.fixture
def step_first():
    """Without the compiled path, which takes NumPy arrays before all others."""
    before = list(dispatch.IMPLEMENTATIONS)
    dispatch.IMPLEMENTATIONS[:] = [dispatch.CUDA_STEP, dispatch.REFERENCE]
    yield
    dispatch.IMPLEMENTATIONS[:] = before


@pytest.mark.usefixtures("step_first")
@pytest.mark.parametrize("name", LAYERS)
def test_all_laws(name):
    layer = LAYERS[name](input_size=3, hidden_size=4, dtype="float64", rng=1, bidirectional=True)
    assert len(check_laws(layer, 3)) >= 13


@pytest.mark.parametrize("name", LAYERS)
def test_inference_gives_the_same_bits(name):
    layer = LAYERS[name](input_size=3, hidden_size=5, rng=1)
    x = np.random.default_rng(0).standard_normal((4, 3, 3)).astype("float32")
    with xprnn.use_kernels("cuda-step"):
        kept = layer(x)[0].data
        with xprnn.no_grad():
            np.testing.assert_array_equal(layer(x)[0].data, kept)


def test_what_is_not_asked_for_is_not_computed(array):
    call = sequence_call(cells.GRU(), get_backend("numpy"), dtype="float32", T=3, B=2, I=4, H=5)
    call = replace(
        call,
        x=array(call.x),
        state=tuple(map(array, call.state)),
        weights={name: array(w) for name, w in call.weights.items()},
    )
    impl = dispatch.CUDA_STEP
    result, saved = impl.forward(replace(call, keep=False))
    assert saved.kernels is None
    result, saved = impl.forward(call)
    gradients = impl.backward(call, saved, (None,), (result.final[0],), False)
    assert gradients.x is None
    assert not any(np.isnan(g).any() for g in gradients.weights.values())


def test_launches_and_products_of_a_step(monkeypatch):
    """Two of each in a step, forward and back, and a handful around the loops: nothing else works T times."""
    stand_in(monkeypatch)
    layer = nn.LSTM(3, 200, rng=0)
    for parameter in layer.parameters():
        parameter.data = fake_cupy.array(parameter.data)
    x = fake_cupy.array(np.zeros((7, 2, 3), "float32"))
    state = tuple(fake_cupy.array(np.zeros((1, 2, 200), "float32")) for _ in range(2))
    with xprnn.use_kernels("cuda-step"):
        output, _ = layer(x, state)
        assert fake_cupy.launches == [("lstm_forward", (2, 2), (128, 1))] * 7
        assert fake_cupy.products == [(800, 14, 3, "CUBLAS_COMPUTE_32F"), *[(800, 2, 200, "CUBLAS_COMPUTE_32F")] * 7]
        output.sum().backward()
    assert fake_cupy.launches[7:] == [("lstm_backward", (2, 2), (128, 1))] * 7
    # One of each step, then those for weight_ih and weight_hh; x wants no gradient.
    assert [m for m, *_ in fake_cupy.products[8:]] == [200] * 7 + [3, 200]


def test_precision_is_that_of_the_way_forward(monkeypatch):
    stand_in(monkeypatch)
    layer = nn.RNN(3, 4, rng=0)
    for parameter in layer.parameters():
        parameter.data = fake_cupy.array(parameter.data)
    x, h = (fake_cupy.array(np.zeros(shape, "float32")) for shape in ((2, 2, 3), (1, 2, 4)))
    with xprnn.use_kernels("cuda-step"):
        with xprnn.use_precision("tf32"):
            output, _ = layer(x, h)
        output.sum().backward()
        assert {compute for *_, compute in fake_cupy.products} == {"CUBLAS_COMPUTE_32F_FAST_TF32"}
        with xprnn.use_precision("bf16"):
            layer(x, h)
    assert fake_cupy.products[-1][-1] == "CUBLAS_COMPUTE_32F_FAST_16BF"


def test_fp16_multiplies_as_tf32_and_on_the_way_back_as_bf16(monkeypatch):
    stand_in(monkeypatch)
    layer = nn.GRU(3, 4, rng=0)
    for parameter in layer.parameters():
        parameter.data = fake_cupy.array(parameter.data)
    x, h = (fake_cupy.array(np.zeros(shape, "float32")) for shape in ((2, 2, 3), (1, 2, 4)))
    with xprnn.use_kernels("cuda-step"), xprnn.use_precision("fp16"):
        output, _ = layer(x, h)
        assert {compute for *_, compute in fake_cupy.products} == {"CUBLAS_COMPUTE_32F_FAST_TF32"}
        fake_cupy.products.clear()
        output.sum().backward()
        assert {compute for *_, compute in fake_cupy.products} == {"CUBLAS_COMPUTE_32F_FAST_16BF"}


def test_reasons_of_a_device(monkeypatch):
    stand_in(monkeypatch)
    arguments = (step.LSTM, 5, 2, 4)
    assert step.reasons_against(*arguments, "float32", "float32") == []

    def declines(because, dtype="float32", precision="float32"):
        launch._facts.cache_clear()
        step._reason_on.cache_clear()
        (reason,) = step.reasons_against(*arguments, dtype, precision)
        assert because in reason

    with monkeypatch.context() as patch:
        patch.setattr(fake_cupy.Device, "__init__", lambda self, number=0: vars(self).update(OLD))
        declines("compute capability 6.1; precision 'float32' needs 7.0")
        patch.setitem(OLD, "compute_capability", "75")
        declines("compute capability 7.5; precision 'tf32' needs 8.0", precision="tf32")
        assert step.reasons_against(*arguments, "float64", "tf32") == []  # float64 is not rounded
    with monkeypatch.context() as patch:
        patch.setattr(step.importlib.util, "find_spec", lambda name: None)
        declines("numba-cuda is not installed: pip install")
    with monkeypatch.context() as patch:
        patch.setattr(fake_cupy, "cublas", None)
        patch.setattr(fake_cupy.cuda, "cublas", None)
        declines("cuBLAS cannot be used for precision 'float32' (AttributeError")
    with monkeypatch.context() as patch:
        patch.setattr(launch, "ptx", broken)
        patch.setattr(launch, "_folder", launch._temporary_folder)
        launch.loaded.cache_clear()
        for path in launch._temporary_folder().glob("*.ptx"):
            path.unlink()
        declines("the kernels cannot be compiled and loaded (RuntimeError: no NVVM)")
    with monkeypatch.context() as patch:
        patch.setattr(fake_cupy.cuda, "Device", broken)
        declines("CuPy cannot use the device (RuntimeError: no NVVM)")
    assert "cuda-step" in [impl.name for impl in dispatch.IMPLEMENTATIONS]


OLD = vars(fake_cupy.Device()) | {"compute_capability": "61"}


def broken(*args, **kwargs):
    raise RuntimeError("no NVVM")


# --- the same text, compiled ----------------------------------------------------------------------------------------
# The simulator has Python's types. What a compiler makes of the kernels is seen where Numba compiles them for the host:
# a loop stands in place of the grid.


def compiled_for_the_host():
    text = inspect.getsource(pointwise)
    for gpu, cpu in (
        ("from numba import config, cuda", "import numba"),
        ("from ..", "from xprnn.kernels."),
        ("from xprnn.kernels. import", "from xprnn.kernels import"),
        ('cuda.jit(device=True, inline="always")', 'numba.njit(inline="always", error_model="numpy")'),
        ("np.tanh if config.ENABLE_CUDASIM else math.tanh", "math.tanh"),
        ("range(cuda.blockIdx.y, batch, cuda.gridDim.y)", "range(batch)"),
        ("cuda.grid(1)", "unit"),
        ("ward(", "ward(unit, "),
    ):
        assert gpu in text
        text = text.replace(gpu, cpu)
    module = {"__name__": "compiled_for_the_host"}
    exec(compile(text, "compiled_for_the_host", "exec"), module)
    return {name: numba.njit(error_model="numpy")(kernel) for name, kernel in module["KERNELS"].items()}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_kernels_compile_to_what_the_simulator_does(dtype):
    draws, (t, batch, size) = np.random.default_rng(0), (1, 4, 5)
    rows = {"z": 12 * 4, "dz": 12 * 4, "zh": 4 * 4, "bias": 4, "p": 3, "dzx": 12 * 3, "dzh": 12 * 3, "dh": 4, "dc": 4}
    rows |= {"hs": 16, "cs": 16, "dhs": 12, "dcs": 12}
    for name, kernel in compiled_for_the_host().items():
        for options in draws.choice(256, 40, replace=False):
            arrays = [
                draws.integers(0, 4, 12).astype("uint8")
                if parameter == "flags"
                else draws.uniform(-1, 1, rows[parameter] * size).astype(dtype)
                for parameter in launch.array_parameters(name)
            ]
            expected = [array.copy() for array in arrays]
            launch.Simulator().launch(name, size, batch, tuple(expected), t, batch, size, int(options))
            for unit in range(size):
                kernel(unit, *arrays, t, batch, size, int(options))
            for a, b in zip(arrays, expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-13 if dtype == "float64" else 2e-6)
