"""Training and what is around it on a GPU: copies to the host, results beside the host's, and running out of memory."""

import gc

import numpy as np
import pytest
from gpu_home import gpu, needs_cupy
from helpers import exported, host
from host_copies import counted, random

import xprnn
from xprnn import nn, ops
from xprnn.backend import to_backend, use_backend
from xprnn.data import Batches
from xprnn.estimators import Forecaster
from xprnn.train import Adam, clip_grad_norm, cross_entropy, fit, losses, mse

pytestmark = pytest.mark.gpu
HOME = gpu()


@pytest.fixture(autouse=True)
def _there():
    with use_backend(HOME.name, HOME.device):
        yield


class Model(nn.Module):
    def __init__(self, dtype="float32"):
        self.table = nn.Embedding(11, 6, dtype=dtype, rng=0)
        self.lstm, self.norm = nn.LSTM(6, 16, 2, dropout=0.2, dtype=dtype, rng=0), nn.LayerNorm(16, dtype=dtype)
        self.out = nn.Linear(16, 5, dtype=dtype, rng=0)

    def forward(self, x):
        return self.out(self.norm(self.lstm(self.table(x))[0][-1]))


def train(home, dtype, epochs=2):
    with use_backend(home.name, home.device):
        draws = np.random.default_rng(0)
        x, y = home.asarray(draws.integers(0, 11, (9, 24))), home.asarray(draws.integers(0, 5, (1, 24)))
        model = Model(dtype)
        history = fit(
            model,
            Batches(x, y, batch_size=8, axis=1, shuffle=True, rng=0),
            lambda m, b: cross_entropy(m(b[0]), b[1][0, ...]),
            Adam(model.parameters(), lr=1e-2),
            epochs=epochs,
            clip_norm=1.0,
            progress=False,
        )
        return history["loss"], model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_goes_as_on_the_host(dtype):
    found, expected = train(HOME, dtype), train(xprnn.backend.get_backend("numpy"), dtype)
    tolerance = {"float32": 1e-3, "float64": 1e-8}[dtype]
    np.testing.assert_allclose(found[0], expected[0], rtol=tolerance)
    for a, b in zip(found[1].parameters(), expected[1].parameters(), strict=True):
        np.testing.assert_allclose(host(a), host(b), rtol=0, atol=tolerance)


def test_training_copies_once_an_epoch():
    with counted(HOME) as log:
        train(HOME, "float32", epochs=4)
    assert len(log) == 4, log


@pytest.mark.parametrize("kind", ["token", "class", "loss", "gradient"])
def test_a_bad_batch_ends_the_run_as_on_the_host(kind):
    """Batch 3 of 6; tests/train/test_on_device_errors.py has all cases."""

    def loss(model, batch):
        x, y, scale, slope = batch
        steep = ops.sqrt(ops.sum(ops.square(model.out.bias * slope)))  # 0 has no slope
        return ops.mean(cross_entropy(model(x), y) * scale) + 0.0 * steep

    def run(home):
        draws, batches = np.random.default_rng(0), []
        for k in range(6):
            x, y = draws.integers(0, 11, (5, 4)), draws.integers(0, 5, 4)
            scale, slope = np.ones(1), np.ones(1)
            if k == 2:
                x[0, 0] += 11 * (kind == "token")
                y[0] -= 9 * (kind == "class")
                scale[0], slope[0] = np.nan if kind == "loss" else 1.0, float(kind != "gradient")
            batches.append(tuple(home.asarray(array) for array in (x, y, scale, slope)))
        model = Model("float64")
        model.to(home)
        optimizer = Adam(model.parameters(), lr=1e-2)
        with pytest.raises((ValueError, FloatingPointError)) as caught, np.errstate(all="ignore"):
            fit(model, batches, loss, optimizer, epochs=1, clip_norm=1.0, progress=False)
        return str(caught.value), optimizer.counts, [host(p) for p in model.parameters()]

    found, expected = run(HOME), run(xprnn.backend.get_backend("numpy"))
    assert found[:2] == expected[:2]
    for a, b in zip(found[2], expected[2], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-8)


@pytest.mark.parametrize("make", exported(xprnn.train, xprnn.train.Optimizer))
def test_optimizers_go_as_on_the_host(make):
    results = []
    for home in (HOME, xprnn.backend.get_backend("numpy")):
        layer = nn.Linear(3, 4, dtype="float64", rng=0)
        layer.to(home)
        optimizer = make(layer.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            mse(layer(random(home, 5, 3, dtype="float64")), random(home, 5, 4, seed=1, dtype="float64")).backward()
            clip_grad_norm(layer.parameters(), 0.1)
            optimizer.step()
        results.append([host(p) for p in layer.parameters()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["mse", "mae", "huber", "bce_with_logits"])
def test_losses_agree_with_the_host(name, dtype):
    values = []
    for home in (HOME, xprnn.backend.get_backend("numpy")):
        x = xprnn.Tensor(random(home, 4, 3, dtype=dtype), requires_grad=True)
        loss = getattr(losses, name)(x, random(home, 4, 3, seed=1, dtype=dtype))
        loss.backward()
        values.append((loss.item(), host(x.grad)))
        assert host(x.grad).dtype == dtype
    np.testing.assert_allclose(values[0][0], values[1][0], rtol=1e-5)
    np.testing.assert_allclose(values[0][1], values[1][1], rtol=1e-5, atol=1e-6)


def test_forecaster():
    series = np.sin(np.arange(200) / 5.0)
    forecaster = Forecaster(hidden=8, window=10, epochs=2, seed=0, backend="cupy" if HOME.name == "cupy" else None)
    forecast = forecaster.fit(series).predict(5)
    assert isinstance(forecast, np.ndarray)
    assert np.isfinite(forecast).all()


@needs_cupy
@pytest.mark.parametrize("path", ["cuda-persistent", "cuda-step", "reference"])
def test_out_of_memory_leaves_parameters_and_gives_memory_back(path):
    import cupy

    model = nn.LSTM(64, 128, rng=0)
    optimizer = Adam(model.parameters())
    small, large = HOME.zeros((4, 4, 64), "float32"), HOME.zeros((4096, 256, 64), "float32")
    pool = cupy.get_default_memory_pool()

    def step(x):
        optimizer.zero_grad()
        ops.sum(model(x)[0]).backward()
        optimizer.step()

    with xprnn.use_kernels(path):
        try:
            step(small)
        except xprnn.engine.dispatch.DeclinedError as declined:
            pytest.skip(str(declined))
        optimizer.zero_grad()
        gc.collect()
        before, used, limit = [host(p) for p in model.parameters()], pool.used_bytes(), pool.get_limit()
        pool.free_all_blocks()
        pool.set_limit(size=used + 64 * 2**20)
        try:
            with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match="Out of memory allocating"):
                step(large)
        finally:
            pool.set_limit(size=limit)
        gc.collect()
        for a, b in zip(before, [host(p) for p in model.parameters()], strict=True):
            np.testing.assert_array_equal(a, b)
        assert pool.used_bytes() <= used + 2**20
        step(small)


@needs_cupy
def test_dlpack_shares_memory_with_torch():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    theirs = torch.arange(6, dtype=torch.float32, device="cuda").reshape(2, 3)
    ours = to_backend(theirs, "cupy")
    assert ours.data.ptr == theirs.data_ptr()
    back = torch.from_dlpack(xprnn.Tensor(ours).data)
    assert back.data_ptr() == theirs.data_ptr()
    np.testing.assert_array_equal(host(ours), theirs.cpu().numpy())
