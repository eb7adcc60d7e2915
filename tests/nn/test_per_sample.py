"""Gradients of each sample against a loop over batches of one, for every cell, in training and in evaluation."""

import numpy as np
import pytest
from helpers import CELLS, LINEAR_CELLS, assert_close

import xprnn
from xprnn import Parameter, Tensor, nn
from xprnn.backend import to_numpy

T, B, I, H = 4, 3, 2, 6  # noqa: E741
LAYERS = {
    name: lambda make=make: nn.RecurrentLayer(make(), I, H, dtype="float64", rng=0)
    for name, make in {**CELLS, **LINEAR_CELLS}.items()
}
EVAL = {"zoneout": 0.3, "weight_dropout": 0.5, "dtype": "float64", "rng": 0}
LAYERS |= {
    "lstm with noise": lambda: nn.LSTM(I, H, 2, dropout=0.5, recurrent_dropout=0.5, **EVAL),
    "gru with noise": lambda: nn.GRU(I, H, bidirectional=True, candidate_dropout=0.5, **EVAL),
    "ctrnn with noise": lambda: nn.CTRNN(I, H, noise=0.5, dale=0.5, **EVAL),
}


def loss(model, x, y, lengths):
    output, _ = model(x, lengths=lengths)
    return ((output - y) ** 2).sum()


@pytest.mark.parametrize("name", LAYERS)
def test_each_sample_has_its_own_gradient_and_they_sum_to_that_of_the_batch(name, rng):
    layer = LAYERS[name]().eval()
    x = rng.standard_normal((T, B, I))
    y, lengths = rng.standard_normal(layer(x)[0].shape), np.array([4, 2, 0])
    found = xprnn.per_sample_grad(loss, layer, x, y, lengths, axis=(1, 1, 0))
    assert list(found) == [name for name, _ in layer.named_parameters()]
    loss(layer, x, y, lengths).backward()
    for parameter_name, parameter in layer.named_parameters():
        assert_close(found[parameter_name].sum(axis=0), parameter.grad.data, 1e-11)
    layer.zero_grad()
    n = 1
    loss(layer, x[:, n : n + 1], y[:, n : n + 1], lengths[n : n + 1]).backward()
    for parameter_name, parameter in layer.named_parameters():
        assert_close(found[parameter_name][n], parameter.grad.data)
    assert not any(g[2].any() for g in found.values())  # a sequence of no step
    assert any(g[0].any() for g in found.values())


class Model(nn.Module):
    def __init__(self):
        self.w, self.unused = Parameter(np.array([2.0, 3.0])), Parameter(np.ones((1, 2)))
        self.fixed = Parameter(np.ones(2), requires_grad=False)

    def forward(self, x, state=None):
        return (self.w * x).sum() * (1.0 if state is None else float(to_numpy(state[0]).sum()))


def test_tuples_none_what_is_shared_and_what_is_not_used(home):
    model = Model().to(home)
    x = home.asarray(np.arange(6.0).reshape(3, 2))

    def product(model, x, state, scale, nothing):
        assert nothing is None
        return model(x, state) * float(to_numpy(scale)[0])

    state = (home.asarray(np.array([[1.0, 2.0, 3.0]])), Tensor(x.T))
    with xprnn.no_grad():
        found = xprnn.per_sample_grad(
            product, model, x, state, home.asarray(np.array([10.0])), None, axis=(0, 1, None, 0)
        )
    assert list(found) == ["w", "unused"]
    np.testing.assert_array_equal(to_numpy(found["w"]), [[0.0, 10.0], [40.0, 60.0], [120.0, 150.0]])
    np.testing.assert_array_equal(to_numpy(found["unused"]), np.zeros((3, 1, 2)))
    assert model.w.grad is None
    assert xprnn.per_sample_grad(lambda m, x: m(x), model, x[:0, ...])["w"].shape == (0, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: xprnn.per_sample_grad(loss, loss, np.ones(2)), TypeError, "model is a function; expected a Module"),
        (
            lambda: xprnn.per_sample_grad(loss, Model(), np.ones(2), axis=(0, 1)),
            ValueError,
            "axis has 2 numbers; expected one, or 1",
        ),
        (
            lambda: xprnn.per_sample_grad(loss, Model(), np.ones(2), np.ones(3)),
            ValueError,
            r"the batch has \[2, 3\] samples; expected the same in all",
        ),
        (lambda: xprnn.per_sample_grad(loss, Model(), None), ValueError, "the batch has no samples"),
        (lambda: xprnn.per_sample_grad(loss, Model(), [1.0]), TypeError, "a part of the batch is a list; expected an"),
        (
            lambda: xprnn.per_sample_grad(loss, Model(), np.ones(2), axis=1),
            ValueError,
            r"axis is 1, but a part of the batch has shape \(2,\)",
        ),
        (lambda: xprnn.per_sample_grad(loss, Model(), np.ones(2), axis=-2), ValueError, "axis is -2"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
