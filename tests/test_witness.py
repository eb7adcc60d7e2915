"""Arrays that are written to between forward and backward: told, or of no matter; never silently other gradients."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xprnn import Tensor, debug, explain, grad, nn, no_grad, ops, use_kernels
from xprnn.backend import get_backend

T, B, I = 6, 4, 8  # noqa: E741


class Step(nn.Module):
    """A cell of one's own."""

    state_sizes = (I,)

    def __init__(self):
        self.weight = nn.Linear(I, I, rng=0)

    def step(self, x, state):
        return (ops.tanh(self.weight(x) + 0.5 * x * state[0]),)


LAYERS = {
    "rnn": lambda: nn.RNN(I, 5, rng=0),
    "lstm": lambda: nn.LSTM(I, 5, rng=0),
    "lstm batch first": lambda: nn.LSTM(I, 5, batch_first=True, rng=0),
    "lstm both ways": lambda: nn.LSTM(I, 5, bidirectional=True, rng=0),
    "lstm peephole": lambda: nn.LSTM(I, 5, peephole="diagonal", rng=0),
    "lstm projected": lambda: nn.LSTM(I, 5, proj_size=2, rng=0),
    "gru": lambda: nn.GRU(I, 5, rng=0),
    "gru reset before": lambda: nn.GRU(I, 5, reset_after=False, rng=0),
    "one's own": lambda: nn.Recurrent(Step()),
    "linear": lambda: nn.Linear(I, 5, rng=0),
    "layer norm": lambda: nn.LayerNorm(I),
    "attention": lambda: nn.MultiheadAttention(I, 2, rng=0),
}
CELLS = {"rnn cell": nn.RNNCell, "lstm cell": nn.LSTMCell, "gru cell": nn.GRUCell}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def outcome(layer, x):
    """The first result, also of attention, which takes three of x."""
    result = layer(x, x, x) if isinstance(layer, nn.MultiheadAttention) else layer(x)
    return result[0] if isinstance(result, tuple) else result


def gradients(layer, y):
    layer.zero_grad()
    (y * y).sum().backward()
    return [p.grad.data.copy() for p in layer.parameters()]


def told_or_unharmed(layer, x, write):
    """Whether backward told of a write after the forward pass; where not, gradients are right."""
    expected = gradients(layer, outcome(layer, x.copy()))
    y = outcome(layer, x)
    write(x)
    layer.zero_grad()
    try:
        found = gradients(layer, y)
    except RuntimeError as error:
        return str(error) if all(p.grad is None for p in layer.parameters()) else "told too late"
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    return ""


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_the_next_batch_in_the_same_memory(make, kernels):
    with use_kernels(kernels):
        said = told_or_unharmed(make(), draw(T, B, I), lambda x: np.copyto(x, draw(T, B, I, seed=1)))
    assert "was written to after the forward pass" in said or isinstance(make(), nn.LayerNorm)  # which reads no x again


@pytest.mark.parametrize("make", CELLS.values(), ids=CELLS.keys())
def test_of_single_cells(make):
    said = told_or_unharmed(make(I, 5, rng=0), draw(B, I), lambda x: x.fill(0.0))
    assert "backward: x of " in said


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
@given(place=st.integers(0, T * B * I - 1))
def test_of_any_single_number_under_debug(make, place):
    with debug():
        said = told_or_unharmed(make(), draw(T, B, I), lambda x: x.reshape(-1).__setitem__(place, 7.0))
    assert said == "" or "was written to after the forward pass" in said


def test_a_mask_of_attention():
    scores, mask = Tensor(draw(B, I), requires_grad=True), np.ones((B, I), bool)
    y = nn.masked_softmax(scores, mask)
    mask[:, 0] = False
    with pytest.raises(RuntimeError, match="mask of masked_softmax .* was written to after the forward pass"):
        y[0, 0].backward()
    assert scores.grad is None


def test_the_error_names_layer_and_argument():
    layer, x, h, c = nn.LSTM(I, 5, rng=0), draw(T, B, I), draw(1, B, 5), draw(1, B, 5)
    mask, reset = np.ones((T, B), bool), np.zeros((T, B), bool)
    for array, words in (
        (x, r"backward: x of LSTM \(shape \(6, 4, 8\)\) was written to after the forward pass"),
        (h, "the initial h of LSTM"),
        (c, "the initial c of LSTM"),
        (mask, "mask or lengths of LSTM"),
        (reset, "reset of LSTM"),
    ):
        y, _ = layer(x, (h, c), mask=mask, reset=reset)
        array[...] = ~array if array.dtype == bool else array + 1
        with pytest.raises(RuntimeError, match=words):
            y.sum().backward()


def test_of_indices_and_conditions():
    table, numbers = nn.Embedding(9, 3, rng=0), np.arange(6)
    rows = table(numbers)
    numbers[:] = 0
    with pytest.raises(RuntimeError, match="indices of take"):
        rows.sum().backward()
    x, condition = Tensor(np.ones(3), requires_grad=True), np.array([True, False, True])
    y = ops.where(condition, x, 0.0).sum()
    condition[:] = True
    with pytest.raises(RuntimeError, match="the condition of where"):
        y.backward()


def test_what_no_rule_reads_may_be_written_to():
    x, other = Tensor(np.ones(3), requires_grad=True), np.ones(3)
    factor = np.full(3, 2.0)
    for y in (x + other, x - other, ops.where(True, x, other), ops.concat([x, other]), x * 2.0, other * 0.0 + x):
        x.data[...], other[...] = x.data + 1, other + 1
        assert grad(y.sum(), x)[0].data.tolist() == [1.0 + (y.node.name == "multiply")] * 3
    y = (x * factor).sum()
    x.data[...] = 5.0  # its gradient is the factor
    assert grad(y, x)[0].data.tolist() == [2.0] * 3
    y = (x * factor).sum()
    factor[0] = 3.0
    with pytest.raises(RuntimeError, match="the right operand of multiply"):
        grad(y, x)


def test_nan_is_itself():
    layer, x = nn.Linear(3, 2, rng=0), np.full((4, 3), np.nan, "float32")
    layer(x).sum().backward()
    with debug():
        layer(x).sum().backward()


def test_weights_and_results_under_debug():
    layer, x = nn.Linear(I, 5, rng=0), Tensor(draw(T, I), requires_grad=True)
    with debug():
        y = ops.tanh(layer(x))
        layer.weight.data[0, 0] += 1.0
        with pytest.raises(RuntimeError, match="weight of linear"):
            y.sum().backward()
        y = ops.tanh(layer(x))
        y.data[0, 0] = 7.0
        with pytest.raises(RuntimeError, match="the result of tanh"):
            y.sum().backward()


def test_debug_on_another_backend():
    home = get_backend("array_api_strict")
    layer, x = nn.LSTM(I, 5, rng=0).to(home), home.asarray(draw(T, B, I))
    with debug():
        y, _ = layer(x)
        x[0, 0, 0] = 7.0
        with pytest.raises(RuntimeError, match="x of LSTM"):
            y.sum().backward()


def test_debug_for_the_process_and_what_explain_says_of_it():
    layer, x = nn.LSTM(I, 5, rng=0), draw(T, B, I)
    assert "debug" not in explain(layer, x)
    debug()
    with debug(False):
        assert "debug" not in explain(layer, x)
    assert explain(layer, x).endswith("debug: backward looks whether anything that it reads was written to")
    debug(False)
    assert "debug" not in explain(layer, x)


def test_without_recording_nothing_is_looked_at(monkeypatch):
    monkeypatch.setattr("xprnn.tape.sample", None)
    layer = nn.LSTM(I, 5, rng=0)
    with no_grad():
        layer(draw(T, B, I))
    copy.deepcopy(layer)
