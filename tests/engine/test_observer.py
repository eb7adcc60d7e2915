"""An observer is told of what layers do in its block, and changes nothing."""

from threading import Thread

import numpy as np
import pytest

from xprnn import Tensor, nn, no_grad, ops
from xprnn.diagnose import gradient_flow, saturation
from xprnn.engine.observer import observed, observing

X = np.random.default_rng(0).standard_normal((4, 2, 3)).astype("float32")


class Recorder:
    def __init__(self):
        self.calls, self.back, self.steps, self.walks = [], [], [], []

    def called(self, layer, number, call):
        self.calls.append((layer, number, call))

    def came_back(self, call, dsequences, dfinal):
        self.back.append((call, dsequences, dfinal))

    def stepped(self, layer, x, before, after):
        self.steps.append(layer)
        return after

    def walked(self, layer, count, steps):
        self.walks.append((layer, count))


class Leaky:
    state_sizes = (3,)

    def step(self, x, state):
        return (0.5 * state[0] + x,)


def test_whole_calls_and_their_way_back():
    layer = nn.LSTM(3, 5, 2, bidirectional=True, rng=0)
    expected = layer(X)[0].numpy()
    with observed(Recorder()) as nothing, no_grad():
        assert nothing is None
    seen = Recorder()
    with observed(seen):
        output, _ = layer(X)
        ops.sum(output).backward()
    np.testing.assert_array_equal(output.numpy(), expected)
    assert [(who, number, call.reverse) for who, number, call in seen.calls] == [
        (layer, k, bool(k % 2)) for k in range(4)
    ]
    assert {id(call) for call, *_ in seen.back} == {id(call) for *_, call in seen.calls}
    for _, (dh, dc), (dlast, _) in seen.back:
        assert dh.shape == (4, 2, 5)
        assert dc is None
        assert dlast is None


def test_composed_steps():
    layer, seen = nn.Recurrent(Leaky()), Recorder()
    with observed(seen):
        layer(X)
    assert seen.steps == [layer] * 4
    assert seen.walks == [(layer, 4)]
    assert not seen.calls


def test_frozen_layers_come_back_too():
    layer, seen = nn.GRU(3, 5, rng=0), Recorder()
    for parameter in layer.parameters():
        parameter.requires_grad = False
    with observed(seen):
        output, _ = layer(X)
        ops.sum(output).backward()
    assert len(seen.back) == 1


def test_only_in_the_block_and_only_in_its_context():
    layer, seen = nn.RNN(3, 5, rng=0), Recorder()
    with observed(seen):
        thread = Thread(target=layer, args=(X,))
        thread.start()
        thread.join()
    layer(X)
    assert observing() is None
    assert not seen.calls
    with pytest.raises(RuntimeError, match="mine"), observed(seen):
        raise RuntimeError("mine")
    assert observing() is None


@pytest.mark.parametrize("diagnose", [gradient_flow, saturation])
@pytest.mark.parametrize("layer", [nn.LSTM(3, 3, rng=0), nn.Recurrent(Leaky())], ids=lambda x: type(x).__name__)
def test_diagnosis_replaces_nothing_in_a_layer(diagnose, layer):
    before, inside = dict(vars(layer)), []

    def loss(model, x):
        inside.append(dict(vars(model)))
        return ops.sum(model(Tensor(x))[0])

    diagnose(layer, X, loss)
    changed = {name for name, value in inside[0].items() if value is not before.get(name)}
    assert changed <= {"training"}
    assert inside[0].keys() == before.keys() == vars(layer).keys()
