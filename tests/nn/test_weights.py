"""A weight that was replaced by one of another shape or dtype is refused by name, never broadcast."""

import numpy as np
import pytest

from xprnn import nn
from xprnn.tensor import Parameter

X = np.random.default_rng(0).standard_normal((4, 2, 6)).astype("float32")
TOKENS = np.array([[0, 1], [2, 3]])


def attended(layer):
    return layer(X, layer.prepare(X))


LAYERS = [
    (lambda: nn.Linear(6, 5), lambda layer: layer(X)),
    (lambda: nn.LayerNorm(6), lambda layer: layer(X)),
    (lambda: nn.LayerNorm((2, 6)), lambda layer: layer(X)),
    (lambda: nn.Embedding(7, 3), lambda layer: layer(TOKENS)),
    (lambda: nn.Embedding(7, 3, padding_idx=0), lambda layer: layer(TOKENS)),
    (lambda: nn.LearnedPositions(9, 6), lambda layer: layer(X)),
    (lambda: nn.GeneralAttention(6, 6), attended),
    (lambda: nn.AdditiveAttention(6, 6, 3), attended),
    (lambda: nn.MultiheadAttention(6, 2), lambda layer: layer(X)),
    (lambda: nn.MultiheadAttention(6, 2, kdim=4, vdim=5), lambda layer: layer(X, X[..., :4], X[..., :5])),
    (lambda: nn.TransformerEncoderLayer(6, 2, 8), lambda layer: layer(X)),
    (lambda: nn.RNNCell(6, 3), lambda layer: layer(X[0])),
    (lambda: nn.IndRNN(6, 3), lambda layer: layer(X)),
    (lambda: nn.LSTM(6, 3, 2, bidirectional=True), lambda layer: layer(X)),
    (lambda: nn.GRU(6, 3), lambda layer: layer.stream(2).step(X[0])),
]
CASES = [(make, call, name) for make, call in LAYERS for name, _ in make().named_parameters()]


def replaced(make, name, array):
    layer = make()
    *path, attribute = name.split(".")
    owner = layer
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, attribute, Parameter(array))
    return layer, attribute


def shapes_beside(shape):
    """Shapes that are wrong, most of them such as broadcasting would take."""
    yield from ((1,) * len(shape), (1, *shape), (*shape[:-1], shape[-1] + 1), (1, *shape[1:]), (*shape[:-1], 1))
    yield (shape[0] + 1, *shape[1:])


@pytest.mark.parametrize(("make", "call", "name"), CASES)
def test_a_weight_of_another_shape_is_refused_by_name(make, call, name):
    shape = dict(make().named_parameters())[name].shape
    for wrong in {*shapes_beside(shape)} - {shape}:
        layer, attribute = replaced(make, name, np.ones(wrong, "float32"))
        with pytest.raises(ValueError, match=rf": {attribute} has shape .*{wrong[-1]},?\); expected \({shape[0]}"):
            call(layer)


@pytest.mark.parametrize(("make", "call", "name"), CASES)
def test_a_weight_of_another_dtype_is_refused_by_name(make, call, name):
    layer, attribute = replaced(make, name, np.ones(dict(make().named_parameters())[name].shape))
    with pytest.raises(TypeError, match=f": {attribute} has dtype float64; expected float32"):
        call(layer)
