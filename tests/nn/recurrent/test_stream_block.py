"""A block of a stream is its steps: to the last bit in compiled calls, else to rounding."""

import copy
import pickle
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xprnn import Tensor, explain, host_kernels, nn, use_precision
from xprnn.backend import get_backend, to_numpy
from xprnn.tensor import Parameter

I, H, O = 3, 7, 2  # noqa: E741
COMPILED = {
    "rnn": lambda **o: nn.RNN(I, H, **o),
    "relu": lambda **o: nn.RNN(I, H, nonlinearity="relu", **o),
    "lstm": lambda **o: nn.LSTM(I, H, **o),
    "lstm without bias": lambda **o: nn.LSTM(I, 70, bias=False, **o),
    "peephole": lambda **o: nn.LSTM(I, H, peephole="diagonal", **o),
    "indrnn": lambda **o: nn.IndRNN(I, H, **o),
    "indrnn relu": lambda **o: nn.IndRNN(I, H, nonlinearity="relu", **o),
    "gru": lambda **o: nn.GRU(I, H, **o),
    "wide gru": lambda **o: nn.GRU(I, 67, **o),
    "slstm of heads": lambda **o: nn.SLSTM(I, 10, num_heads=2, **o),
    "reset before": lambda **o: nn.GRU(I, H, reset_after=False, **o),
}
COMPOSED = {
    "full peephole": lambda **o: nn.LSTM(I, H, peephole="full", **o),
    "projected": lambda **o: nn.LSTM(I, H, proj_size=4, **o),
}
LAYERS = COMPILED | COMPOSED
BOTH = ["lstm", "gru", "projected"]
X = np.random.default_rng(0).standard_normal((70, 3, I))
compiled_only = pytest.mark.skipif(isinstance(host_kernels.kernels(), str), reason="there are no compiled kernels")


def head_of(layer, outputs=O, seed=2, **options):
    return nn.Linear(layer.state_sizes[0], outputs, dtype=layer.dtype, rng=seed, **options)


def parts(state):
    return list(state) if isinstance(state, tuple) else [state]


def assert_same(stream, found, expected):
    if "one compiled call" in repr(stream):
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 if found.dtype == "float32" else 1e-12)


def assert_same_state(stream, other):
    for part, expected in zip(parts(stream.state), parts(other.state), strict=True):
        assert_same(stream, part, expected)


def steps(stream, x):
    return np.stack([np.array(stream.step(x_t)) for x_t in x])


def of_batch(batch, dtype, length=70):
    x = X[:length].astype(dtype)
    return np.ascontiguousarray(x[:, 0] if batch is None else x[:, :batch])


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("storage", ["float32", "float64", "bf16"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_block_is_its_steps(name, storage, layers):
    dtype = "float32" if storage == "bf16" else storage
    layer = LAYERS[name](num_layers=layers, dtype=dtype, rng=1)
    for head in (None, head_of(layer), head_of(layer, 33, bias=False)):
        for batch in (None, 1, 3):
            with use_precision("bf16" if storage == "bf16" else "float32"):
                stream, other = layer.stream(batch, head=head), layer.stream(batch, head)
            x = of_batch(batch, dtype, 70 if name in COMPILED else 20)  # more than layers run ahead; others do not
            found, expected = stream.block(x), steps(other, x)
            assert found.dtype == dtype
            assert_same(stream, found, expected)
            assert_same_state(stream, other)
            if storage != "bf16":
                whole = layer(x)[0] if head is None else head(layer(x)[0])
                np.testing.assert_allclose(found, whole.data, atol=1e-5 if dtype == "float32" else 1e-12)


@compiled_only
@pytest.mark.parametrize(("most", "bytes_"), [(1, 1 << 18), (2, 1 << 18), (7, 1 << 18), (64, 1), (64, 4000)])
@pytest.mark.parametrize("name", COMPILED)
def test_how_many_steps_a_layer_runs_ahead_changes_nothing(name, most, bytes_, monkeypatch):
    layer, x = COMPILED[name](num_layers=2, rng=1), of_batch(3, "float32")
    stream = layer.stream(3, head_of(layer))
    module = sys.modules[host_kernels.kernels().Stack.__module__]
    monkeypatch.setattr(module, "MOST_AHEAD", most)
    monkeypatch.setattr(module, "AHEAD_BYTES", bytes_)
    other = layer.stream(3, head_of(layer))
    np.testing.assert_array_equal(other.block(x), stream.block(x))
    assert_same_state(other, stream)


@pytest.mark.parametrize("name", BOTH)
@given(data=st.data())
def test_any_cut_of_a_sequence_gives_the_same(name, data):
    layer = LAYERS[name](num_layers=data.draw(st.integers(1, 3)), rng=1)
    head = data.draw(st.sampled_from([None, head_of(layer)]))
    batch = data.draw(st.sampled_from([None, 1, 3]))
    stream, other = layer.stream(batch, head), layer.stream(batch, head)
    x = of_batch(batch, "float32")
    at, found = 0, []
    for length in data.draw(st.lists(st.integers(-1, len(x)), max_size=8)):
        length = min(length, len(x) - at)
        if length < 0:  # stands for a step
            found += [np.array(stream.step(x[at]))[None]] if at < len(x) else []
            at += at < len(x)
        else:
            out = np.full((length, *stream.block(x[:0]).shape[1:]), np.nan, "float32")
            found.append(stream.block(x[at : at + length], out if data.draw(st.booleans()) else None))
            at += length
    found.append(stream.block(x[at:]))
    assert_same(stream, np.concatenate(found), other.block(x))
    assert_same_state(stream, other)


@pytest.mark.parametrize("name", LAYERS)
def test_batch_first_layers_take_blocks_by_time_too(name):
    layer, turned = (LAYERS[name](batch_first=first, dtype="float64", rng=1) for first in (False, True))
    for batch in (None, 3):
        x = of_batch(batch, "float64", 9)
        np.testing.assert_array_equal(turned.stream(batch).block(x), layer.stream(batch).block(x))


@pytest.mark.parametrize("name", BOTH)
def test_odd_inputs_give_the_same(name, tmp_path):
    layer = LAYERS[name](rng=1)
    stream, x = layer.stream(3), np.round(of_batch(3, "float32", 5))
    expected = stream.block(x)
    reverted = np.ascontiguousarray(x[::-1])[::-1]
    locked, mapped = x.copy(), np.memmap(tmp_path / "x", "float32", "w+", shape=x.shape)
    locked.flags.writeable = False
    mapped[:] = x
    shifted = np.frombuffer(b"-" + x.tobytes(), "float32", offset=1).reshape(x.shape)
    for odd in (
        locked, mapped, shifted, x.tolist(), list(x), np.asfortranarray(x), x.repeat(2, -1)[..., ::2], reverted,
        x.astype("float64"), x.astype("int8"), x.astype(">f4"), Tensor(x, requires_grad=True),
    ):  # fmt: skip
        stream.reset()
        np.testing.assert_array_equal(stream.block(odd), expected)
    np.testing.assert_array_equal(locked, x)


@pytest.mark.parametrize("name", BOTH)
def test_what_does_not_fit_is_named_and_changes_nothing(name):
    layer = LAYERS[name](rng=1)
    stream, single, x = layer.stream(2), layer.stream(None), np.ones((4, 2, I), "float32")
    y = np.zeros((4, 2, layer.state_sizes[0]), "float32")
    stream.block(x)
    before = parts(stream.state)
    for block, error, words in (
        (lambda: stream.block(x[0]), ValueError, r"x has shape \(2, 3\); expected \(T, 2, 3\)"),
        (lambda: stream.block(x[:, :1]), ValueError, r"x has shape \(4, 1, 3\); expected \(T, 2, 3\)"),
        (lambda: stream.block(x[None]), ValueError, r"x has shape \(1, 4, 2, 3\); expected \(T, 2, 3\)"),
        (lambda: stream.block(np.float32(1)), ValueError, r"x has shape \(\); expected \(T, 2, 3\)"),
        (lambda: single.block(x), ValueError, r"x has shape \(4, 2, 3\); expected \(T, 3\)"),
        (lambda: single.step(x), ValueError, r"x has shape \(4, 2, 3\); expected \(3,\)"),
        (lambda: stream.block([1.0, [2.0]]), ValueError, r"x is a list of no one shape; expected .* \(T, 2, 3\)"),
        (lambda: stream.block(None), TypeError, "x is a NoneType"),
        (lambda: stream.block(x * 1j), TypeError, "complex64"),
        (lambda: stream.block(np.ma.masked_array(x)), TypeError, "x is a masked array"),
        (lambda: stream.block(x, y[:3]), ValueError, r"out has shape \(3, 2, \d\); expected \(4, 2, \d\)"),
        (lambda: stream.block(x, y[0]), ValueError, r"out has shape \(2, \d\); expected \(4, 2, \d\)"),
        (lambda: stream.block(x, y.astype("float64")), TypeError, "out has dtype float64; expected float32"),
        (lambda: stream.block(x, y.repeat(2, 0)[::2]), ValueError, "out is not contiguous; expected an array"),
        (lambda: stream.block(x, np.asfortranarray(y)), ValueError, "out is not contiguous; expected an array"),
        (lambda: stream.block(x, np.broadcast_to(y, y.shape)), ValueError, "out is read-only"),
        (lambda: stream.block(x, y.astype(">f4")), TypeError, "out has dtype big-endian float32"),
        (lambda: stream.block(x, y.tolist()), TypeError, "out is a list; expected an array"),
        (lambda: stream.block(x, Tensor(y)), TypeError, "out is a Tensor; expected an array"),
        (lambda: stream.block(x, np.ma.masked_array(y)), TypeError, "out is a masked array"),
    ):
        with pytest.raises(error, match=words) as said:
            block()
        assert "LSTM.stream" in str(said.value) or "GRU.stream" in str(said.value)
        for part, old in zip(parts(stream.state), before, strict=True):
            np.testing.assert_array_equal(part, old)
    assert not y.any()


@pytest.mark.parametrize("name", BOTH)
def test_outputs_go_where_they_are_wanted(name, tmp_path):
    layer = LAYERS[name](num_layers=2, rng=1)
    stream, x = layer.stream(3, head_of(layer, I)), of_batch(3, "float32")
    expected = stream.block(x)
    around = np.zeros((len(x) + 2, 3, I), "float32")
    mapped = np.memmap(tmp_path / "y", "float32", "w+", shape=x.shape)
    itself = x.copy()
    later, earlier = (np.concatenate([x[:5], x]) for _ in range(2))
    for given_x, out in (
        (x, around[1:-1]),
        (x, mapped),
        (itself, itself),
        (later[5:], later[:-5]),  # overlapping, and moved by other than a chunk
        (earlier[5:], earlier[5:]),
    ):
        stream.reset()
        assert stream.block(given_x, out=out) is out
        np.testing.assert_array_equal(out, expected)
    assert not around[[0, -1]].any()
    stream.reset()
    forwards = np.concatenate([x, x[:5]])
    np.testing.assert_array_equal(stream.block(forwards[:-5], forwards[5:]), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_a_block_of_no_step_changes_nothing(name):
    layer = LAYERS[name](num_layers=2, rng=1)
    for head, outputs in ((None, layer.state_sizes[0]), (head_of(layer), O)):
        for batch in (None, 3):
            stream = layer.stream(batch, head)
            x = of_batch(batch, "float32", 3)
            stream.block(x)
            before = parts(stream.state)
            out = np.empty((0, *x.shape[1:-1], outputs), "float32")
            assert stream.block(x[:0]).shape == out.shape
            assert stream.block(x[:0], out) is out
            for part, old in zip(parts(stream.state), before, strict=True):
                np.testing.assert_array_equal(part, old)


@pytest.mark.parametrize("name", BOTH)
def test_new_weights_are_noticed_between_blocks(name):
    layer, other = (LAYERS[name](num_layers=2, dtype="float64", rng=seed) for seed in (1, 2))
    head, x = head_of(layer), of_batch(3, "float64", 4)
    stream = layer.stream(3, head)

    def check():
        expected = head(layer(x)[0]).data
        for run in (stream.block, lambda x: steps(stream, x)):
            stream.reset()
            np.testing.assert_allclose(run(x), expected, atol=1e-12)

    check()
    layer.load_state_dict(other.state_dict())
    check()
    head.weight.data = -head.weight.data
    check()
    head.bias.data = 1.0 + head.bias.data
    check()
    head.weight = Parameter(np.ones((O, head.in_features)))
    check()
    head.bias = None
    check()
    head.bias = Parameter(np.ones(O))
    check()
    head.weight.data[...] = 3.0
    stream.reload()
    check()
    head.weight = Parameter(np.ones((3, head.in_features)))
    with pytest.raises(ValueError, match=r"stream: head.weight has shape \(3, \d\); expected \(2, \d\)"):
        stream.block(x)


def test_new_weights_while_streaming_keep_the_state():
    layer = nn.GRU(I, H, rng=1)
    head, x = head_of(layer), of_batch(None, "float32")
    stream, plain = layer.stream(None, head), layer.stream(None)
    stream.block(x[:5])
    head.load_state_dict(head_of(layer, seed=5).state_dict())
    stream.block(x[5:])
    plain.block(x)
    assert_same_state(stream, plain)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))])
@pytest.mark.parametrize("name", BOTH)
def test_a_copy_has_the_head_too(name, copied):
    layer = LAYERS[name](num_layers=2, rng=1)
    for batch in (None, 3):
        stream, x = layer.stream(batch, head_of(layer)), of_batch(batch, "float32", 9)
        stream.block(x[:3])
        other = copied(stream)
        expected = stream.block(x[3:])
        np.testing.assert_array_equal(other.block(x[3:]), expected)
        assert_same_state(other, stream)
        assert repr(other) == repr(stream)


@pytest.mark.parametrize("name", BOTH)
def test_state_is_set_and_reset_between_blocks(name):
    layer = LAYERS[name](num_layers=2, rng=1)
    stream, x = layer.stream(3, head_of(layer)), of_batch(3, "float32")
    for first in (1, 2, 65):  # odd and even, since states have two places
        stream.reset()
        begun = stream.block(x[:first])
        middle = stream.state
        rest = stream.block(x[first:])
        stream.state = middle
        np.testing.assert_array_equal(stream.block(x[first:]), rest)
        stream.reset()
        np.testing.assert_array_equal(stream.block(x[:first]), begun)


def test_the_output_of_a_step_outlives_blocks_and_one_more_step():
    layer = nn.LSTM(I, H, rng=1)
    for blocks in range(3):
        stream, x = layer.stream(), of_batch(1, "float32", 3)
        y = stream.step(x[0])
        kept = y.copy()
        for _ in range(blocks):
            stream.block(x)
        stream.step(x[1])
        np.testing.assert_array_equal(y, kept)


@compiled_only
@pytest.mark.parametrize("name", COMPILED)
def test_nothing_is_allocated(name):
    layer = COMPILED[name](num_layers=2, rng=1)
    stream, x = layer.stream(3, head_of(layer)), of_batch(3, "float32")
    out = np.empty((*x.shape[:-1], O), "float32")
    for _ in range(10):
        stream.block(x, out)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    for _ in range(100):
        stream.block(x, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - before < 2000  # views and Python numbers, no array


@compiled_only
def test_who_runs_is_told():
    layer, x = nn.LSTM(I, H, rng=1), of_batch(1, "float32", 2)
    stream = layer.stream(1, head_of(layer))
    assert repr(stream) == (
        "LSTM.stream(batch=1, head=Linear(7, 2, bias=True)): "
        "one compiled call for all layers and the head, steps in registers"
    )
    for told in (explain(stream.block, x), explain(stream.step, x[0])):
        assert told == "LSTM.stream: one compiled call for all layers and the head, steps in registers"
    other = nn.LSTM(I, H, proj_size=4).stream(None)
    assert "LSTM.stream(batch=None): calls of the layer, since there is no compiled one (no kernel for" in repr(other)
    assert "compiled: runs" in explain(other.block, x[:, 0])


def test_without_kernels_blocks_are_calls_of_the_layer(monkeypatch):
    layer, x = nn.GRU(I, H, num_layers=2, rng=1), of_batch(3, "float32")
    expected = layer.stream(3, head_of(layer)).block(x)
    monkeypatch.setattr(host_kernels, "kernels", lambda: "there are none")
    stream = layer.stream(3, head_of(layer))
    assert "(there are none)" in repr(stream)
    np.testing.assert_allclose(stream.block(x), expected, atol=1e-5)


def test_on_array_api_strict():
    strict = pytest.importorskip("array_api_strict")
    home = get_backend("array_api_strict", strict.Device("device1"))
    layer = nn.LSTM(I, H, dtype="float64", rng=1)
    head, x = head_of(layer), of_batch(3, "float64", 5)
    stream = layer.stream(3, head)
    expected = stream.block(x)
    stream.reset()
    stream.block(x[:2])
    layer.to(home)
    head.to(home)
    out = home.zeros((3, 3, O), "float64")
    assert stream.block(home.asarray(x[2:]), out) is out
    np.testing.assert_allclose(to_numpy(out), expected[2:], atol=1e-12)
    with pytest.raises(TypeError, match=r"LSTM.stream: out is an array of numpy.*are of array_api_strict"):
        stream.block(home.asarray(x[2:]), np.zeros((3, 3, O)))


@pytest.mark.parametrize("name", BOTH)
def test_heads_that_do_not_fit_are_refused(name):
    layer = LAYERS[name](rng=1)
    size = layer.state_sizes[0]
    for head, error, words in (
        (
            nn.Linear(size + 1, O),
            ValueError,
            rf"head is Linear\({size + 1}, 2, bias=True\); expected one of {size} inputs",
        ),
        (nn.Linear(size, O, dtype="float64"), ValueError, "head has dtype float64; the layer has float32"),
        (nn.Sequential(nn.Linear(size, O)), TypeError, "head is a Sequential; expected an nn.Linear"),
        (np.ones((O, size)), TypeError, "head is a ndarray; expected an nn.Linear"),
        (type("Other", (nn.Linear,), {})(size, O), TypeError, "head is a Other; expected an nn.Linear"),
    ):
        with pytest.raises(error, match=rf"(LSTM|GRU).stream: {words}"):
            layer.stream(head=head)


def test_a_head_that_fails_leaves_the_state(monkeypatch):
    layer = nn.LSTM(I, H, proj_size=4, rng=1)
    stream, x = layer.stream(3, head_of(layer)), of_batch(3, "float32", 4)
    stream.block(x)
    before = parts(stream.state)

    def interrupted(self, x):
        raise KeyboardInterrupt

    monkeypatch.setattr(nn.Linear, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stream.block(x)
    for part, old in zip(parts(stream.state), before, strict=True):
        np.testing.assert_array_equal(part, old)


def test_streams_of_several_threads_do_not_mix():
    layer = nn.LSTM(I, H, num_layers=2, rng=1)
    head, inputs = head_of(layer), [np.roll(of_batch(3, "float32"), k, 0) for k in range(4)]
    expected = [layer.stream(3, head).block(x) for x in inputs]
    found, begin = [None] * len(inputs), threading.Barrier(len(inputs))

    def work(k):
        begin.wait()
        stream = layer.stream(3, head)
        for _ in range(20):
            stream.reset()
            found[k] = np.concatenate([stream.block(part) for part in np.array_split(inputs[k], 7)])

    workers = [threading.Thread(target=work, args=(k,)) for k in range(len(inputs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for one, other in zip(found, expected, strict=True):
        assert_same(layer.stream(3, head), one, other)


@compiled_only
@pytest.mark.parametrize("infinity", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", COMPILED)
def test_what_is_not_finite_goes_the_same_way(name, infinity):
    layer, x = COMPILED[name](num_layers=2, rng=1), of_batch(3, "float32", 8)
    x[2, 0, 0] = infinity
    stream, other = layer.stream(3, head_of(layer)), layer.stream(3, head_of(layer))
    np.testing.assert_array_equal(stream.block(x), steps(other, x))
