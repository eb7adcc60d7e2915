"""Tanh, Sigmoid, ReLU, Softmax."""

import numpy as np
import pytest
from helpers import assert_close

from xprnn import nn
from xprnn.testing import check_gradients, check_second_gradients

FORMULAS = {
    nn.Tanh: np.tanh,
    nn.Sigmoid: lambda x: 1 / (1 + np.exp(-x)),
    nn.ReLU: lambda x: np.where(x > 0, x, 0),
    nn.Softmax: lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True),
}


@pytest.mark.parametrize("kind", FORMULAS)
def test_formula_and_gradients(kind, home, rng):
    x = rng.standard_normal((2, 4, 3))
    assert_close(kind()(home.asarray(x)), FORMULAS[kind](x), 1e-14)
    single = kind()(home.asarray(x.astype("float32")))
    assert single.numpy().dtype == np.float32
    check_gradients(kind(), [x])
    check_second_gradients(kind(), [x])


def test_dtype():
    with pytest.raises(TypeError, match="Tanh: x has dtype int64; expected float32 or float64"):
        nn.Tanh()(np.arange(3))
