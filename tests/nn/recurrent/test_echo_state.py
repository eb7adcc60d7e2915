import copy
import pickle

import numpy as np
import pytest
from helpers import assert_close, host

from xprnn import Tensor, nn


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def make(**options):
    return nn.EchoStateNetwork(2, 12, 3, **{"ridge": 1e-3, "dtype": "float64", "rng": 1, "connectivity": 0.3} | options)


def test_the_reservoir_is_drawn_as_told():
    layer = nn.EchoState(
        5, 90, spectral_radius=1.3, input_scaling=0.2, bias_scaling=0.1, connectivity=0.1, input_connectivity=0.4, rng=0
    )  # fmt: skip
    w, sensory, bias = layer.weight_hh_l0.data, layer.weight_ih_l0.data, layer.bias_ih_l0.data
    assert abs(np.linalg.eigvals(w.astype("float64"))).max() == pytest.approx(1.3, rel=1e-5)
    assert 0.09 < (w != 0).mean() < 0.11
    assert 0.3 < (sensory != 0).mean() < 0.5
    assert 0.19 < abs(sensory).max() <= 0.2
    assert 0.09 < abs(bias).max() <= 0.1
    x = Tensor(draw(4, 5).astype("float32"), requires_grad=True)
    layer(x)[0].sum().backward()
    assert x.grad is not None
    assert all(p.grad is None and not p.requires_grad for p in layer.parameters())


def test_the_readout_is_that_of_ridge_regression():
    """All steps written one below the other, with the bias as a column that costs nothing."""
    net, x, y, lengths = make(washout=2), draw(20, 3, 2), draw(20, 3, 3, seed=1), [20, 13, 1]
    net.fit(x, y, lengths=lengths)
    h = net.reservoir(x)[0].data
    rows = np.concatenate([h[2:n, k] for k, n in enumerate(lengths)])
    targets = np.concatenate([y[2:n, k] for k, n in enumerate(lengths)])
    with_one = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    cost = np.diag([1e-3] * 12 + [0])
    found = np.linalg.solve(with_one.T @ with_one + cost, with_one.T @ targets)
    assert_close(net.readout.weight.data, found[:-1].T, 1e-10)
    assert_close(net.readout.bias.data, found[-1], 1e-10)
    assert_close(net.predict(x), h @ found[:-1] + found[-1], 1e-10)


def test_pieces_give_what_the_whole_gives(home):
    x, y = draw(30, 2, 2), draw(30, 2, 3, seed=1)
    whole = make(washout=4).fit(x, y)
    parts = make(washout=4).to(home)
    given = [home.asarray(a) for a in (x[:13], y[:13], x[13:], y[13:])]
    state = parts.partial_fit(*given[:2])
    parts.partial_fit(*given[2:], state)
    assert_close(parts.readout.weight.data, whole.readout.weight.data, 1e-10)
    more = pickle.loads(pickle.dumps(copy.deepcopy(whole)))
    assert_close(more.predict(x), whole.predict(x))
    more.partial_fit(x, y)
    assert_close(more.readout.bias.data, more.readout.bias.data)
    dirty = np.concatenate([x, np.full((3, 2, 2), np.nan)]), np.concatenate([y, np.full((3, 2, 3), np.nan)])
    other = make(washout=4).fit(*dirty, lengths=[30, 30])
    assert_close(other.readout.weight.data, whole.readout.weight.data, 1e-10)


def test_it_forecasts_what_a_line_cannot():
    """The Henon map, one step ahead; a regression on the last value is off by 0.7 of the deviation."""
    series = [0.1, 0.1]
    for _ in range(800):
        series.append(1 - 1.4 * series[-1] ** 2 + 0.3 * series[-2])
    series = np.array(series)[:, None]
    reservoir = {"spectral_radius": 0.3, "input_scaling": 0.5, "bias_scaling": 0.5, "dtype": "float64", "rng": 0}
    net = nn.EchoStateNetwork(1, 60, 1, washout=50, ridge=1e-8, **reservoir)
    net.fit(series[:600], series[1:601])
    found = net.predict(series[600:-1], net.reservoir(series[:600])[1])
    assert np.sqrt(np.mean((found - series[601:]) ** 2)) < 0.02 * series.std()


def test_streams_and_forms():
    net = make(batch_first=True, leak=0.4)
    x, y = draw(2, 15, 2), draw(2, 15, 3)
    net.fit(x, y)
    expected = net.predict(x)
    stream = net.stream(batch=2)
    found = np.stack([stream.step(x[:, t]).copy() for t in range(15)], axis=1)
    assert_close(found, expected, 1e-12)
    assert_close(net.predict(x[0]), expected[0], 1e-12)
    assert net.load_state_dict(net.state_dict()).missing_keys == []


def test_what_fails_changes_nothing():
    net, x, y = make(washout=3), draw(6, 1, 2), draw(6, 1, 3)
    net.fit(x, y)
    before = host(net.readout.weight.data).copy()
    for wrong in ((x[:3], y[:3]), (x, y[:, :, :2])):
        with pytest.raises(ValueError, match=r"no step counts, of sequences that end within washout=3|y has shape"):
            net.fit(*wrong)
    for k, number in ((0, np.nan), (1, np.nan), (1, np.inf)):
        wrong = [x.copy(), y.copy()]
        wrong[k][4] = number
        with pytest.raises(ValueError, match="holds NaN or infinity in a step that counts; nothing was learned of it"):
            net.partial_fit(*wrong)
    wrong = y.copy()
    wrong[0] = np.nan  # within the washout
    net.fit(x, wrong)
    assert_close(net.readout.weight.data, before)
    net.partial_fit(x, y)
    assert net._sums["n"] == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"leak": 0.0}, "EchoState: leak is 0.0; expected a number above 0 and at most 1"),
        ({"connectivity": 1.5}, "EchoState: connectivity is 1.5; expected a number above 0"),
        ({"connectivity": 1e-9}, "of 12 units none was drawn that leads back"),
        ({"spectral_radius": -1.0}, "EchoState: spectral_radius is -1.0; expected a number of at least 0"),
        ({"ridge": -1.0}, "EchoStateNetwork: ridge is -1.0; expected a number of at least 0"),
        ({"washout": -1}, "EchoStateNetwork: washout is -1; expected an integer of at least 0"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
