"""A stream gives, step by step, what the layer gives for the whole sequence."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest

from xprnn import nn, use_kernels, use_precision
from xprnn.backend import get_backend

LAYERS = {
    "rnn": lambda **o: nn.RNN(3, 5, **o),
    "relu": lambda **o: nn.RNN(3, 5, nonlinearity="relu", **o),
    "lstm": lambda **o: nn.LSTM(3, 5, **o),
    "lstm without bias": lambda **o: nn.LSTM(3, 70, bias=False, **o),
    "peephole": lambda **o: nn.LSTM(3, 5, peephole="diagonal", **o),
    "gru": lambda **o: nn.GRU(3, 5, **o),
    "wide gru": lambda **o: nn.GRU(3, 67, **o),
    "no kernel: full peephole": lambda **o: nn.LSTM(3, 5, peephole="full", **o),
    "no kernel: projected": lambda **o: nn.LSTM(3, 5, proj_size=2, **o),
    "no kernel: reset before": lambda **o: nn.GRU(3, 5, reset_after=False, **o),
}
X = np.random.default_rng(0).standard_normal((7, 2, 3))


def whole(layer, x, state=None):
    with use_kernels("reference"):
        output, final = layer(x, state)
    return output.data, [part.data for part in (final if isinstance(final, tuple) else (final,))]


def parts(state):
    return list(state) if isinstance(state, tuple) else [state]


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", LAYERS)
def test_steps_equal_the_whole_sequence(name, dtype, layers):
    layer = LAYERS[name](num_layers=layers, dtype=dtype, rng=1)
    x = X.astype(dtype)
    stream = layer.stream(batch=2)
    outputs = np.stack([stream.step(xt).copy() for xt in x])
    expected, final = whole(layer, x)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(outputs, expected, atol=tolerance)
    for part, other in zip(parts(stream.state), final, strict=True):
        np.testing.assert_allclose(part, other, atol=tolerance)


@pytest.mark.parametrize("name", ["lstm", "gru", "no kernel: projected"])
def test_state_is_carried_set_and_reset(name):
    layer = LAYERS[name](num_layers=2, dtype="float64", rng=1)
    stream = layer.stream(batch=2)
    first = [stream.step(xt).copy() for xt in X[:3]]
    middle = stream.state
    rest = [stream.step(xt).copy() for xt in X[3:]]
    stream.state = middle
    np.testing.assert_array_equal([stream.step(xt).copy() for xt in X[3:]], rest)
    stream.reset()
    np.testing.assert_array_equal([stream.step(xt).copy() for xt in X[:3]], first)
    expected, _ = whole(layer, X[3:], middle)
    np.testing.assert_allclose(rest, expected, atol=1e-12)


def test_the_state_is_a_copy():
    stream = nn.LSTM(3, 5, rng=1).stream()
    h, c = stream.state
    stream.step(np.ones((1, 3), "float32"))
    assert not h.any()
    assert not c.any()


@pytest.mark.parametrize("name", ["lstm", "no kernel: full peephole"])
def test_new_weights_are_noticed(name):
    layer, other = LAYERS[name](dtype="float64", rng=1), LAYERS[name](dtype="float64", rng=2)
    stream = layer.stream(batch=2)
    stream.step(X[0])
    layer.load_state_dict(other.state_dict())
    stream.reset()
    np.testing.assert_allclose(stream.step(X[0]), whole(other, X[:1])[0][0], atol=1e-12)
    layer.weight_hh_l0.data = 2.0 * layer.weight_hh_l0.data
    stream.reset()
    stream.step(X[0])
    np.testing.assert_allclose(stream.step(X[1]), whole(layer, X[:2])[0][1], atol=1e-12)
    layer.weight_ih_l0.data[...] = 0.0  # in place, which nobody sees until told
    stream.reload()
    stream.reset()
    np.testing.assert_allclose(stream.step(X[0]), whole(layer, X[:1])[0][0], atol=1e-12)


@pytest.mark.parametrize("name", ["gru", "no kernel: reset before"])
def test_without_a_batch_and_batch_first(name):
    layer = LAYERS[name](dtype="float64", batch_first=True, rng=1)
    stream = layer.stream(batch=None)
    outputs = [stream.step(xt).copy() for xt in X[:, 0]]
    assert outputs[0].shape == (5,)
    np.testing.assert_allclose(outputs, whole(layer, X[:, 0])[0], atol=1e-12)


def test_on_array_api_strict():
    strict = pytest.importorskip("array_api_strict")
    layer = nn.LSTM(3, 5, dtype="float64", rng=1)
    expected = whole(layer, X)[0]
    home = get_backend("array_api_strict", strict.Device("device1"))
    stream = layer.to(home).stream(batch=2)
    for xt, y in zip(X, expected, strict=True):
        np.testing.assert_allclose(
            np.asarray(strict.asarray(stream.step(home.asarray(xt)), device=strict.Device("CPU_DEVICE"))), y
        )


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))])
@pytest.mark.parametrize("name", ["lstm", "gru", "no kernel: projected"])
def test_a_copy_goes_on_from_the_same_state_by_itself(name, copied):
    layer, x = LAYERS[name](num_layers=2, rng=1), X.astype("float32")
    with use_precision("bf16"):
        stream = layer.stream(batch=2)
    stream.step(x[0])
    other = copied(stream)
    expected = [stream.step(xt).copy() for xt in x[1:]]
    np.testing.assert_array_equal([other.step(xt).copy() for xt in x[1:]], expected)
    assert copied(layer.stream(None)).step(x[0, 0]).shape == layer.stream(None).step(x[0, 0]).shape


def test_odd_inputs_are_taken_or_named():
    stream = nn.LSTM(3, 5, rng=1).stream(batch=2)
    expected = stream.step(X[0].astype("float32")).copy()
    stream.reset()
    np.testing.assert_array_equal(stream.step(np.asfortranarray(X[0])), expected)  # another layout, and float64
    with pytest.raises(ValueError, match=r"LSTM.stream: x has shape \(3,\); expected \(2, 3\)"):
        stream.step(X[0, 0])
    with pytest.raises(TypeError, match="complex"):
        stream.step(X[0] * 1j)
    with pytest.raises(ValueError, match="the state has shapes"):
        stream.state = np.zeros((1, 2, 5))
    with pytest.raises(ValueError, match="a bidirectional layer needs the whole sequence"):
        nn.LSTM(3, 5, bidirectional=True).stream()
    with pytest.raises(ValueError, match="batch is 0"):
        nn.LSTM(3, 5).stream(batch=0)


def test_a_state_that_fails_changes_nothing():
    stream = nn.LSTM(3, 5, rng=1).stream()
    with pytest.raises(TypeError, match="complex"):
        stream.state = np.ones((1, 1, 5), "float32"), np.ones((1, 1, 5), "complex64")
    assert not any(part.any() for part in stream.state)


def test_nothing_is_allocated():
    stream, x = nn.LSTM(8, 32, num_layers=2, rng=1).stream(), np.ones((1, 8), "float32")
    for _ in range(10):
        stream.step(x)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    for _ in range(1000):
        stream.step(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - before < 2000  # a few Python numbers, no array
