"""Sinusoidal and learned positions."""

import numpy as np
import pytest
from helpers import assert_close, host

from xprnn import nn
from xprnn.nn.positions import sinusoids
from xprnn.testing import check_gradients

LEARNED = nn.LearnedPositions(6, 4, dtype="float64", rng=0)


@pytest.mark.parametrize("size", [1, 4, 5])
def test_the_table_follows_the_formula(size):
    table = sinusoids(30, size)
    for t in (0, 1, 29):
        for k in range(size):
            angle = t / 10000.0 ** ((k - k % 2) / size)
            assert table[t, k] == pytest.approx((np.cos if k % 2 else np.sin)(angle), abs=1e-14)


def test_a_shift_is_a_rotation():
    """Why sines: for each pair of columns, P[t + s] is a rotation of P[t] by an angle that depends on s only."""
    pairs = sinusoids(20, 8).reshape(20, 4, 2)
    complex_pairs = pairs[..., 1] + 1j * pairs[..., 0]
    turns = complex_pairs[3:] / complex_pairs[:-3]
    np.testing.assert_allclose(turns, np.broadcast_to(turns[0], turns.shape), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sinusoidal_adds_the_table(home, rng, dtype):
    x = home.asarray(rng.standard_normal((5, 3, 4)), dtype)
    layer, expected = nn.SinusoidalPositions(4), host(x) + sinusoids(5, 4)[:, None].astype(dtype)
    for _ in range(2):
        y = layer(x)
        assert y.device == x.device
        assert_close(y, expected, 0.0)
    first = nn.SinusoidalPositions(4, batch_first=True)(home.asarray(host(x).swapaxes(0, 1).copy()))
    assert_close(first, expected.swapaxes(0, 1), 0.0)
    assert_close(layer(x[:, 0, ...]), expected[:, 0], 0.0)
    growing = nn.SinusoidalPositions(4)
    for steps in (2, 5, 3):
        assert_close(growing(x[:steps, ...]), expected[:steps], 0.0)
    assert layer(x[:0, ...]).shape == (0, 3, 4)
    assert not layer.parameters()


def test_the_kept_table_is_of_the_dtype_and_library_of_x(home):
    layer = nn.SinusoidalPositions(2)
    for dtype in ("float32", "float64", "float32"):
        layer(np.zeros((3, 1, 2), dtype))
        y = layer(home.zeros((3, 1, 2), dtype))
        assert_close(y, sinusoids(3, 2)[:, None].astype(dtype), 0.0)
        assert y.device == home.zeros((1,), dtype).device


def test_no_steps(home):
    for layer in nn.SinusoidalPositions(3), nn.LearnedPositions(6, 3, rng=0).to(home):
        assert layer(home.zeros((0, 2, 3), "float32")).shape == (0, 2, 3)


def test_learned(home, rng):
    layer = nn.LearnedPositions(6, 4, dtype="float64", rng=0).to(home)
    x = rng.standard_normal((5, 3, 4))
    expected = x + host(layer.weight)[:5, None]
    assert_close(layer(home.asarray(x)), expected, 0.0)
    first = nn.LearnedPositions(6, 4, batch_first=True, dtype="float64", rng=0).to(home)
    y = first(home.asarray(x.swapaxes(0, 1).copy()))
    assert_close(y, expected.swapaxes(0, 1), 0.0)
    y.sum().backward()
    assert_close(first.weight.grad, np.repeat([3.0, 3, 3, 3, 3, 0], 4).reshape(6, 4), 0.0)
    assert_close(layer(home.asarray(x[:, 0])), expected[:, 0], 0.0)
    assert host(nn.LearnedPositions(100, 50, rng=0).weight).std() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("layer", [nn.SinusoidalPositions(4), LEARNED], ids=["sinusoidal", "learned"])
def test_gradients(layer, rng):
    check_gradients(layer, [rng.standard_normal((5, 3, 4))], layer.parameters())


BAD = {
    "too long": (
        lambda: LEARNED(np.ones((7, 1, 4))),
        ValueError,
        "LearnedPositions: x has 7 steps; expected at most max_length = 6",
    ),
    "learned size": (lambda: LEARNED(np.ones((5, 1, 3))), ValueError, r"x has shape \(5, 1, 3\); expected \(T, B, 4\)"),
    "learned dtype": (
        lambda: LEARNED(np.ones((5, 1, 4), "float32")),
        TypeError,
        "x has dtype float32; expected float64",
    ),
    "max_length": (lambda: nn.LearnedPositions(0, 4), ValueError, "LearnedPositions: max_length is 0"),
    "size": (
        lambda: nn.SinusoidalPositions(4, batch_first=True)(np.ones((5, 1, 3))),
        ValueError,
        r"SinusoidalPositions: x has shape \(5, 1, 3\); expected \(B, T, 4\), or \(T, 4\) without a batch",
    ),
    "axes": (lambda: nn.SinusoidalPositions(4)(np.ones(4)), ValueError, r"x has shape \(4,\)"),
    "dtype": (
        lambda: nn.SinusoidalPositions(4)(np.ones((2, 4), int)),
        TypeError,
        "x has dtype int64; expected float32",
    ),
    "d_model": (lambda: nn.SinusoidalPositions(0), ValueError, "SinusoidalPositions: d_model is 0"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
