"""A weight that does not fit its layer is refused by name on every path, before anything is computed."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xprnn import Tensor, nn, no_grad, use_kernels
from xprnn.cells import LSTM as LSTMSpec
from xprnn.engine.dispatch import IMPLEMENTATIONS
from xprnn.nn.recurrent.stacked import RecurrentLayer
from xprnn.tensor import Parameter

I, H = 3, 8  # noqa: E741

LAYERS = {
    "rnn": lambda **o: nn.RNN(I, H, **o),
    "rnn relu": lambda **o: nn.RNN(I, H, nonlinearity="relu", **o),
    "lstm": lambda **o: nn.LSTM(I, H, **o),
    "lstm peephole": lambda **o: nn.LSTM(I, H, peephole="diagonal", **o),
    "lstm full peephole": lambda **o: nn.LSTM(I, H, peephole="full", **o),
    "lstm projected": lambda **o: nn.LSTM(I, H, proj_size=2, **o),
    "gru": lambda **o: nn.GRU(I, H, **o),
    "gru reset before": lambda **o: nn.GRU(I, H, reset_after=False, **o),
    "a cell of one's own": lambda **o: RecurrentLayer(MyCell(), I, H, **o),
}
CELLS = {
    "rnn cell": lambda: nn.RNNCell(I, H),
    "lstm cell": lambda: nn.LSTMCell(I, H),
    "lstm cell peephole": lambda: nn.LSTMCell(I, H, peephole="diagonal"),
    "lstm cell full peephole": lambda: nn.LSTMCell(I, H, peephole="full"),
    "gru cell": lambda: nn.GRUCell(I, H),
    "gru cell reset before": lambda: nn.GRUCell(I, H, reset_after=False),
}
X = np.random.default_rng(0).standard_normal((4, 2, I)).astype("float32")


class MyCell(LSTMSpec):
    """No kernels run it, since they go by the exact type."""


@st.composite
def other_shapes(draw, shape):
    """Another shape: rows or columns more or fewer, from none to many, or another number of axes."""
    axis = draw(st.integers(0, len(shape) - 1))
    length = draw(st.integers(0, 4 * shape[axis]) | st.sampled_from([shape[axis] - 1, shape[axis] + 1]))
    other = (*shape[:axis], length, *shape[axis + 1 :])
    return draw(st.sampled_from([other, shape[:-1], (*shape, 1), (1, *shape), shape[::-1]]).filter(shape.__ne__))


def misfit(data, module):
    """A weight of a module given another shape, and the beginning of the error that says so."""
    name, weight = data.draw(st.sampled_from(list(module.named_parameters())))
    shape = data.draw(other_shapes(weight.shape))
    setattr(module, name, Parameter(np.zeros(shape, "float32")))
    return re.escape(f"{type(module).__name__}: {name} has shape {shape}; expected {weight.shape}")


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
@pytest.mark.parametrize("kernels", ["auto", *(impl.name for impl in IMPLEMENTATIONS)])
@given(data=st.data(), bidirectional=st.booleans(), layers=st.integers(1, 2))
def test_of_a_layer_on_every_path(make, kernels, data, bidirectional, layers):
    layer = make(num_layers=layers, bidirectional=bidirectional)
    error = misfit(data, layer)
    with use_kernels(kernels), pytest.raises(ValueError, match=error):
        layer(X)
    with use_kernels(kernels), no_grad(), pytest.raises(ValueError, match=error):
        layer(X, lengths=[4, 2])


@pytest.mark.parametrize("make", CELLS.values(), ids=CELLS.keys())
@given(data=st.data())
def test_of_a_single_cell(make, data):
    cell = make()
    error = misfit(data, cell)
    with pytest.raises(ValueError, match=error):
        cell(X[0])


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
@given(data=st.data(), layers=st.integers(1, 2))
def test_of_a_stream_new_and_open(make, data, layers):
    layer = make(num_layers=layers)
    stream = layer.stream(batch=2)
    stream.step(X[0])
    state = stream.state
    error = misfit(data, layer)
    for step in (lambda: stream.step(X[0]), stream.reload, lambda: layer.stream(2).step(X[0])):
        with pytest.raises(ValueError, match=error):
            step()
    for part, before in zip(stream.state, state, strict=True):
        np.testing.assert_array_equal(part, before)


@pytest.mark.parametrize("weight", [None, np.zeros((4 * H, I), "float32")], ids=["None", "array"])
def test_what_is_no_tensor(weight):
    layer = nn.LSTM(I, H)
    vars(layer)["weight_ih_l0"] = weight  # which assigning refuses
    kind = type(weight).__name__
    with pytest.raises(TypeError, match=rf"LSTM: weight_ih_l0 is a {kind}; expected a Parameter"):
        layer(X)


def test_a_tensor_given_other_data():
    cell = nn.LSTMCell(I, H)
    vars(cell)["weight_hh"] = Tensor(cell.weight_hh.data, requires_grad=True)  # its shape may change
    cell(X[0])
    cell.weight_hh.data = np.zeros((4, 1), "float32")
    with pytest.raises(ValueError, match=r"LSTMCell: weight_hh has shape \(4, 1\); expected \(32, 8\)"):
        cell(X[0])


def test_a_weight_replaced_between_forward_and_backward_is_of_no_matter():
    layer = nn.LSTM(I, H, rng=0)
    output, _ = layer(X)
    used = layer.weight_ih_l0
    layer.weight_ih_l0 = Parameter(np.zeros((2, 1), "float32"))
    output.sum().backward()
    assert used.grad.shape == used.shape
