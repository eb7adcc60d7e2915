"""The public test kit finds wrong gradients and passes right ones."""

import numpy as np
import pytest

from xprnn import ops
from xprnn.tape import record
from xprnn.tensor import Parameter
from xprnn.testing import check_every_gradient, check_gradients, check_second_gradients, numerical_gradients


def wrong_square(x):
    return record("wrong_square", x.data * x.data, (x,), [lambda g, y: g * x])  # a factor of 2 is missing


def blind_square(x):
    """Right first gradient, but as a constant: nothing flows through it a second time."""
    return record("blind_square", x.data * x.data, (x,), [lambda g, y: g * (2.0 * x.data)])


X = np.random.default_rng(0).standard_normal((3, 2))


def test_right_gradients_pass():
    check_gradients(lambda x: (ops.square(x), ops.exp(x)), [X])
    check_second_gradients(lambda x: ops.tanh(x) * x, [X])


def test_a_missing_factor_is_found():
    with pytest.raises(AssertionError, match="finite differences say"):
        check_gradients(wrong_square, [X])


def test_the_wrong_entry_is_named():
    check_every_gradient(lambda x: (ops.square(x), ops.sin(x)), [X])

    def one_wrong_entry(x):
        factor = np.full(X.shape, 2.0)
        factor[2, 1] = 3.0
        return record("one_wrong_entry", x.data * x.data, (x,), [lambda g, y: g * x * factor])

    with pytest.raises(AssertionError, match=r"input 0 at \(2, 1\) is .* \(1 of 6 entries differ\)"):
        check_every_gradient(one_wrong_entry, [X])


def test_a_gradient_that_is_a_constant_is_found_by_the_second_check():
    check_gradients(blind_square, [X])
    with pytest.raises(AssertionError, match="finite differences say"):
        check_second_gradients(blind_square, [X])


def test_parameters_are_checked_and_put_back():
    weight = Parameter(np.ones((2, 2)))
    before = weight.data
    check_gradients(lambda x: x @ weight, [X], [weight])
    assert weight.data is before
    with pytest.raises(AssertionError):
        check_gradients(lambda x: x @ weight.detach(), [X], [weight])


def test_float32_is_refused():
    with pytest.raises(TypeError, match="need float64; array 0 is float32"):
        check_gradients(ops.square, [X.astype("float32")])


def test_numerical_gradients_equal_the_closed_form():
    (found,) = numerical_gradients(ops.square, [X], [np.ones_like(X)])
    np.testing.assert_allclose(found, 2 * X, atol=1e-8)
