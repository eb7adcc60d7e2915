"""Layers with weights of 8 bits: the same bits by every path, the laws of recurrence, and how far off they are."""

import numpy as np
import pytest

import xprnn
from xprnn import host_kernels, nn
from xprnn.backend import to_numpy

LAYERS = {
    "lstm": lambda *a, **o: nn.LSTM(*a, **o),
    "gru": lambda *a, **o: nn.GRU(*a, **o),
    "rnn": lambda *a, **o: nn.RNN(*a, **o),
    "relu": lambda *a, **o: nn.RNN(*a, nonlinearity="relu", **o),
}
OPTIONS = {
    "two": {"num_layers": 2},
    "both ways": {"bidirectional": True},
    "back, no bias": {"bias": False, "reverse": True},
}
T, B, I, H = 12, 3, 5, 19  # noqa: E741
RNG = np.random.default_rng(0)
X = RNG.standard_normal((T, B, I)).astype("float32")


def flat(result):
    output, state = result
    return [to_numpy(part.data) for part in (output, *(state if isinstance(state, tuple) else (state,)))]


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_array_code_and_kernels_have_the_same_bits(name, options):
    layer = LAYERS[name](I, H, rng=1, **options)
    found = nn.quantize(layer)
    padded = X.copy()
    padded[4:, 1] = np.nan
    start = [RNG.standard_normal((len(layer.weights()), B, H)).astype("float32") * 2 for _ in layer.state_names]
    for x, given in (
        (X, {}),
        (padded, {"lengths": [12, 4, 7]}),
        (X, {"mask": RNG.random((T, B)) < 0.7, "reset": RNG.random((T, B)) < 0.3}),
        (X, {"state": tuple(start) if len(start) > 1 else start[0]}),
    ):
        compiled = flat(found(x, **given))
        with xprnn.use_kernels("reference"):
            assert_same(compiled, flat(found(x, **given)))
        for a, b in zip(compiled, flat(layer(x, **given)), strict=True):
            assert np.abs(a - b).max() < 0.06 * max(1.0, np.abs(b).max())


def test_other_libraries_have_the_same_bits(home):
    model = nn.quantize(nn.Sequential(nn.GRU(I, H, rng=1), nn.Linear(H, 2, rng=1)))
    expected = model(X).data
    np.testing.assert_array_equal(to_numpy(model.to(home)(home.asarray(X)).data), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_laws(name):
    found = nn.quantize(LAYERS[name](I, H, rng=1))
    whole = flat(found(X))
    output = whole[0]
    turned = flat(found(X[:, [2, 2, 1, 0]]))  # sequences do not see each other, and 4 of them go another way than 3
    assert_same([part[..., [3, 2, 1], :] for part in turned], whole)
    head, after = found(X[:5])
    tail = flat(found(X[5:], after))
    assert_same([np.concatenate([head.data, tail[0]]), *tail[1:]], whole)
    for steps, batch in ((0, 2), (3, 0)):
        assert flat(found(np.zeros((steps, batch, I), "float32")))[0].shape == (steps, batch, H)
    for bad in (np.nan, np.inf):
        x = X.copy()
        x[3, 1, 2] = bad
        off = flat(found(x))[0]
        assert np.isnan(off[3:, 1]).all()
        np.testing.assert_array_equal(off[:, 0], output[:, 0])
        np.testing.assert_array_equal(off[:3, 1], output[:3, 1])


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch", [None, 3])
def test_a_stream_has_the_bits_of_the_sequence(name, batch):
    found, head = nn.quantize(LAYERS[name](I, H, 2, rng=1)), nn.quantize(nn.Linear(H, 3, rng=2))
    x = X[:, 0] if batch is None else X
    expected, *state = flat(found(x))
    for forced in ("auto", "reference"):
        with xprnn.use_kernels(forced):
            stream = found.stream(batch, head=head)
            block = stream.block(x[:7])
            steps = [stream.step(x_t).copy() for x_t in x[7:]]
            np.testing.assert_array_equal(np.concatenate([block, steps]), head(expected).data)
            parts = stream.state if isinstance(stream.state, tuple) else (stream.state,)
            assert_same([part.reshape(other.shape) for part, other in zip(parts, state, strict=True)], state)
            found.load_state_dict(nn.quantize(LAYERS[name](I, H, 2, rng=7)).state_dict())
            changed = stream.step(x[0]).copy()
            stream.reset()
            assert not np.array_equal(changed, block[0])
            found.load_state_dict(nn.quantize(LAYERS[name](I, H, 2, rng=1)).state_dict())


def parts_of(states):
    return [part for own in states for part in (own if isinstance(own, tuple) else (own,))]


def norm_lstm(inputs, seed):
    return nn.LSTM(inputs, H, layer_norm=True, rng=seed)  # which stays as it is


MIXED = {
    "norm between": lambda: nn.quantize(
        nn.Sequential(nn.LSTM(I, H, rng=1), nn.LayerNorm(H), nn.Linear(H, 4, rng=1), nn.ReLU(), nn.Linear(4, 2, rng=2))
    ),
    "float head": lambda: nn.Sequential(
        *nn.quantize(nn.Sequential(nn.GRU(I, H, 2, rng=1), nn.Tanh())), nn.LayerNorm(H), nn.Linear(H, 3, rng=1),
        nn.Sigmoid(), nn.Linear(3, 70, bias=False, rng=2),
    ),
    "float first": lambda: nn.Sequential(nn.Linear(I, 7, rng=1), *nn.quantize(nn.Sequential(nn.RNN(7, H, rng=1)))),
    "float layers": lambda: nn.quantize(
        nn.Sequential(norm_lstm(I, 1), nn.LSTM(H, H, rng=2), nn.SLSTM(H, 20, num_heads=2, rng=3), norm_lstm(20, 4))
    ),
    "no kernel": lambda: nn.quantize(nn.Sequential(nn.GRU(I, H, rng=1), nn.Linear(H, 3, rng=1), nn.Softmax())),
}  # fmt: skip


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("name", MIXED)
def test_a_stream_whose_parts_have_weights_of_both_kinds(name, batch):
    model, x = MIXED[name](), X[:, 0] if batch is None else X
    stream = model.stream(batch)
    if isinstance(host_kernels.int8_kernels(), str) or name == "no kernel":
        assert "calls of one part after another, since there is no compiled one (" in repr(stream)
    else:
        exact = "" if name == "norm between" else " and of float32"
        assert repr(stream).endswith(f"one compiled call for all parts, weights of 8 bits{exact}")
    for told in (xprnn.explain(stream.step, x[0]), xprnn.explain(stream.block, x)):
        assert told.startswith(f"Sequential.stream: {repr(stream).split(': ')[1]}")
    # Where a float is rounded otherwise before it is coded, a code may be the next one.
    stream.reset()
    with xprnn.no_grad():
        expected = model(x).data
    np.testing.assert_allclose(stream.block(x), expected, atol=1e-5 if name == "float head" else 1e-2)
    after, other = stream.state, model.stream(batch)
    pieces = [other.block(x[:3]), *(other.step(row)[None].copy() for row in x[3:5]), other.block(x[5:])]
    assert_same(parts_of(other.state), parts_of(after))
    stream.reset()
    np.testing.assert_array_equal(np.concatenate(pieces), stream.block(x))


def test_a_float_head_of_a_quantized_layer():
    found, head = nn.quantize(nn.LSTM(I, H, rng=1)), nn.Linear(H, 2, rng=1)
    stream = found.stream(B, head=head)
    np.testing.assert_allclose(stream.block(X), head(found(X)[0]).data, atol=1e-6)
    head.bias.data = head.bias.data + 1.0  # is noticed
    stream.reset()
    np.testing.assert_allclose(stream.block(X), head(found(X)[0]).data, atol=1e-6)


def product(x, weight, scale):
    """x W^T by its definition, in float64 but for the codes: max|x| is 127, and ties go to even."""
    top = np.maximum(np.abs(x).max(axis=-1, keepdims=True), np.float32(1e-30))
    codes = np.rint(x * (np.float32(127) / top)).astype(np.int64)
    return (codes @ weight.astype(np.int64).T) * (top.astype("f8") / 127) * scale


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstm(z_x, z_h, b_ih, b_hh, h, c):
    i, f, g, o = np.split(z_x + z_h + b_ih + b_hh, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(z_x, z_h, b_ih, b_hh, h):
    (x_r, x_z, x_n), (h_r, h_z, h_n) = (np.split(z, 3, axis=-1) for z in (z_x + b_ih, z_h + b_hh))
    z = sigmoid(x_z + h_z)
    return ((1 - z) * np.tanh(x_n + sigmoid(x_r + h_r) * h_n) + z * h,)


EQUATIONS = {
    "lstm": lstm,
    "gru": gru,
    "rnn": lambda z_x, z_h, b_ih, b_hh, h: (np.tanh(z_x + z_h + b_ih + b_hh),),
    "relu": lambda z_x, z_h, b_ih, b_hh, h: (np.maximum(z_x + z_h + b_ih + b_hh, 0),),
}


@pytest.mark.parametrize("size", [1, 19, 64, 131])
@pytest.mark.parametrize("name", LAYERS)
def test_each_step_is_the_equations_of_codes(name, size):
    """From the states that the layer itself had before, since a rounding that falls elsewhere makes another code."""
    found = nn.quantize(LAYERS[name](I, size, rng=1))
    w = {key.removesuffix("_l0"): array for key, array in found.state_dict().items()}
    output, _, after = found(X, return_all_states=True)
    after = [part.data[:, 0] for part in (after if isinstance(after, tuple) else (after,))]
    before = [np.concatenate([np.zeros_like(part[:1]), part[:-1]]) for part in after]
    expected = EQUATIONS[name](
        product(X, w["weight_ih"], w["scale_ih"]), product(before[0], w["weight_hh"], w["scale_hh"]),
        w["bias_ih"], w["bias_hh"], *before,
    )  # fmt: skip
    for part, other in zip(after, expected, strict=True):
        np.testing.assert_allclose(part, other, atol=2e-6)
    np.testing.assert_array_equal(output.data, after[0])


def test_explain_names_the_path():
    found = nn.quantize(nn.Sequential(nn.LSTM(I, H), nn.Linear(H, 2)))
    text = xprnn.explain(found, X)
    assert "LSTM in int8, T=12 B=3 I=5, forward in time\n  compiled: " in text
    assert "Linear in int8, 36 rows\n  compiled: " in text
    with xprnn.use_kernels("reference"):
        assert "compiled: declines (not forced)\n  array code: runs" in xprnn.explain(found, X)
    with xprnn.use_kernels("scan"), pytest.raises(RuntimeError, match="it has no products of 8 bits"):
        found(X)
    with xprnn.use_kernels("compiled"), pytest.raises(RuntimeError, match="there is nothing to run"):
        found(X[:0])
