"""A stream gives, step by step, what the layer gives for the whole sequence."""

import contextlib
import copy
import pickle
import tracemalloc

import numpy as np
import pytest

from xprnn import Tensor, host_kernels, nn, use_kernels, use_precision
from xprnn.backend import backend_of, get_backend, to_numpy
from xprnn.engine import cpu

LAYERS = {
    "rnn": lambda **o: nn.RNN(3, 5, **o),
    "relu": lambda **o: nn.RNN(3, 5, nonlinearity="relu", **o),
    "lstm": lambda **o: nn.LSTM(3, 5, **o),
    "lstm without bias": lambda **o: nn.LSTM(3, 70, bias=False, **o),
    "peephole": lambda **o: nn.LSTM(3, 5, peephole="diagonal", **o),
    "indrnn": lambda **o: nn.IndRNN(3, 5, **o),
    "gru": lambda **o: nn.GRU(3, 5, **o),
    "wide gru": lambda **o: nn.GRU(3, 67, **o),
    "no kernel: full peephole": lambda **o: nn.LSTM(3, 5, peephole="full", **o),
    "no kernel: projected": lambda **o: nn.LSTM(3, 5, proj_size=2, **o),
    "mgu": lambda **o: nn.MGU(3, 5, **o),
    "ctrnn of Dale's law": lambda **o: nn.CTRNN(3, 5, dale=0.6, connections=0.5, **o),
    "slstm of heads": lambda **o: nn.SLSTM(3, 6, num_heads=3, **o),
    "reset before": lambda **o: nn.GRU(3, 5, reset_after=False, **o),
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


@pytest.mark.parametrize("name", ["gru", "reset before"])
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


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", LAYERS)
def test_another_parameter_in_the_place_of_one_is_noticed(name, layers):
    layer, other = (LAYERS[name](num_layers=layers, dtype="float64", rng=seed) for seed in (1, 2))
    stream = layer.stream(batch=2)
    stream.step(X[0])
    for weight, parameter in other.named_parameters():
        setattr(layer, weight, parameter)
        stream.reset()
        np.testing.assert_allclose(stream.step(X[0]), whole(layer, X[:1])[0][0], atol=1e-12)
    other.load_state_dict(LAYERS[name](num_layers=layers, dtype="float64", rng=3).state_dict())  # now this layer's too
    stream.reset()
    np.testing.assert_allclose(stream.step(X[0]), whole(layer, X[:1])[0][0], atol=1e-12)


@pytest.mark.parametrize("name", ["lstm", "gru", "no kernel: projected"])
def test_a_layer_that_moves_takes_its_open_stream_along(name):
    strict = pytest.importorskip("array_api_strict")
    layer = LAYERS[name](num_layers=2, dtype="float64", rng=1)
    expected, stream = whole(layer, X)[0], layer.stream(batch=2)
    homes = [get_backend("numpy"), get_backend("array_api_strict", strict.Device("device1"))]
    for t, y in enumerate(expected):
        home = homes[t % 3 % 2]
        layer.to(home)
        found = stream.step(home.asarray(X[t]))
        assert backend_of(found).name == home.name
        np.testing.assert_allclose(to_numpy(found), y, atol=1e-12)


def test_an_interrupt_while_a_stream_moves_leaves_its_state(monkeypatch):
    strict = pytest.importorskip("array_api_strict")
    layer = nn.LSTM(3, 5, dtype="float64", rng=1)
    expected, stream, home = whole(layer, X)[0], layer.stream(batch=2), get_backend("array_api_strict", strict.Device())
    layer.to(home)
    stream.step(home.asarray(X[0]))
    layer.to("numpy")

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
        patched.setattr(np, "copyto", interrupted)
        stream.reload()
    np.testing.assert_allclose(stream.step(X[1]), expected[1], atol=1e-12)


@pytest.mark.parametrize("name", ["lstm", "no kernel: projected"])
def test_numbers_of_all_kinds_are_taken(name, tmp_path):
    stream = LAYERS[name](rng=1).stream(batch=None)
    expected = stream.step(np.array([1, 0, 2], "float32")).copy()
    mapped = np.memmap(tmp_path / "x", "float32", "w+", shape=(3,))
    mapped[:] = 1, 0, 2
    of_arrays = [np.float32(1), 0, np.array(2.0)]
    wide = np.array([1, 0, 2], "float32").repeat(2)[::2]
    tensor = Tensor(np.array([1, 0, 2], "float32"), requires_grad=True)
    for x in ([1.0, 0.0, 2.0], (1, 0, 2), of_arrays, mapped, wide, tensor, np.array([1, 0, 2])):
        stream.reset()
        np.testing.assert_array_equal(stream.step(x), expected)


class Disagreeing:
    shape, dtype = (3,), "float32"

    def __array__(self, dtype=None, copy=None):
        return np.ones(1, "float32")


@pytest.mark.parametrize("name", ["lstm", "no kernel: projected"])
def test_what_is_no_numbers_is_named(name):
    stream = LAYERS[name](rng=1).stream(batch=None)
    stream.step(np.ones(3))
    before = stream.state
    masked = np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0])
    for x, error, words in (
        (None, TypeError, "x is a NoneType"),
        ("abc", TypeError, "x is a str"),
        (["a", "b", "c"], TypeError, "x is a list"),
        ([1j, 0, 0], TypeError, "x is a list"),
        ({1, 2, 3}, TypeError, "x is a set"),
        ([[1.0], [1.0, 2.0]], ValueError, "x is a list of no one shape"),
        (1.0, ValueError, r"x has shape \(\); expected \(3,\)"),
        ([1.0, 2.0], ValueError, r"x has shape \(2,\); expected \(3,\)"),
        (np.ones(3, "complex64"), TypeError, "complex64"),
        (np.array(["a", "b", "c"]), TypeError, "<U1|str"),
        (masked, TypeError, "x is a masked array"),
    ):
        with pytest.raises(error, match=words) as said:
            stream.step(x)
        assert "LSTM.stream" in str(said.value)
    with pytest.raises((TypeError, ValueError), match="LSTM.stream: x is a Disagreeing"):
        stream.step(Disagreeing())
    with pytest.raises(TypeError, match="part 0 of the state is a float; expected an array"):
        stream.state = 1.0
    with pytest.raises(TypeError, match="LSTM.stream: part 1 of the state has dtype complex64; expected real numbers"):
        stream.state = before[0], before[1] * np.complex64(1)
    for part, old in zip(stream.state, before, strict=True):
        np.testing.assert_array_equal(part, old)


@pytest.mark.parametrize("interrupted", range(12))
def test_an_interrupt_while_the_state_is_set_leaves_all_or_nothing(monkeypatch, interrupted):
    stream = nn.LSTM(3, 5, num_layers=3, rng=1).stream()
    stream.step(np.ones((1, 3)))
    before, copies, copyto = parts(stream.state), [], np.copyto

    def interrupting(*args, **kwargs):
        copies.append(None)
        if len(copies) == interrupted + 1:
            raise KeyboardInterrupt
        copyto(*args, **kwargs)

    new = tuple(np.full((3, 1, 5), value, "float32") for value in (7.0, 8.0))
    with monkeypatch.context() as patched:
        patched.setattr(np, "copyto", interrupting)
        try:
            stream.state = new
        except KeyboardInterrupt:
            new = before
    for part, expected in zip(parts(stream.state), new, strict=True):
        np.testing.assert_array_equal(part, expected)


@pytest.mark.skipif(isinstance(host_kernels.kernels(), str), reason="there are no compiled kernels")
def test_weights_that_were_half_loaded_are_loaded_again(monkeypatch):
    layer = nn.GRU(3, 5, num_layers=2, dtype="float64", rng=1)
    stream = layer.stream(batch=2)
    layer.load_state_dict(nn.GRU(3, 5, num_layers=2, dtype="float64", rng=2).state_dict())
    load = cpu.load_cells

    def interrupted(*args):
        load(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cpu, "load_cells", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stream.step(X[0])
    layer.load_state_dict(nn.GRU(3, 5, num_layers=2, dtype="float64", rng=1).state_dict())
    np.testing.assert_allclose(stream.step(X[0]), whole(layer, X[:1])[0][0], atol=1e-12)


@pytest.mark.parametrize("peephole", [None, "full"], ids=["compiled", "composed"])
def test_a_stream_drops_no_units(peephole):
    """It infers, whatever mode its layer is in, and flips none."""
    layer = nn.LSTM(3, 5, num_layers=2, dropout=0.5, peephole=peephole, dtype="float64", rng=0)
    stream = layer.stream(2)
    found = [np.array(stream.step(x)) for x in X]
    assert layer.training
    np.testing.assert_allclose(found, layer.eval()(X)[0].data, atol=1e-12)


@pytest.mark.parametrize("change", ["cell", "reverse", "part"])
def test_another_cell_direction_or_part_is_refused_by_open_streams(change):
    layer = nn.GRU(3, 5, rng=0)
    chain = nn.Sequential(layer, nn.Dropout(0.5), nn.Linear(5, 2, rng=0))
    streams = [chain.stream()] if change == "part" else [chain.stream(), layer.stream()]
    x = np.ones((1, 3), "float32")
    before = [stream.step(x).copy() for stream in streams]
    if change == "cell":
        layer.cell = nn.GRU(3, 5, reset_after=False).cell
    elif change == "reverse":
        layer.reverse = True
    else:
        setattr(chain, "2", nn.Linear(5, 2, rng=1))
    for stream in streams:
        for _ in range(2):
            with pytest.raises(ValueError, match=r"\.stream: .*; open another"):
                stream.step(x)
        with pytest.raises(ValueError, match=r"\.stream: .*; open another"):
            stream.block(x[None])
    if change == "reverse":
        layer.reverse = False
        for stream, first in zip(streams, before, strict=True):
            stream.reset()
            np.testing.assert_array_equal(stream.step(x), first)
    layer.dropout_rate = 0.5  # an attribute that means nothing to streams


@pytest.mark.parametrize("name", ["lstm", "no kernel: projected"])
def test_a_weight_that_is_taken_away_is_missed(name):
    layer = LAYERS[name](rng=1)
    stream, x = layer.stream(), np.ones((1, 3), "float32")
    stream.step(x)
    del layer.weight_hh_l0
    for _ in range(2):
        with pytest.raises(AttributeError, match="weight_hh_l0"):
            stream.step(x)
