"""Layers that are scanned: their parameters, how these start, streams, and what else is asked of every layer."""

import numpy as np
import pytest
from helpers import assert_close

from xprnn import Tensor, cells, explain, nn, ops, use_kernels
from xprnn.cells.linear import halves
from xprnn.nn.recurrent.diagonal_layers import hippo_poles
from xprnn.tape import grad
from xprnn.testing import check_laws

LAYERS = {
    "minlstm": lambda **o: nn.MinLSTM(3, 4, **o),
    "sru": lambda **o: nn.SRU(3, 4, **o),
    "sru of equal widths": lambda **o: nn.SRU(3, 3, **o),
    "qrnn": lambda **o: nn.QRNN(3, 4, **o),
    "s5": lambda **o: nn.S5(3, 4, state_size=2, **o),
}
STREAMED = LAYERS | {"qrnn of two": lambda **o: nn.QRNN(3, 4, window=2, **o), "lru": lambda **o: nn.LRU(3, 4, **o)}


@pytest.mark.parametrize("name", LAYERS)
def test_laws_hold(name):
    """Those that tests/laws does not go through with every dtype and backend."""
    assert len(check_laws(LAYERS[name](dtype="float64", bidirectional=name == "s5", rng=1), 3)) >= 14


@pytest.mark.parametrize("name", STREAMED)
def test_streams_give_what_the_layer_gives(name):
    layer = STREAMED[name](num_layers=2, dtype="float64", rng=1)
    x = np.random.default_rng(0).standard_normal((6, 2, 3))
    output, final = layer(x)
    stream = layer.stream(batch=2)
    found = np.concatenate([[stream.step(x[0]).copy()], stream.block(x[1:])])
    assert_close(found, output.data, 1e-12)
    assert_close(stream.state, tuple(p.data for p in final) if isinstance(final, tuple) else final.data, 1e-12)


def test_parameters():
    def shapes(layer):
        return {name: p.shape for name, p in layer.named_parameters()}

    assert shapes(nn.MinGRU(3, 4)) == {"weight_ih_l0": (8, 3), "bias_ih_l0": (8,)}
    assert shapes(nn.MinLSTM(3, 4, bias=False)) == {"weight_ih_l0": (12, 3)}
    assert shapes(nn.SRU(3, 4, 2)) == {
        "weight_ih_l0": (16, 3), "bias_ih_l0": (16,), "weight_ih_l1": (12, 4), "bias_ih_l1": (12,)
    }  # fmt: skip
    assert shapes(nn.QRNN(3, 4, window=2)) == {"weight_ih_l0": (24, 3), "bias_ih_l0": (12,)}
    own = {"nu_log_l0": (5,), "theta_log_l0": (5,), "gamma_log_l0": (5,)}
    assert shapes(nn.LRU(3, 4, state_size=5)) == {"weight_ih_l0": (14, 3), "weight_ch_l0": (4, 10)} | own
    own = {"poles_l0": (8,), "log_step_l0": (4,)}
    assert shapes(nn.S5(3, 4)) == {"weight_ih_l0": (12, 3), "weight_ch_l0": (4, 8)} | own


def test_lru_starts_in_its_ring():
    layer = nn.LRU(3, 4, state_size=400, r_min=0.5, r_max=0.9, max_phase=1.0, rng=0)
    size = np.exp(-np.exp(layer.nu_log_l0.data))
    assert size.min() >= 0.4999
    assert 0.85 < size.max() <= 0.9001
    assert abs((size < 0.7).mean() - (0.49 - 0.25) / (0.81 - 0.25)) < 0.08  # evenly over the ring's area
    assert np.exp(layer.theta_log_l0.data).max() <= 1.0001
    np.testing.assert_allclose(np.exp(layer.gamma_log_l0.data), np.sqrt(1 - size**2), rtol=1e-4)
    assert np.isfinite(nn.LRU(3, 4, state_size=10000, rng=0).gamma_log_l0.data).all()


def test_s5_starts_from_the_eigenvalues_of_hippo():
    n = np.arange(12)
    root = np.sqrt(2 * n + 1)
    hippo = -(np.tril(np.outer(root, root), -1) + np.diag(n + 1.0))
    normal = hippo + np.outer(root, root) / 2
    real, imaginary = halves(hippo_poles(6))
    expected = np.linalg.eigvals(normal)
    np.testing.assert_allclose(expected.real, real[0], rtol=1e-9)
    np.testing.assert_allclose(np.sort(np.concatenate([imaginary, -imaginary])), np.sort(expected.imag), rtol=1e-9)
    step = np.exp(nn.S5(3, 4, state_size=200, step_min=0.01, step_max=0.5, rng=0).log_step_l0.data)
    assert 0.0099 < step.min() < 0.02
    assert 0.3 < step.max() < 0.5001


@pytest.mark.parametrize("kernels", ["auto", "scan", "reference"])
def test_an_sru_of_four_inputs_and_three_units_has_a_highway_of_its_own(kernels, rng):
    """weight_ih is (12, 4) then, as it is of four units, whose highway is x."""
    x = rng.standard_normal((2, 1, 4))
    layer = nn.SRU(4, 3, dtype="float64", rng=0)
    with use_kernels(kernels):
        y, (_, c) = layer(x)
    _, _, r, s = np.split(layer.weight_ih_l0.data @ x[-1, 0] + layer.bias_ih_l0.data, 4)
    r = 1 / (1 + np.exp(-r))
    np.testing.assert_allclose(y.data[-1, 0], r * c.data[0, 0] + (1 - r) * s, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.MinGRU(3, 4, space="exp"), "MinGRU: space is 'exp'; expected 'log' or 'linear'"),
        (lambda: nn.QRNN(3, 4, window=0), "QRNN: window is 0; expected 1 or 2"),
        (lambda: nn.QRNN(3, 4, window=2.0), "QRNN: window is 2.0; expected 1 or 2"),
        (lambda: nn.QRNN(3, 4, window=True), "QRNN: window is True; expected 1 or 2"),
        (lambda: nn.LRU(3, 4, state_size=0), "LRU: state_size is 0; expected an integer of at least 1"),
        (lambda: nn.LRU(3, 4, r_min=0.9, r_max=0.9), "LRU: r_min is 0.9 and r_max 0.9; expected r_min < r_max"),
        (lambda: nn.LRU(3, 4, r_max=1.5), "LRU: r_max is 1.5; expected a radius from 0 to 1"),
        (lambda: nn.LRU(3, 4, max_phase=7.0), "LRU: max_phase is 7.0; expected an angle"),
        (lambda: nn.S5(3, 4, step_min=0.0), "S5: step_min is 0.0; expected a number above 0"),
        (lambda: nn.S5(3, 4, step_min=0.2), "S5: step_min is 0.2 and step_max 0.1; expected step_min <= step_max"),
        (lambda: nn.S5(3, 4, step_max=np.inf), "S5: step_max is inf; expected a number above 0"),
        (lambda: nn.RecurrentLayer(cells.SRU(), 3, 4, weight_dropout=0.1), "0.1, but the cell SRU has no weight_hh"),
        (lambda: nn.S5(3, -1), "S5: hidden_size is -1; expected an integer"),
    ],
)
def test_wrong_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["sru", "lru"])
def test_gradients_of_gradients(name):
    layer = STREAMED[name](dtype="float64", rng=0)
    x = Tensor(np.random.default_rng(0).standard_normal((4, 2, 3)), requires_grad=True)

    def slope(values):
        (dx,) = grad(ops.sum(ops.square(layer(values)[0])), [values], create_graph=True)
        return ops.sum(ops.square(dx))

    (found,) = grad(slope(x), [x])
    direction, eps = np.random.default_rng(1).standard_normal(x.shape), 1e-5
    ends = [float(slope(Tensor(x.data + s * eps * direction, requires_grad=True)).data) for s in (1, -1)]
    np.testing.assert_allclose((found.data * direction).sum(), (ends[0] - ends[1]) / (2 * eps), rtol=1e-6)


def test_a_saved_state_loads_and_moves(home):
    layer, other = nn.LRU(3, 4, rng=0), nn.LRU(3, 4, rng=1)
    other.load_state_dict(layer.state_dict())
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype("float32")
    expected = layer(x)[0].data
    assert_close(other.to(home)(home.asarray(x))[0].data, expected, 1e-5)
    with use_kernels("scan"):
        assert_close(layer(x)[0].data, expected, 1e-5)


def test_redrawing_knows_each_block():
    for layer in (nn.MinGRU(3, 4), nn.SRU(4, 4), nn.SRU(3, 4), nn.QRNN(3, 4, window=2)):
        nn.init.redraw(layer, weight_ih=lambda shape, rng, dtype: nn.init.constant(shape, shape[0], dtype=dtype))
        assert (layer.weight_ih_l0.data == 4).all()  # a block is a matrix of H rows
    with pytest.raises(TypeError, match="redraw: layer is a LRU; expected a recurrent layer or cell with gates"):
        nn.init.redraw(nn.LRU(3, 4), weight_ih=nn.init.xavier_uniform, rng=0)


def test_zoneout_goes_step_by_step():
    layer, x = nn.RecurrentLayer(cells.MinGRU(), 3, 4, zoneout=0.5, dtype="float64", rng=0), np.ones((4, 2, 3))
    assert "  scan: declines (zoneout and dropout between steps go step by step)" in explain(layer, x)
    h, expected = np.zeros((2, 4)), []
    layer.eval()
    (w,) = layer.weights()
    (a, b) = cells.MinGRU().coefficients({}, x[0] @ w["weight_ih"].data.T + w["bias_ih"].data)
    for _ in x:
        h = 0.5 * h + 0.5 * (a * h + b)
        expected.append(h)
    assert_close(layer(x)[0].data, np.stack(expected), 1e-12)
