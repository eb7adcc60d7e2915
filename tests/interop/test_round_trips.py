"""What a format lets us write comes back to the bit, whatever its numbers are; or the writer says why not."""

import numpy as np
import pytest
from helpers import host
from hypothesis import given
from hypothesis import strategies as st

from xprnn import nn
from xprnn.interop import nam, rtneural
from xprnn.interop import onnx as interop

ODD = {
    "float32": [0.0, -0.0, 1e-45, 1.2e-38, 0.1, -1.0, 3e38, -3e38],
    "float64": [0.0, -0.0, 5e-324, 2.3e-308, 0.1, -1.0, 1e308, -1e308],
}
each = pytest.mark.parametrize("dtype", ODD)


def drawn(model, seed, odd):
    """The model with numbers of a list as its weights."""
    draws = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.data = draws.choice(odd, parameter.shape).astype(parameter.data.dtype)
    return model


def numbers(model):
    """The bytes of each layer's weights, of two biases those of their sum."""
    for layer in model:
        for weights in [*layer.weights()] if hasattr(layer, "weights") else [dict(layer.named_parameters())]:
            found = {name: host(weight) for name, weight in weights.items() if weight is not None}
            if isinstance(layer, nn.LSTM) and "bias_ih" in found:
                found["bias"] = found.pop("bias_ih") + found.pop("bias_hh")
            yield from (found[name].tobytes() for name in sorted(found))


def comes_back(owner, save, load, model, folder):
    """What was loaded, which is written as the same file; None where the writer refused, and left nothing behind."""
    first, second = folder / "first", folder / "second"
    first.unlink(missing_ok=True)
    problem = None
    try:
        with np.errstate(over="ignore"):
            save(model, first)
    except ValueError as error:
        problem = str(error)
    if problem is not None:
        assert problem.startswith(f"{owner}: this cannot be written as JSON: Out of range float")
        assert not first.exists()
        return None
    found = load(first)
    save(found, second)
    assert second.read_bytes() == first.read_bytes()
    return found


@each
@given(data=st.data())
def test_rtneural(dtype, tmp_path_factory, data):
    width, layers = 2, []
    for kind in data.draw(st.lists(st.sampled_from(["LSTM", "GRU", "Linear", "Tanh", "Softmax"]), max_size=4)):
        if kind in ("Tanh", "Softmax"):
            layers.append(getattr(nn, kind)())
        else:
            size = data.draw(st.integers(1, 3))
            layers.append(getattr(nn, kind)(width, size, dtype=dtype, rng=0))
            width = size
    model = drawn(
        nn.Sequential(nn.Linear(2, 2, dtype=dtype, rng=0), *layers), data.draw(st.integers(0, 99)), ODD[dtype]
    )
    load = lambda path: rtneural.load(path, dtype=dtype)
    found = comes_back("rtneural.save", rtneural.save, load, model, tmp_path_factory.mktemp("files"))
    assert found is None or list(numbers(found)) == list(numbers(model))


@each
@given(seed=st.integers(0, 99), hidden=st.integers(1, 3), layers=st.integers(1, 2), outputs=st.integers(1, 2))
def test_nam(dtype, tmp_path_factory, seed, hidden, layers, outputs):
    lstm, head = nn.LSTM(1, hidden, layers, dtype=dtype, rng=0), nn.Linear(hidden, outputs, dtype=dtype, rng=0)
    model, draws = drawn(nn.Sequential(lstm, head), seed, ODD[dtype]), np.random.default_rng(seed)
    state = tuple(draws.choice(ODD[dtype], (layers, hidden)) for _ in range(2))
    capture = nam.Capture(lstm, head, state, 44100.5, {"name": "é", "more": [{"a": None}]})
    load = lambda path: nam.load(path, dtype=dtype)
    found = comes_back("nam.save", nam.save, load, capture, tmp_path_factory.mktemp("files"))
    if found is not None:
        assert list(numbers(found.model)) == list(numbers(model))
        assert [part.tobytes() for part in found.state] == [part.tobytes() for part in capture.state]
        assert (found.sample_rate, found.metadata) == (capture.sample_rate, capture.metadata)


@given(
    kind=st.sampled_from(["RNN", "LSTM", "GRU"]),
    seed=st.integers(0, 99),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2)),
    bias=st.booleans(),
    bidirectional=st.booleans(),
    batch_first=st.booleans(),
)
def test_onnx(kind, seed, sizes, bias, bidirectional, batch_first):
    pytest.importorskip("onnx")
    inputs, hidden, layers = sizes
    options = {"bias": bias, "bidirectional": bidirectional, "batch_first": batch_first}
    layer = drawn(getattr(nn, kind)(inputs, hidden, layers, rng=0, **options), seed, [0.0, -0.0, 1e-45, 0.1, -2.0])
    x = np.random.default_rng(seed).standard_normal((2, 2, inputs)).astype("float32")
    found = interop.from_model(interop.to_model(layer, states=True))
    parts = np.random.default_rng(seed).standard_normal((2, layers * (1 + bidirectional), 2, hidden)).astype("float32")
    state = [*parts[: 2 if kind == "LSTM" else 1]]
    y, final = layer(x, tuple(state) if kind == "LSTM" else state[0])
    for a, b in zip(found(x, *state), (y, *(final if kind == "LSTM" else (final,))), strict=True):
        np.testing.assert_array_equal(host(a), host(b))
