"""Linear, Embedding, Dropout, LayerNorm, Sequential."""

import numpy as np
import pytest
from helpers import assert_close, host, leaf

from xprnn import nn
from xprnn.testing import check_gradients, check_second_gradients

CHECKED = {
    "linear": (nn.Linear(3, 2, dtype="float64", rng=0), (2, 4, 3)),
    "linear of a vector": (nn.Linear(3, 2, dtype="float64", rng=0), (3,)),
    "layer norm": (nn.LayerNorm(3, dtype="float64"), (4, 3)),
    "layer norm of two axes": (nn.LayerNorm((4, 3), dtype="float64"), (2, 4, 3)),
}


@pytest.mark.parametrize(("layer", "shape"), CHECKED.values(), ids=CHECKED.keys())
def test_gradients(layer, shape, rng):
    x = rng.standard_normal(shape)
    check_gradients(layer, [x], layer.parameters())
    check_second_gradients(layer, [x])


def test_linear(home):
    layer = nn.Linear(3, 2, rng=0).to(home)
    x = np.arange(12, dtype="float32").reshape(2, 2, 3)
    expected = x @ host(layer.weight).T + host(layer.bias)
    assert_close(layer(home.asarray(x)), expected, 1e-6)
    assert layer(home.zeros((0, 3), "float32")).shape == (0, 2)
    assert [n for n, _ in nn.Linear(3, 2, bias=False).named_parameters()] == ["weight"]
    assert np.abs(host(nn.Linear(100, 50, rng=0).weight)).max() <= 0.1


def test_layer_norm_has_mean_zero_and_variance_one(home, rng):
    x = home.asarray(rng.standard_normal((6, 50)) * 7.0 + 3.0)
    y = host(nn.LayerNorm(50, dtype="float64").to(home)(x))
    np.testing.assert_allclose(y.mean(axis=1), 0.0, atol=1e-14)
    np.testing.assert_allclose(y.var(axis=1), 1.0, rtol=1e-5)


def test_embedding(home):
    layer = nn.Embedding(5, 2, padding_idx=-1, dtype="float64", rng=0).to(home)
    numbers = np.array([[0, 4], [3, 3]], "int32")
    y = layer(home.asarray(numbers))
    assert_close(y, host(layer.weight)[numbers], 0.0)
    assert not host(y)[0, 1].any()
    y.sum().backward()
    assert host(layer.weight.grad).tolist() == [[1, 1], [0, 0], [0, 0], [2, 2], [0, 0]]


def test_embedding_of_nothing(home):
    layer = nn.Embedding(5, 2).to(home)
    y = layer(home.asarray(np.zeros((3, 0), "int64")))
    assert y.shape == (3, 0, 2)
    y.sum().backward()
    assert not host(layer.weight.grad).any()


def test_embedding_without_the_check_looks_up_what_is_right():
    table = nn.Embedding(5, 2, check=False, rng=0)
    assert_close(table(np.array([1])), host(table.weight)[[1]], 0.0)


def test_dropout_zeroes_and_scales(home):
    layer = nn.Dropout(0.25, rng=0)
    x = leaf(home, np.ones((100, 100)), "float32")
    y = layer(x)
    values = host(y)
    assert set(np.unique(values)) == {np.float32(0.0), np.float32(1 / 0.75)}
    assert abs((values == 0).mean() - 0.25) < 0.02
    y.sum().backward()
    assert_close(x.grad, values, 0.0)
    assert_close(nn.Dropout(0.25, rng=0)(host(x)), values, 0.0)  # the same bits on NumPy


@pytest.mark.parametrize(
    ("layer", "expected"), [(nn.Dropout(0.0), 1.0), (nn.Dropout(1.0), 0.0), (nn.Dropout(0.5).eval(), 1.0)]
)
def test_dropout_that_does_all_or_nothing(layer, expected):
    x = np.ones((3, 3))
    assert_close(layer(x), x * expected, 0.0)


@pytest.mark.parametrize("p", [2.0, -0.5, np.nan, "0.5"])
def test_dropout_looks_at_what_was_assigned_later(p):
    layer = nn.Dropout(0.5)
    layer.p = p
    with pytest.raises(ValueError, match="Dropout: p is .*; expected a probability from 0 to 1"):
        layer(np.ones(3))


def test_sequential_passes_on_the_first_of_a_tuple():
    model = nn.Sequential(nn.Embedding(7, 3, rng=0), nn.GRU(3, 4, rng=0), nn.Linear(4, 2, rng=0))
    x = np.array([[0, 1], [2, 6], [3, 3]])
    expected = model[2](model[1](model[0](x))[0])
    assert_close(model(x), expected, 0.0)
    assert len(model) == 3
    assert [type(module) for module in model] == [nn.Embedding, nn.GRU, nn.Linear]
    assert list(model.state_dict())[:2] == ["0.weight", "1.weight_ih_l0"]
    x = np.ones((2, 2))
    assert_close(nn.Sequential()(x), x, 0.0)


ones = np.ones
BAD = {
    "linear size": (
        lambda: nn.Linear(3, 2)(ones((2, 4), "float32")),
        ValueError,
        r"Linear: x has shape \(2, 4\); expected \(..., 3\)",
    ),
    "linear scalar": (
        lambda: nn.Linear(3, 2)(np.float32(1)),
        ValueError,
        r"Linear: x has shape \(\); expected \(..., 3\)",
    ),
    "linear integers": (
        lambda: nn.Linear(3, 2)(ones((2, 3), int)),
        TypeError,
        "Linear: x has dtype int64; expected float32",
    ),
    "linear float64": (
        lambda: nn.Linear(3, 2)(ones((2, 3))),
        TypeError,
        "Linear: x has dtype float64; the layer has float32",
    ),
    "linear of a list": (
        lambda: nn.Linear(3, 2)([1.0]),
        TypeError,
        "Linear: x is a list; expected an array or a Tensor",
    ),
    "linear sizes": (
        lambda: nn.Linear(0, 2),
        ValueError,
        "Linear: in_features is 0; expected an integer of at least 1",
    ),
    "norm size": (
        lambda: nn.LayerNorm((2, 3))(ones((4, 3, 2), "float32")),
        ValueError,
        r"LayerNorm: x has shape \(4, 3, 2\); expected \(..., 2, 3\)",
    ),
    "norm rank": (lambda: nn.LayerNorm((2, 3))(ones(3, "float32")), ValueError, r"LayerNorm: x has shape \(3,\)"),
    "norm dtype": (
        lambda: nn.LayerNorm(3)(ones(3)),
        TypeError,
        "LayerNorm: x has dtype float64; the layer has float32",
    ),
    "embedding floats": (
        lambda: nn.Embedding(3, 2)(ones(3)),
        TypeError,
        "Embedding: x has dtype float64; expected integers",
    ),
    "embedding booleans": (
        lambda: nn.Embedding(3, 2)(ones(3, bool)),
        TypeError,
        "Embedding: x has dtype bool; expected integers",
    ),
    "embedding too large": (
        lambda: nn.Embedding(3, 2)(np.array([0, 3])),
        ValueError,
        "Embedding: x contains 3; expected numbers from 0 to 2",
    ),
    "embedding negative": (lambda: nn.Embedding(3, 2)(np.array([-1])), ValueError, "Embedding: x contains -1"),
    "embedding padding": (
        lambda: nn.Embedding(3, 2, padding_idx=3),
        ValueError,
        "padding_idx is 3; expected a row of 3",
    ),
    "dropout": (lambda: nn.Dropout(-0.1), ValueError, "Dropout: p is -0.1; expected a probability from 0 to 1"),
    "dropout integers": (
        lambda: nn.Dropout(0.5)(np.ones(3, int)),
        TypeError,
        "Dropout: x has dtype int64; expected float32 or float64",
    ),
    "dropout seed": (lambda: nn.Dropout(0.1, rng="seed"), TypeError, "rng is a str"),
    "sequential": (
        lambda: nn.Sequential(nn.Linear(2, 2), np.tanh),
        TypeError,
        "Sequential: argument 1 is a ufunc; expected a Module",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_sizes_and_numbers_of_numpy():
    layer = nn.LayerNorm(np.int64(3), eps=np.float64(1e-5))
    assert layer(np.ones((2, 3), "float32")).dtype == np.float32
    assert nn.Linear(np.int32(3), np.int64(2)).weight.shape == (2, 3)
    assert nn.Embedding(np.int64(3), np.int64(2)).weight.shape == (3, 2)
    assert nn.Dropout(np.float64(0.5))(np.ones(3, "float32")).dtype == np.float32
