"""Where memory runs out, nothing is left half done: CuPy's OutOfMemoryError is a MemoryError."""

import array_api_strict
import numpy as np
import pytest
from helpers import host
from host_copies import random

import xprnn
from xprnn import nn, ops
from xprnn.backend import get_backend, use_backend
from xprnn.data import Batches
from xprnn.train import (
    Adam,
    fit,
    mse,
)

HOME = get_backend("array_api_strict", array_api_strict.Device("device1"))


@pytest.fixture(autouse=True)
def _on_the_second_device():
    with use_backend("array_api_strict", HOME.device):
        yield


class Starved(Adam):
    """Fails at the third parameter, where memory for its new value would be needed."""

    def update(self, data, gradient, slots, step):
        if self.parameters[2].data is data:
            raise MemoryError("Out of memory allocating 1,024 bytes")
        return super().update(data, gradient, slots, step)


def test_out_of_memory_in_a_step_leaves_parameters_and_slots_alone():
    model = nn.LSTM(3, 4, rng=0)
    optimizer = Starved(model.parameters())
    before, state = host(tuple(model.state_dict().values())), optimizer.state_dict()
    ops.sum(model(random(HOME, 5, 2, 3))[0]).backward()
    with pytest.raises(MemoryError, match="Out of memory"):
        optimizer.step()
    for old, new in zip(before, host(tuple(model.state_dict().values())), strict=True):
        np.testing.assert_array_equal(old, new)
    assert optimizer.state_dict() == state


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_out_of_memory_in_training_is_said_and_training_can_go_on(monkeypatch, where):
    model = nn.LSTM(3, 4, rng=0)
    x, y = random(HOME, 5, 8, 3), random(HOME, 5, 8, 4)
    impl = xprnn.engine.dispatch.REFERENCE
    calls = []

    def starved(*args):
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError("Out of memory allocating 1,024 bytes")
        return getattr(impl, where)(*args)

    def train():
        batches = Batches(x, y, batch_size=2, axis=1)
        loss = lambda m, b: mse(m(b[0])[0], b[1])
        return fit(model, batches, loss, Adam(model.parameters()), epochs=1, progress=False)

    with monkeypatch.context() as patch:
        broken = xprnn.engine.dispatch.Impl("reference", impl.reasons_against, impl.forward, impl.backward)
        object.__setattr__(broken, where, starved)
        patch.setattr(xprnn.engine.dispatch, "IMPLEMENTATIONS", [broken])
        with pytest.raises(MemoryError, match="Out of memory allocating"):
            train()
    assert len(calls) == 3
    assert all(np.isfinite(host(p)).all() for p in model.parameters())
    assert np.isfinite(train()["loss"]).all()


def test_out_of_memory_while_moving_leaves_a_module_where_it_was(monkeypatch):
    model = nn.LSTM(3, 4, rng=0)
    there, original, calls = get_backend("numpy"), xprnn.backend.Backend.asarray, []

    def starved(self, values, dtype=None):
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError("Out of memory allocating 1,024 bytes")
        return original(self, values, dtype)

    monkeypatch.setattr(xprnn.backend.Backend, "asarray", starved)
    with pytest.raises(MemoryError):
        model.to(there)
    assert {str(p.data.device) for p in model.parameters()} == {str(HOME.device)}
