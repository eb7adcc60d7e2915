"""The systems of the two slide decks, written as there: NumPy, column vectors, one sequence at a time, W for [x; h].

Their numbers and ours agree to 1e-12 in float64, with each way to run a layer.
"""

import numpy as np
import pytest
from helpers import assert_close

import xprnn
from xprnn import Tensor, nn, ops
from xprnn.data import lengths_to_mask, pad_sequences
from xprnn.nn.attention.weights import masked_softmax
from xprnn.train import clip_grad_norm

I, H, O, T = 10, 20, 5, 5  # noqa: E741
TOLERANCE = 1e-12


@pytest.fixture(params=["auto", "reference"], autouse=True)
def kernels(request):
    with xprnn.use_kernels(request.param):
        yield


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def columns(rng, steps=T, size=I):
    return [rng.standard_normal((size, 1)) for _ in range(steps)]


def sequence(inputs):
    """Column vectors as a time-major batch of one."""
    return np.stack([x[:, 0] for x in inputs])[:, None]


def assert_columns(found, expected):
    """(T, 1, size), or (1, size), against column vectors."""
    expected = sequence(expected) if isinstance(expected, list) else expected.T
    assert_close(found, expected, TOLERANCE)


def set_weights(layer, **weights):
    """Give a layer its parameters by name, without the suffix of layer and direction; the others become zero."""
    for name, parameter in layer.named_parameters():
        plain = name.replace("_l0", "")
        parameter.data = weights.pop(plain) if plain in weights else np.zeros(parameter.shape)
    assert not weights


# --- SimpleRNN ------------------------------------------------------------------------------------------------------


class SimpleRNN:
    """The slides': h = tanh(Wxh x + Whh h + bh), y = Why h + by."""

    def __init__(self, rng, scale=0.01):
        shapes = {"Wxh": (H, I), "Whh": (H, H), "Why": (O, H), "bh": (H, 1), "by": (O, 1)}
        for name, shape in shapes.items():
            setattr(self, name, rng.standard_normal(shape) * scale)

    def step(self, x, h):
        return np.tanh(self.Wxh @ x + self.Whh @ h + self.bh)

    def forward(self, inputs, h=None):
        h = np.zeros((H, 1)) if h is None else h
        outputs, states = [], []
        for x in inputs:
            h = self.step(x, h)
            states.append(h)
            outputs.append(self.Why @ h + self.by)
        return outputs, states

    def weights(self, suffix=""):
        """Of nn.RNN."""
        names = {"weight_ih": self.Wxh, "weight_hh": self.Whh, "bias_ih": self.bh[:, 0]}
        return {name + suffix: weight for name, weight in names.items()}

    def ours(self):
        rnn, output = nn.RNN(I, H, dtype="float64"), nn.Linear(H, O, dtype="float64")
        set_weights(rnn, **self.weights())
        set_weights(output, weight=self.Why, bias=self.by[:, 0])
        return rnn, output


@pytest.mark.parametrize("scale", [0.01, 1.0])
def test_simple_rnn_with_output_layer(rng, scale):
    theirs, inputs, h0 = SimpleRNN(rng, scale), columns(rng), rng.standard_normal((H, 1))
    rnn, output = theirs.ours()
    for start in (None, h0):
        expected, states = theirs.forward(inputs, start)
        hidden, last = rnn(sequence(inputs), None if start is None else start.T[None])
        assert_columns(output(hidden), expected)
        assert_columns(hidden, states)
        assert_columns(last[0], states[-1])


def test_the_state_handed_on_continues_the_sequence(rng):
    """As their truncated backpropagation hands h in: 100 steps in chunks of 20."""
    theirs, inputs = SimpleRNN(rng), columns(rng, 100)
    rnn, output = theirs.ours()
    h, state = None, None
    for start in range(0, 100, 20):
        chunk = inputs[start : start + 20]
        expected, states = theirs.forward(chunk, h)
        hidden, state = rnn(sequence(chunk), state)
        h = states[-1]
        assert_columns(output(hidden), expected)
        assert_columns(state[0], h)
    assert_columns(state[0], theirs.forward(inputs)[1][-1])


def test_masked_step(rng):
    """h = m h_new + (1 - m) h, for a mask that may return to 1."""
    theirs, inputs, mask = SimpleRNN(rng), columns(rng), [1, 0, 1, 1, 0]
    rnn, _ = theirs.ours()
    h, states = np.zeros((H, 1)), []
    for x, m in zip(inputs, mask, strict=True):
        h = m * theirs.step(x, h) + (1 - m) * h
        states.append(h)
    _, last, (every,) = rnn(sequence(inputs), mask=np.array(mask, bool)[:, None], return_all_states=True)
    assert_columns(last[0], h)
    assert_columns(every[:, 0], states)


def test_padding_and_its_mask(rng):
    sequences = [[1, 2, 3], [4, 5], [6, 7, 8, 9]]
    longest = max(len(s) for s in sequences)
    padded = np.array([s + [0] * (longest - len(s)) for s in sequences])
    mask = np.array([[1] * len(s) + [0] * (longest - len(s)) for s in sequences])
    ours, lengths = pad_sequences(sequences, batch_first=True)
    np.testing.assert_array_equal(ours, padded)
    np.testing.assert_array_equal(lengths_to_mask(lengths, batch_first=True), mask)


# --- gated cells ----------------------------------------------------------------------------------------------------


def gates(rng, *names):
    """For each gate W (H, I + H) of [x; h], and b."""
    return {name: (rng.standard_normal((H, I + H)), rng.standard_normal((H, 1))) for name in names}


def stacked(*parts):
    """Weights of our layers, from W and b of each gate in our order."""
    w, b = (np.concatenate([part[k] for part in parts]) for k in range(2))
    return {"weight_ih": w[:, :I], "weight_hh": w[:, I:], "bias_ih": b[:, 0]}


def apply(gate, x, h):
    return gate[0] @ np.vstack([x, h]) + gate[1]


@pytest.mark.parametrize("peephole", [None, "full"])
def test_lstm(rng, peephole):
    g = gates(rng, "f", "i", "c", "o")
    sees = {name: rng.standard_normal((H, H)) if peephole else np.zeros((H, H)) for name in "ifo"}
    inputs, h, c = columns(rng), rng.standard_normal((H, 1)), rng.standard_normal((H, 1))
    weights = stacked(g["i"], g["f"], g["c"], g["o"])
    if peephole:
        weights["weight_ch"] = np.concatenate([sees[name] for name in "ifo"])
    layer = nn.LSTM(I, H, peephole=peephole, dtype="float64")
    cell = nn.LSTMCell(I, H, peephole=peephole, dtype="float64")
    set_weights(layer, **weights)
    set_weights(cell, **weights)
    found, last = layer(sequence(inputs), (h.T[None], c.T[None]))
    state, states = (h.T, c.T), []
    for x in inputs:
        f = sigmoid(apply(g["f"], x, h) + sees["f"] @ c)
        i = sigmoid(apply(g["i"], x, h) + sees["i"] @ c)
        candidate = np.tanh(apply(g["c"], x, h))
        c = f * c + i * candidate
        o = sigmoid(apply(g["o"], x, h) + sees["o"] @ c)
        h = o * np.tanh(c)
        states.append(h)
        state = cell(x.T, state)
        assert_columns(state[0], h)
        assert_columns(state[1], c)
    assert_columns(found, states)
    assert_columns(last[0][0], h)
    assert_columns(last[1][0], c)


def test_gru_resets_before_the_product_and_means_the_opposite_by_z(rng):
    g = gates(rng, "z", "r", "h")
    inputs, h = columns(rng), rng.standard_normal((H, 1))
    negated = tuple(-part for part in g["z"])
    weights = stacked(g["r"], negated, g["h"])
    layer, cell = (make(I, H, reset_after=False, dtype="float64") for make in (nn.GRU, nn.GRUCell))
    set_weights(layer, **weights)
    set_weights(cell, **weights)
    found, last = layer(sequence(inputs), h.T[None])
    state, states = h.T, []
    for x in inputs:
        z, r = sigmoid(apply(g["z"], x, h)), sigmoid(apply(g["r"], x, h))
        candidate = np.tanh(apply(g["h"], x, r * h))
        h = (1 - z) * h + z * candidate
        states.append(h)
        state = cell(x.T, state)
        assert_columns(state, h)
    assert_columns(found, states)
    assert_columns(last[0], h)


# --- both directions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("joined", ["concatenated", "summed"])
def test_bidirectional(rng, joined):
    """The second network reads the reversed input, and its outputs are reversed back; then one linear layer."""
    forward, backward, inputs = SimpleRNN(rng, 0.3), SimpleRNN(rng, 0.3), columns(rng)
    size = 2 * O if joined == "concatenated" else O
    W, b = rng.standard_normal((O, size)), rng.standard_normal((O, 1))
    there, there_states = forward.forward(inputs)
    back, back_states = backward.forward(inputs[::-1])
    back, back_states = back[::-1], back_states[::-1]
    join = (lambda u, v: np.vstack([u, v])) if joined == "concatenated" else np.add
    expected = [W @ join(u, v) + b for u, v in zip(there, back, strict=True)]

    rnn, output = nn.RNN(I, H, bidirectional=True, dtype="float64"), nn.Linear(size, O, dtype="float64")
    set_weights(rnn, **forward.weights(), **backward.weights("_reverse"))
    set_weights(output, weight=W, bias=b[:, 0])
    hidden, last = rnn(sequence(inputs))
    halves = hidden[..., :H], hidden[..., H:]
    for half, states in zip(halves, (there_states, back_states), strict=True):
        assert_columns(half, states)
    assert_columns(last[0], there_states[-1])
    assert_columns(last[1], back_states[0])  # the second one's last step is the first input
    ys = [theirs.ours()[1](half) for theirs, half in zip((forward, backward), halves, strict=True)]
    ours = ops.concat(ys, axis=-1) if joined == "concatenated" else ys[0] + ys[1]
    assert_columns(output(ours), expected)


# --- attention and clipping -----------------------------------------------------------------------------------------


def test_attention(rng):
    """Scores = keys^T query, weights = softmax(scores), context = values weights; L = 5, H = 10."""
    keys, values, query = rng.standard_normal((10, 5)), rng.standard_normal((10, 5)), rng.standard_normal((10, 1))
    scores = keys.T @ query
    weights = np.exp(scores) / np.exp(scores).sum()
    context = values @ weights
    attention = nn.DotAttention()
    found, looked = attention(query.T, attention.prepare(keys.T[:, None], values.T[:, None]))
    assert_columns(found, context)
    assert_columns(looked, weights)
    assert_columns(masked_softmax(scores.T), weights)
    heads = nn.MultiheadAttention(10, 1, dtype="float64")  # which divides by sqrt(10)
    names = {"in_proj_weight": np.concatenate([np.sqrt(10) * np.eye(10), np.eye(10), np.eye(10)])}
    set_weights(heads, **names, **{"out_proj.weight": np.eye(10)})
    found, looked = heads(query.T[:, None], keys.T[:, None], values.T[:, None])
    assert_columns(found[0], context)
    assert_columns(looked[0], weights)


@pytest.mark.parametrize("scale", [0.01, 10.0])
def test_gradient_clipping(rng, scale):
    gradients = [rng.standard_normal(shape) * scale for shape in ((H, I), (H, H), (O, H))]
    total = np.sqrt(sum((g**2).sum() for g in gradients))
    factor = 5.0 / (total + 1e-6)
    expected = [g * factor if factor < 1 else g for g in gradients]
    parameters = [Tensor(np.zeros(g.shape), requires_grad=True) for g in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = Tensor(gradient)
    assert clip_grad_norm(parameters, 5.0) == pytest.approx(total, rel=1e-14)
    assert_close([p.grad for p in parameters], expected, TOLERANCE)
