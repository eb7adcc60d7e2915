"""tanh and sigmoid over the whole range, against extended precision."""

import numpy as np
import pytest

pytest.importorskip("numba")

from xprnn.kernels.cpu import activations
from xprnn.kernels.cpu.compiling import kernel


@kernel
def tanh_of(x, y):
    for k in range(x.size):
        y[k] = activations.tanh(x[k])


@kernel
def sigmoid_of(x, y):
    for k in range(x.size):
        y[k] = activations.sigmoid(x[k])


@kernel
def exp_of(x, y):
    for k in range(x.size):
        y[k] = activations.exp(x[k])


@kernel
def log1p_of(x, y):
    for k in range(x.size):
        y[k] = activations.log1p(x[k])


def run(function, x):
    y = np.empty_like(x)
    function(x, y)
    return y


def arguments(dtype):
    """Every magnitude, denormals too, and the range where the functions bend."""
    info = np.finfo(dtype)
    logs = np.logspace(np.log10(float(info.smallest_subnormal)), np.log10(float(info.max)) - 0.01, 200001)
    bend = np.linspace(-25, 25, 1000001)
    return np.concatenate([logs, -logs, bend]).astype(dtype)


@pytest.mark.parametrize(("dtype", "ulp", "absolute"), [("float32", 5.0, 1.6e-7), ("float64", 2.0, 2.3e-16)])
def test_errors_are_within_the_stated_bounds(dtype, ulp, absolute):
    x = arguments(dtype)
    with np.errstate(under="ignore", over="ignore"):
        exact = np.tanh(x.astype(np.longdouble))
        error = np.abs(run(tanh_of, x) - exact) / np.spacing(np.abs(exact).astype(dtype))
        assert error.max() <= ulp
        exact = 1 / (1 + np.exp(-x.astype(np.longdouble)))
        assert np.abs(run(sigmoid_of, x) - exact).max() <= absolute


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values(dtype):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 30.0, -30.0], dtype)
    tanh, sigmoid = run(tanh_of, x), run(sigmoid_of, x)
    np.testing.assert_array_equal(tanh, [0, 0, 1, -1, np.nan, 1, -1])
    assert np.signbit(tanh[1])
    np.testing.assert_array_equal(sigmoid[:5], [0.5, 0.5, 1, 0, np.nan])
    every = arguments(dtype)
    assert np.abs(run(tanh_of, every)).max() <= 1
    assert run(sigmoid_of, every).min() >= 0
    assert run(sigmoid_of, every).max() <= 1
    np.testing.assert_array_equal(run(tanh_of, -every), -run(tanh_of, every))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exp(dtype):
    x = np.concatenate([np.linspace(-87, 87, 100001), [0.0, -0.0]]).astype(dtype)
    exact = np.exp(x.astype(np.longdouble))
    assert np.abs(run(exp_of, x) / exact - 1).max() <= 2 * np.finfo(dtype).eps
    x = np.array([np.nan, -np.inf, -1e6], dtype)
    np.testing.assert_allclose(run(exp_of, x), [np.nan, 0, 0], atol=1e-300)
    assert run(exp_of, np.array([800.0, np.inf]))[0] == run(exp_of, np.array([700.0]))[0] < np.inf
    x = np.array([89.0, 1e6, np.inf, -88.0], "float32")
    np.testing.assert_array_equal(run(exp_of, x), [np.inf, np.inf, np.inf, 0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logarithms_are_within_a_few_ulp(dtype):
    info = np.finfo(dtype)
    logs = np.logspace(np.log10(float(info.smallest_subnormal)), 0.0, 20001)
    x = np.concatenate([logs, np.linspace(0.0, 1.0, 100001), [0.0, 1.0]]).astype(dtype)
    exact = np.log1p(x.astype(np.longdouble))
    error = np.abs(run(log1p_of, x) - exact) / np.spacing(exact.astype(dtype))
    assert error.max() <= 3.0
    assert np.isnan(run(log1p_of, np.full(3, np.nan, dtype))).all()
