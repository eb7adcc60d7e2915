"""SLSTM, MGU, CTRNN and AntisymmetricRNN: what their layers add to the cells."""

import numpy as np
import pytest
from helpers import assert_close

import xprnn
from xprnn import nn
from xprnn.cells import SLSTM
from xprnn.train import SGD

T, B, I, H = 6, 2, 3, 8  # noqa: E741


@pytest.fixture
def x(rng):
    return rng.standard_normal((T, B, I))


def loop(x, weights, w_hh, keep, rate, f):
    h, outputs = np.zeros((B, H)), []
    for x_t in x:
        z = x_t @ weights["weight_ih_l0"].T + weights["bias_ih_l0"] + h @ w_hh.T + weights["bias_hh_l0"]
        h = keep * h + rate * f(z)
        outputs.append(h)
    return np.stack(outputs)


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_ctrnn_of_dales_law_with_sparse_connections(x, rng, kernels):
    mask = rng.random((H, H)) < 0.5
    layer = nn.CTRNN(I, H, tau=50.0, dt=10.0, dale=0.75, connections=mask, dtype="float64", rng=0)
    signs = np.array([1.0] * 6 + [-1.0] * 2)
    for _ in range(3):
        with xprnn.use_kernels(kernels):
            output, _ = layer(x)
            weights = layer.state_dict()
            w = np.abs(weights["weight_hh_l0"]) * signs
            np.testing.assert_array_equal(weights["weight_hh_l0"] != 0, mask)
            expected = loop(x, weights, w, 0.8, 0.2, lambda z: np.maximum(z, 0))
            assert_close(output.data, expected)
            stream = layer.stream(B)
            assert_close(np.stack([np.array(stream.step(x_t)) for x_t in x]), expected)
            layer.zero_grad()
            output.sum().backward()
        SGD(layer.parameters(), lr=0.1).step()
    other = nn.CTRNN(I, H, tau=50.0, dt=10.0, dale=signs, connections=1.0, dtype="float64", rng=1)
    other.load_state_dict(layer.state_dict())
    assert_close(other(x)[0].data, layer(x)[0].data, 0.0)


def test_excitation_and_inhibition_start_balanced():
    w = np.abs(nn.CTRNN(I, 500, dale=0.8, rng=0).weight_hh_l0.numpy())
    assert w[:, :400].sum() == pytest.approx(w[:, 400:].sum(), rel=0.02)


def test_connections_stay_without_dales_law_too(x):
    layer = nn.CTRNN(I, H, 2, nonlinearity="tanh", connections=0.3, dtype="float64", rng=0)
    masks = [layer.weight_hh_l0.numpy() != 0, layer.weight_hh_l1.numpy() != 0]
    assert 5 < masks[0].sum() < 35
    assert (masks[0] != masks[1]).any()
    layer(x)[0].sum().backward()
    SGD(layer.parameters(), lr=0.1).step()
    np.testing.assert_array_equal(layer.weight_hh_l1.numpy() != 0, masks[1])


def test_noise_of_ctrnn_is_for_training_alone():
    layer = nn.CTRNN(1, 50, nonlinearity="relu", tau=1.0, dt=0.5, noise=0.3, bias=False, dtype="float64", rng=0)
    layer.weight_hh_l0.data = np.zeros((50, 50))
    x = xprnn.Tensor(np.full((1, 400, 1), 0.0), requires_grad=True)
    layer.weight_ih_l0.data = np.ones((50, 1))
    np.testing.assert_array_equal(layer.eval()(x)[0].data, 0.0)
    noisy, _ = layer.train()(x + 100.0)  # so that relu passes all of it
    assert noisy.data.mean() == pytest.approx(50.0, rel=0.01)
    assert noisy.data.std() == pytest.approx(0.5 * 0.3 * 2.0, rel=0.02)
    noisy.sum().backward()
    np.testing.assert_allclose(x.grad, np.full((1, 400, 1), 25.0))


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_antisymmetric_rnn(x, kernels):
    layer = nn.AntisymmetricRNN(I, H, epsilon=0.3, gamma=0.2, dtype="float64", rng=0)
    weights = layer.state_dict()
    a = weights["weight_hh_l0"] - weights["weight_hh_l0"].T - 0.2 * np.eye(H)
    np.testing.assert_allclose(np.linalg.eigvals(a).real, -0.2)
    with xprnn.use_kernels(kernels):
        assert_close(layer(x)[0].data, loop(x, weights, a, 1.0, 0.3, np.tanh))


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_slstm_stays_finite_whatever_its_gates_say(x, kernels):
    for forget in ("sigmoid", "exp"):
        layer = nn.SLSTM(I, H, num_heads=2, forget=forget, rng=0)
        with xprnn.use_kernels(kernels):
            y, (_, c, n, _) = layer(1e4 * x.astype("float32"))
            y.sum().backward()
        assert np.abs(y.data).max() <= 1.0
        assert all(np.isfinite(a.data).all() for a in (c, n, layer.weight_hh_l0.grad, layer.weight_ih_l0.grad))


def test_slstm_after_a_reset_is_as_from_zero_state(x):
    layer = nn.SLSTM(I, H, dtype="float64", rng=0)
    x = 50.0 * x  # with an old m of its own, the new sequence would find all its gates near zero
    reset = np.zeros((T, B), dtype=bool)
    reset[3] = True
    assert_close(layer(x, reset=reset)[0].data[3:], layer(x[3:])[0].data)


def test_zoneout_of_slstm_is_of_h_alone(x):
    layer = nn.SLSTM(I, H, zoneout=1.0, dtype="float64", rng=0)
    h, c, n, m = layer(x)[1]
    assert not h.data.any()
    assert all(part.data.all() for part in (c, n, m))


def test_forget_bias_of_slstm():
    layer = nn.SLSTM(I, H, 2, forget_bias=3.0, rng=0)
    for weights in layer.weights():
        np.testing.assert_array_equal((weights["bias_ih"] + weights["bias_hh"]).data[H : 2 * H], 3.0)


def test_heads_are_of_all_units_and_no_fewer():
    """Whatever a layer looks at of its cell; 3 heads of 2 or of 4 units there are not."""
    assert nn.SLSTM(I, 9, num_heads=3, weight_dropout=0.5, rng=0).train()(np.zeros((T, B, I), "float32"))[0].ndim == 3
    layer = nn.RecurrentLayer((SLSTM(5), SLSTM(5, "exp")), I, 5, bidirectional=True, rng=0)
    assert layer(np.zeros((T, B, I), "float32"))[0].shape == (T, B, 10)
    assert isinstance(nn.CellModule(SLSTM(3), I, 9, weight_dropout=0.5), nn.CellModule)


ERRORS = {
    "SLSTM: hidden_size is 8; expected a multiple of num_heads = 3": lambda: nn.SLSTM(I, H, num_heads=3),
    "SLSTM: num_heads is 0; expected an integer of at least 1": lambda: nn.SLSTM(I, H, num_heads=0),
    "SLSTM: forget is 'tanh'; expected one of 'sigmoid', 'exp'": lambda: nn.SLSTM(I, H, forget="tanh"),
    "SLSTM: zoneout is 2; expected a probability": lambda: nn.SLSTM(I, H, zoneout=2),
    "CTRNN: dt is 3; expected a number above 0 and up to tau = 2.0": lambda: nn.CTRNN(I, H, tau=2, dt=3),
    "CTRNN: dale is 1.5; expected a share from 0 to 1, or H numbers": lambda: nn.CTRNN(I, H, dale=1.5),
    "CTRNN: dale is [1, 0]; expected a share from 0 to 1, or 2 numbers that are not 0": lambda: nn.CTRNN(
        I, 2, dale=[1, 0]
    ),
    "CTRNN: connections has shape (2, 3) and dtype float64; expected a share from 0": lambda: nn.CTRNN(
        I, H, connections=np.ones((2, 3))
    ),
    "CTRNN: noise is -1; expected a number of at least 0": lambda: nn.CTRNN(I, H, noise=-1),
    "CTRNN: nonlinearity is 'gelu'; expected one of 'tanh', 'relu'": lambda: nn.CTRNN(I, H, nonlinearity="gelu"),
    "AntisymmetricRNN: epsilon is 0; expected a number above 0": lambda: nn.AntisymmetricRNN(I, H, epsilon=0),
    "AntisymmetricRNN: gamma is -1; expected a number of at least 0": lambda: nn.AntisymmetricRNN(I, H, gamma=-1),
}


@pytest.mark.parametrize(("message", "make"), ERRORS.items())
def test_errors(message, make):
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)
