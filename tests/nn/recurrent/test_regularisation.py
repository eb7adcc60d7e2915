"""Zoneout and dropouts of layers: what is drawn and when, what is expected, and what is refused."""

import numpy as np
import pytest
from helpers import assert_close

import xprnn
from xprnn import Tensor, cells, nn
from xprnn.diagnose import gradient_flow

ALL = {"zoneout": (0.2, 0.4), "recurrent_dropout": 0.3, "candidate_dropout": 0.25, "weight_dropout": 0.5}
X = np.random.default_rng(0).standard_normal((6, 3, 2))


def lstm(layers=1, **options):
    return nn.LSTM(2, 4, layers, dtype="float64", rng=0, **options)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_same_seed_gives_the_same_bits_on_every_backend(bidirectional, home):
    first, second = (lstm(2, bidirectional=bidirectional, **ALL) for _ in range(2))
    y = first(X)[0].numpy()
    assert_close(second.to(home)(home.asarray(X))[0].numpy(), y)
    assert not np.allclose(first(X)[0].numpy(), y)


def test_in_evaluation_only_zoneout_is_left_and_is_expected(home):
    plain = lstm().to(home)
    x = home.asarray(X)
    off = lstm(**ALL | {"zoneout": 0.0}).to(home).eval()
    assert_close(off(x)[0].numpy(), plain(x)[0].numpy())
    layer = lstm(zoneout=(0.2, 0.4)).to(home).eval()
    zero = home.zeros((1, 3, 4), "float64")
    h, c = zero, zero
    for t in range(6):
        _, (h_new, c_new) = plain(x[t : t + 1, ...], (h, c))
        h, c = 0.2 * h + 0.8 * h_new.data, 0.4 * c + 0.6 * c_new.data
    _, (h_last, c_last) = layer(x)
    assert_close((h_last.numpy(), c_last.numpy()), (Tensor(h).numpy(), Tensor(c).numpy()))


def test_a_stream_has_the_expected_zoneout():
    layer = nn.LSTM(2, 4, zoneout=0.3, dtype="float64", rng=0)
    stream, x = layer.stream(), X[:, :1]
    assert "no kernel has zoneout" in repr(stream)
    found = np.stack([stream.step(x[t]) for t in range(6)])
    assert_close(found, layer.eval()(x)[0].numpy())
    assert "compiled call" in repr(nn.LSTM(2, 4, recurrent_dropout=0.3, weight_dropout=0.5).stream())


EXPECTED = {
    "zoneout": {"zoneout": 0.3},
    "candidate": {"candidate_dropout": 0.4},
}


@pytest.mark.parametrize("options", EXPECTED.values(), ids=EXPECTED.keys())
def test_draws_are_right_in_the_mean(options):
    """Of one step: its cell is linear in the masks."""
    layer, draws = nn.LSTM(2, 4, dtype="float64", rng=1, **options), 4000
    x, state = np.repeat(X[:1, :1], draws, axis=1), np.full((1, draws, 4), 3.0)
    c = layer(x, (state, state))[1][1].numpy()
    expected = layer.eval()(x, (state, state))[1][1].numpy()
    assert c.std(axis=1).min() > 0.001
    assert np.abs(c.mean(axis=1) - expected.mean(axis=1)).max() < 4 * c.std(axis=1).max() / np.sqrt(draws)


def test_gals_mask_is_one_for_all_steps_and_of_the_product_alone():
    layer = nn.RNN(2, 4, recurrent_dropout=0.5, dtype="float64", rng=0)
    layer.weight_hh_l0.data = np.eye(4)
    layer.weight_ih_l0.data, layer.bias_ih_l0.data, layer.bias_hh_l0.data = np.zeros((4, 2)), np.zeros(4), np.zeros(4)
    y = layer(np.zeros((3, 5, 2)), np.full((1, 5, 4), 1e-3))[0].numpy()
    ratios = y[1:] / np.where(y[:-1] == 0, 1.0, y[:-1])
    alive = y[0] != 0
    assert alive.any()
    assert not alive.all()
    np.testing.assert_allclose(
        ratios, np.broadcast_to(2.0 * alive, ratios.shape), atol=1e-4
    )  # kept, and divided by 1/2


def test_weights_are_dropped_once_a_call_and_run_on_kernels():
    pytest.importorskip("numba")
    layer = nn.LSTM(2, 4, weight_dropout=0.5, rng=0)
    x = X.astype("float32")
    assert "compiled: runs" in xprnn.explain(layer, x)
    layer(x)[0].sum().backward()
    dropped = layer.weight_hh_l0.grad.numpy() == 0
    assert 0.2 < dropped.mean() < 0.8


OFF = {
    "rates of 0": (dict.fromkeys(ALL, 0.0), True),
    "dropouts in evaluation": (ALL | {"zoneout": (0.0, 0.0)}, False),
}


@pytest.mark.parametrize(("options", "training"), OFF.values(), ids=OFF.keys())
def test_what_is_off_makes_the_same_call_of_kernels(options, training, monkeypatch):
    numba = pytest.importorskip("numba")
    from xprnn.kernels.cpu import around, at_once, loops, small

    monkeypatch.setattr(small, "plan_of", lambda *call: None)
    monkeypatch.setattr(at_once, "serves", lambda *about: False)
    monkeypatch.setattr(around, "OWN_BYTES", 0)
    came, originals = [], {name: getattr(loops, name) for name in ("walk", "walk_back")}

    def watched(name):
        def run(*given):
            came.append((name, *map(numba.typeof, given)))
            return originals[name](*given)

        return run

    for name in originals:
        monkeypatch.setattr(loops, name, watched(name))
    seen = []
    for layer in (lstm().train(training), lstm(**options).train(training)):
        said, before = xprnn.explain(layer, X), layer.rng.bit_generator.state
        came.clear()
        y = layer(X)[0]
        y.sum().backward()
        assert layer.rng.bit_generator.state == before  # nothing is drawn
        seen.append((said, [*came], y.numpy().tobytes(), [p.grad.numpy().tobytes() for p in layer.parameters()]))
    assert seen[0] == seen[1]
    assert [(name, masks) for name, *_, masks in seen[0][1]] == [("walk", numba.none), ("walk_back", numba.none)]


def test_explain_says_why_kernels_decline():
    assert "compiled: runs" in xprnn.explain(lstm(**ALL), X)
    assert "compiled: runs" in xprnn.explain(lstm(**ALL, layer_norm=True), X)
    assert "no kernel has zoneout, or dropout between steps, for" in xprnn.explain(
        nn.IndRNN(2, 4, zoneout=0.1, dtype="float64"), X
    )


def test_flow_sees_the_expected_zoneout():
    flow = gradient_flow(lstm(zoneout=1.0), X, lambda model, x: model(x)[0].sum())  # nothing but the old state
    np.testing.assert_allclose(flow.jacobian_norms, 1.0)
    np.testing.assert_allclose(flow.gradient_norms[:, 0], np.arange(6, 0, -1) * np.sqrt(3 * 4))


class OwnForward(cells.LSTM):
    """Equations of its own, which look for no mask: h is multiplied before them."""

    backward = cells.LSTM.backward

    def forward(self, w, zx, zh, state):
        return state, ()


class OwnStep(cells.LSTM):
    step_vjp = cells.LSTM.step_vjp

    def step(self, w, zx, state):
        return state, ()


class OwnWeights(cells.Elman):
    def weight_shapes(self, input_size, hidden_size):
        return {"weight_ih": (hidden_size, input_size)}


def own(cell, **options):
    return lambda: nn.RecurrentLayer(cell, 2, 3, **options)


REFUSED = {
    "the cell OwnForward has no mask_candidate": own(OwnForward(), candidate_dropout=0.1),
    "the cell OwnStep has no mask_h": own(OwnStep(), recurrent_dropout=0.1),
    "weight_dropout is 0.1, but the cell .* has no weight_hh": own(OwnWeights(), weight_dropout=0.1),
    r"LSTM: zoneout has 1 rates; expected one, or 2: \('h', 'c'\)": lambda: nn.LSTM(2, 3, zoneout=(0.1,)),
    "GRU: zoneout is 1.5; expected a probability from 0 to 1": lambda: nn.GRU(2, 3, zoneout=1.5),
    "RNN: recurrent_dropout is 1.0; expected a share from 0 to below 1": lambda: nn.RNN(2, 3, recurrent_dropout=1.0),
    "GRU: weight_dropout is -1; expected a share": lambda: nn.GRU(2, 3, weight_dropout=-1),
    r"candidate_dropout is 0.1, but the cell Elman \(tanh\) has no mask_candidate": lambda: nn.RecurrentLayer(
        cells.Elman(), 2, 3, candidate_dropout=0.1
    ),
}


@pytest.mark.parametrize(("message", "make"), REFUSED.items())
def test_what_is_refused(message, make):
    with pytest.raises(ValueError, match=message):
        make()
