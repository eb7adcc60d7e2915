"""The step path in Numba's simulator, against the reference. test_step_simulated.py runs this in a process of its own.

Twice: on NumPy arrays as they are, and on those of a stand-in for CuPy, which also sees the calls of cuBLAS and the
launches.
"""

import sys
from dataclasses import replace

import fake_cupy
import numpy as np
import pytest
from helpers import sequence_call
from hypothesis import given
from hypothesis import strategies as st
from xprnn.kernels import kinds
from xprnn.kernels.cuda import launch, step

import xprnn
from xprnn import cells, nn
from xprnn.backend import get_backend
from xprnn.engine import dispatch
from xprnn.tape import grad
from xprnn.tensor import Tensor
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
    monkeypatch.setattr(launch, "simulated", lambda: False)
    for kept in (launch.loaded, launch._module, launch._facts, step._reason_on):
        kept.cache_clear()
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
    assert saved.kernels.saved is None
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
    arguments = (kinds.LSTM, 5, 2, 4)
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
        patch.setattr(fake_cupy, "cublas", None)
        patch.setattr(fake_cupy.cuda, "cublas", None)
        declines("cuBLAS cannot be used for precision 'float32' (AttributeError")
    with monkeypatch.context() as patch:
        patch.setattr(fake_cupy.RawModule, "get_function", broken)
        launch.loaded.cache_clear()
        declines("the kernels cannot be compiled and loaded (RuntimeError: no NVRTC)")
    with monkeypatch.context() as patch:
        patch.setattr(fake_cupy.cuda, "Device", broken)
        declines("CuPy cannot use the device (RuntimeError: no NVRTC)")
    assert "cuda-step" in [impl.name for impl in dispatch.IMPLEMENTATIONS]


OLD = vars(fake_cupy.Device()) | {"compute_capability": "61"}


def broken(*args, **kwargs):
    raise RuntimeError("no NVRTC")
