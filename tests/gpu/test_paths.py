"""Every path on a GPU against the reference in float64 on the host, and against itself."""

import numpy as np
import pytest
from gpu_home import gpu, needs_cupy
from helpers import host
from xprnn.kernels.cuda import persistent, plan

import xprnn
from xprnn import nn
from xprnn.tape import grad
from xprnn.tensor import Tensor
from xprnn.testing import check_laws

pytestmark = pytest.mark.gpu
HOME = gpu()

LAYERS = {
    "rnn": lambda *a, **o: nn.RNN(*a, **o),
    "relu": lambda *a, **o: nn.RNN(*a, nonlinearity="relu", **o),
    "lstm": lambda *a, **o: nn.LSTM(*a, **o),
    "peephole": lambda *a, **o: nn.LSTM(*a, peephole="diagonal", **o),
    "gru": lambda *a, **o: nn.GRU(*a, **o),
}
PATHS = ("cuda-persistent", "cuda-step", "reference")
# Relative to the largest element of each result: of float32, of products rounded to 10 and to 7 bits after the point.
TOLERANCE = {"float64": 1e-12, "float32": 2e-5, "tf32": 5e-3, "bf16": 4e-2, "fp16": 4e-2}  # fp16 goes back as bf16
each_layer = pytest.mark.parametrize("name", LAYERS)
each_path = pytest.mark.parametrize("path", PATHS)


def everything(layer, arrays, control, path):
    """Outputs, final states and all gradients; or skips, with its reasons, where the path declines."""
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    with xprnn.use_kernels(path):
        try:
            output, final = layer(tensors[0], tensors[1] if len(tensors) == 2 else tuple(tensors[1:]), **control)
        except xprnn.engine.dispatch.DeclinedError as declined:
            pytest.skip(str(declined))
        results = [output, *(final if isinstance(final, tuple) else (final,))]
        draws = np.random.default_rng(7)
        home = xprnn.backend.backend_of(arrays[0])
        cotangents = [home.asarray(draws.standard_normal(r.shape).astype(layer.dtype)) for r in results]
        gradients = grad(results, [*tensors, *layer.parameters()], cotangents)
    return [host(t) for t in (*results, *gradients)]


def arguments(layer, steps, batch, seed=0):
    draws = np.random.default_rng(seed)
    state = (layer.num_layers * layer.directions, batch, layer.hidden_size)
    shapes = [(steps, batch, layer.input_size), *[state] * len(layer.state_names)]
    return [draws.standard_normal(shape).astype(layer.dtype) for shape in shapes]


def ragged(steps, batch):
    draws = np.random.default_rng(3)
    lengths = draws.integers(0, steps + 1, batch)
    return {"lengths": lengths, "mask": draws.random((steps, batch)) < 0.8, "reset": draws.random((steps, batch)) < 0.1}


def compare(make, path, steps, batch, control, dtype="float32", tolerance="float32"):
    layer, exact = make(dtype=dtype), make(dtype="float64")
    exact.load_state_dict({name: host(a) for name, a in layer.state_dict().items()})
    arrays = arguments(layer, steps, batch)
    expected = everything(exact, [a.astype("float64") for a in arrays], control, "reference")
    layer.to(HOME)
    found = everything(layer, [HOME.asarray(a) for a in arrays], control, path)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[tolerance] * max(1.0, np.abs(b).max(initial=0.0)))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("way", ["memory", "polling", "cluster"])
def test_each_way_in_which_blocks_meet(monkeypatch, way, name, precision):
    """Whichever the planner would choose; over more steps than polling has slots."""
    of_way = {
        "memory": lambda shape: shape.blocks > 1 and not shape.cluster and not shape.polls,
        "polling": lambda shape: shape.polls,
        "cluster": lambda shape: shape.cluster > 1,
    }
    found = lambda *shape: filter(of_way[way], plan.candidates(*shape))
    monkeypatch.setattr(persistent, "best_plan", lambda *shape: min(found(*shape), key=plan.microseconds, default=None))
    steps, batch = 2 * plan.POLLED_SLOTS + 5, 17
    make = lambda dtype: LAYERS[name](20, 130, dtype=dtype, rng=1)
    with xprnn.use_precision(precision):
        compare(make, "cuda-persistent", steps, batch, ragged(steps, batch), tolerance=precision)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("flags", [False, True], ids=["plain", "ragged"])
@pytest.mark.parametrize(("steps", "batch", "inputs", "hidden"), [(5, 3, 4, 6), (33, 17, 20, 130), (20, 64, 64, 256)])
@each_path
@each_layer
def test_paths_equal_the_host_in_float64(name, path, steps, batch, inputs, hidden, flags, dtype):
    make = lambda dtype: LAYERS[name](inputs, hidden, dtype=dtype, rng=1, bidirectional=True)
    compare(make, path, steps, batch, ragged(steps, batch) if flags else {}, dtype, dtype)


@needs_cupy
@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
@pytest.mark.parametrize("path", ["cuda-persistent", "cuda-step"])
@each_layer
def test_rounded_products(name, path, precision):
    with xprnn.use_precision(precision):
        compare(lambda dtype: LAYERS[name](64, 256, dtype=dtype, rng=1), path, 20, 64, {}, tolerance=precision)


@each_path
@each_layer
def test_same_input_gives_same_bits(name, path):
    """Repeated, since a race shows only now and then."""
    layer = LAYERS[name](32, 128, rng=1)
    layer.to(HOME)
    arrays = [HOME.asarray(a) for a in arguments(layer, 30, 32)]
    first = everything(layer, arrays, {}, path)
    for _ in range(20):
        for a, b in zip(everything(layer, arrays, {}, path), first, strict=True):
            np.testing.assert_array_equal(a, b)


@each_layer
def test_all_laws(name):
    layer = LAYERS[name](3, 4, dtype="float64", rng=1)
    layer.to(HOME)
    assert len(check_laws(layer, 3)) >= 13


@needs_cupy
def test_a_path_of_ours_is_chosen():
    layer, x = nn.LSTM(64, 256, rng=0), HOME.zeros((20, 16, 64), "float32")
    layer.to(HOME)
    said = xprnn.explain(layer, x)
    assert "cuda-persistent: runs" in said or "cuda-step: runs" in said, said


@needs_cupy
@pytest.mark.parametrize("path", ["cuda-persistent", "cuda-step"])
def test_work_goes_to_the_current_stream(path):
    import cupy

    layer = nn.GRU(32, 128, rng=1)
    layer.to(HOME)
    arrays = [HOME.asarray(a) for a in arguments(layer, 30, 32)]
    expected = everything(layer, arrays, {}, path)
    cupy.cuda.runtime.deviceSynchronize()
    with cupy.cuda.Stream(non_blocking=True):
        found = everything(layer, arrays, {}, path)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@needs_cupy
def test_the_other_device_if_there_is_one():
    import cupy

    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("only one device")
    with cupy.cuda.Device(1):
        layer = nn.LSTM(8, 16, rng=1)
        layer.to("cupy", 1)
        output, _ = layer(cupy.ones((4, 2, 8), "float32"))
        assert output.device.id == 1
        output.sum().backward()
