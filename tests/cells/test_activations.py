"""Activations by name: the same on arrays and Tensors, with the slope that the tape finds, and ONNX's definitions."""

import numpy as np
import pytest
from helpers import host, leaf

from xprnn import ops
from xprnn.cells import Activation
from xprnn.cells.activations import FUNCTIONS
from xprnn.tape import grad

Z = np.array([-7.3, -2.1, -0.4, 0.3, 1.7, 6.2])
POSITIVE = ("log", "sqrt")


def of_one_number():
    """The names in ops of what maps an array alone to one of its shape, and is no cast, copy or sum."""
    z = np.array([[0.3, 0.9], [0.5, 0.1]])
    for name, function in vars(ops).items():
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is None or name.startswith("_") or wrapped.__code__.co_argcount != 1:
            continue
        if function(z).shape == z.shape and name != "matrix_transpose":
            yield name


IN_OPS = set(of_one_number())


@pytest.mark.parametrize("clip", [None, 2.0])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_slopes(name, clip, home):
    f = Activation(name, clip=clip)
    z = np.abs(Z) if name in POSITIVE else Z
    x = leaf(home, z)
    y = f(x.data)
    on_tape = f(x)
    np.testing.assert_allclose(host(y), host(on_tape.data), rtol=1e-14, atol=1e-14)
    (slope,) = grad(on_tape, [x], [leaf(home, np.ones_like(z))])
    np.testing.assert_allclose(host(f.slope(x.data, y)), host(slope.data), rtol=1e-13, atol=1e-14)
    if name in IN_OPS and clip is None:
        np.testing.assert_allclose(host(y), host(getattr(ops, name)(x).data), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_stays_and_nan_is_not_hidden(name):
    z, f = np.array([1.0, np.nan], "float32"), Activation(name, clip=3.0)
    y = f(z)
    assert y.dtype == f.slope(z, y).dtype == np.float32
    assert np.isnan(y[1])


def test_every_function_of_one_number_in_ops_is_there():
    assert set(FUNCTIONS) >= IN_OPS, IN_OPS - set(FUNCTIONS)
    assert len(IN_OPS) > 10


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (Activation("hard_sigmoid"), lambda z: np.clip(0.2 * z + 0.5, 0, 1)),
        (Activation("torch_hard_sigmoid"), lambda z: np.clip(z / 6 + 0.5, 0, 1)),
        (Activation("hard_sigmoid", 0.3, 0.1, clip=1.0), lambda z: np.clip(0.3 * np.clip(z, -1, 1) + 0.1, 0, 1)),
        (Activation("affine", 2.0, 3.0), lambda z: 2 * z + 3),
        (Activation("scaled_tanh", 2.0, 0.5), lambda z: 2 * np.tanh(0.5 * z)),
        (Activation("leaky_relu"), lambda z: np.where(z < 0, 0.01 * z, z)),
        (Activation("thresholded_relu", 0.5), lambda z: np.where(z > 0.5, z, 0)),
        (Activation("elu", 0.7), lambda z: np.where(z < 0, 0.7 * np.expm1(z), z)),
        (Activation("silu"), lambda z: z / (1 + np.exp(-z))),
    ],
    ids=lambda value: str(value) if isinstance(value, Activation) else "",
)
def test_definitions(f, expected):
    np.testing.assert_allclose(f(Z), expected(Z), rtol=1e-12, atol=1e-14)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="Activation: name is 'softmax'; expected one of 'sigmoid', 'tanh'"):
        Activation("softmax")
    with pytest.raises(ValueError, match=r"Activation: alpha is 0.5, but tanh has none"):
        Activation("tanh", 0.5)
    with pytest.raises(ValueError, match=r"Activation: clip is -1.0; expected a number above 0"):
        Activation("tanh", clip=-1.0)


def test_equal_ones_are_equal_and_shown():
    assert Activation("hard_sigmoid") == Activation("hard_sigmoid", 0.2, 0.5) != Activation("hard_sigmoid", 0.25)
    assert len({Activation("tanh"), Activation("tanh"), Activation("tanh", clip=1.0)}) == 2
    assert repr(Activation("elu")) == "elu"
    assert repr(Activation("elu", 0.5, clip=3.0)) == "elu(alpha=0.5, clip=3.0)"
