"""Shares of saturated units: by hand, on the tape, and where nothing is known."""

import math

import numpy as np
import pytest
from helpers import each_cell, host

from xprnn import cells, nn, ops
from xprnn.diagnose import saturation

T, B, I, H = 5, 4, 2, 3  # noqa: E741
# Where these are not the cell's names of its gates, and behind them "tanh c" where it has a c.
NAMES = {"Elman": ["h"], "IndRNN": ["h"], "CTRNN": ["f"], "Antisymmetric": ["f"], "SLSTM": ["g", "o"]}
# Of other activations those that end: in helpers, softsign, sigmoid and tanh.
NAMES |= {"GeneralElman": ["h"], "GeneralGRU": ["r", "z"], "GeneralResetBeforeGRU": ["r", "z"]}
NAMES |= {"GeneralLSTM": ["i", "o", "output"]}


@each_cell
def test_names_shapes_and_range(cell, rng):
    layer = nn.RecurrentLayer(cell, I, H, 2, bidirectional=True, dtype="float64", rng=0)
    found = saturation(layer, 5.0 * rng.standard_normal((T, B, I)))
    gates = NAMES.get(type(cell).__name__, [*cell.gate_names, *["tanh c"] * ("c" in cell.state_names)])
    expected = tuple(f"{end} {g}" for end in ("l0", "l0_reverse", "l1", "l1_reverse") for g in gates)
    assert found.gates == expected, "say in xprnn/diagnose/saturation.py what its step saves, or in NAMES what is seen"
    for share in (found.low, found.high):
        assert share.shape == (T, len(found.gates))
        assert ((share >= 0) & (share <= 1)).all()
        np.testing.assert_allclose(share * B * H, np.round(share * B * H), atol=1e-9)
    assert (found.low + found.high <= 1).all()


def test_gates_of_linear_cells(rng):
    x = 5.0 * rng.standard_normal((T, B, I))
    for cell, gates in ((cells.MinGRU(), "z"), (cells.MinLSTM(), "fi"), (cells.SRU(), "fr"), (cells.LRU(2), "")):
        layer = nn.RecurrentLayer(cell, I, H, dtype="float64", rng=0)
        assert saturation(layer, x).gates == tuple(f"l0 {gate}" for gate in gates)
    layer = nn.QRNN(I, H, window=2, dtype="float64", rng=0)
    found = saturation(layer, x)
    assert found.gates == ("l0 z", "l0 f", "l0 o")
    w, b = layer.weight_ih_l0.data, layer.bias_ih_l0.data
    u = x @ w[: 3 * H].T + b + np.concatenate([np.zeros((1, B, 3 * H)), x[:-1] @ w[3 * H :].T])
    np.testing.assert_allclose(found.low[:, 0], (np.tanh(u[..., :H]) <= -0.9).mean(axis=(1, 2)), rtol=1e-15)
    np.testing.assert_allclose(
        found.high[:, 2], (1 / (1 + np.exp(-u[..., 2 * H :])) >= 0.9).mean(axis=(1, 2)), rtol=1e-15
    )


def test_an_rnn_by_hand(rng, home):
    for kind in ("tanh", "relu"):
        layer = nn.RNN(I, H, nonlinearity=kind, dtype="float64", rng=0).to(home)
        x = home.asarray(3.0 * rng.standard_normal((T, B, I)))
        h = host(layer(x)[0])
        found = saturation(layer, x, tolerance=0.25)
        low, high = (h <= -0.75, h >= 0.75) if kind == "tanh" else (h == 0.0, h == math.inf)
        assert low.any()
        np.testing.assert_allclose(found.low[:, 0], low.mean(axis=(1, 2)), rtol=1e-15)
        np.testing.assert_allclose(found.high[:, 0], high.mean(axis=(1, 2)), rtol=1e-15)


def test_a_gate_forced_open():
    layer = nn.LSTM(I, H, forget_bias=50.0, dtype="float64", rng=0)
    found = saturation(layer, np.zeros((T, B, I)))
    at = dict(zip(found.gates, zip(found.low.T, found.high.T, strict=True), strict=True))
    assert (at["l0 f"][1] == 1.0).all()
    assert (at["l0 f"][0] == 0.0).all()
    assert all((at[f"l0 {gate}"][k] == 0.0).all() for gate in "iog" for k in (0, 1))


class Own(nn.Module):
    """A GRU out of primitives, in the layer's order of operations."""

    def __init__(self, layer):
        self.layer, self.state_sizes = layer, (layer.hidden_size,)

    def step(self, x, state):
        (h,) = state
        w, size = self.layer.weights()[0], h.shape[1]
        zx, zh = x @ w["weight_ih"].T + w["bias_ih"], h @ w["weight_hh"].T + w["bias_hh"]
        r = ops.sigmoid(zx[:, :size] + zh[:, :size])
        n = ops.tanh(zx[:, 2 * size :] + r * zh[:, 2 * size :])
        z = ops.sigmoid(zx[:, size : 2 * size] + zh[:, size : 2 * size])
        return ((1.0 - z) * n + z * h,)


def test_own_cells_are_read_off_the_tape(rng):
    layer = nn.GRU(I, H, dtype="float64", rng=0)
    own, x = nn.Recurrent(Own(layer), reverse=True), 9.0 * rng.standard_normal((T, B, I))
    found, expected = saturation(own, x), saturation(layer, x[::-1])
    assert sorted(found.gates) == ["Own sigmoid 1", "Own sigmoid 2", "Own tanh 1"]
    assert expected.low.max() > 0
    for ours, theirs in ((found.low, expected.low), (found.high, expected.high)):
        columns = [found.gates.index(f"Own {name}") for name in ("sigmoid 1", "sigmoid 2", "tanh 1")]
        shares = np.sort(ours[::-1][:, columns], axis=1)
        np.testing.assert_array_equal(shares, np.sort(theirs, axis=1))


class Doubled(cells.Elman):
    """Not one of ours, so what it saves is not known."""

    def forward(self, w, zx, zh, state):
        return super().forward(w, 2.0 * zx, zh, state)

    def backward(self, w, dstate, saved, state, new_state):
        dzx, dzh, rest = super().backward(w, dstate, saved, state, new_state)
        return 2.0 * dzx, dzh, rest


def test_own_explicit_cells_too(rng):
    layer, x = nn.RecurrentLayer(Doubled(), I, H, dtype="float64", rng=0), 3.0 * rng.standard_normal((T, B, I))
    h = host(layer(x)[0])
    found = saturation(layer, x)
    assert found.gates == ("l0 tanh 1",)
    np.testing.assert_allclose(found.high[:, 0], (h >= 0.9).mean(axis=(1, 2)), rtol=1e-15)


def test_only_steps_that_are_taken_count(rng):
    layer, x = nn.LSTM(I, H, dtype="float64", rng=0), 9.0 * rng.standard_normal((T, 2, I))
    both = saturation(layer, x, lambda m, x: m(x, lengths=[3, 0]))
    alone = saturation(layer, x[:3, :1])
    np.testing.assert_array_equal(both.low[:3], alone.low)
    assert np.isnan(both.low[3:]).all()
    assert np.isnan(both.high[3:]).all()


def test_it_leaves_the_model_as_it_was(rng):
    layer = nn.LSTM(I, H, 2, dropout=0.5, dtype="float64", rng=0).train()
    before = [(p.data, p.version, p.grad) for p in layer.parameters()]
    attributes, draws = [id(value) for value in vars(layer).values()], layer.rng.bit_generator.state
    first, second = (saturation(layer, rng.standard_normal((T, B, I)) * 0 + 1) for _ in range(2))
    np.testing.assert_array_equal(first.low, second.low)
    assert [(p.data, p.version, p.grad) for p in layer.parameters()] == before
    assert [id(value) for value in vars(layer).values()] == attributes
    assert layer.training
    assert layer.rng.bit_generator.state == draws


def test_edges():
    layer = nn.LSTM(I, H, dtype="float64", rng=0)
    assert saturation(layer, np.ones((0, B, I))).low.size == 0
    assert np.isnan(saturation(layer, np.ones((1, 0, I))).low).all()
    bad = saturation(layer, np.full((1, B, I), math.nan))
    assert (bad.low == 0).all()
    assert (bad.high == 0).all()
    with pytest.raises(ValueError, match="saturation: tolerance is 0.6; expected a number from 0 to 0.5"):
        saturation(layer, np.ones((1, B, I)), tolerance=0.6)
    with pytest.raises(TypeError, match="saturation: model is a int; expected a Module"):
        saturation(3, np.ones((1, B, I)))
    with pytest.raises(ValueError, match="saturation: Linear has no recurrent layer"):
        saturation(nn.Linear(I, 1), np.ones((1, B, I)))


def test_plot(tmp_path, rng):
    pytest.importorskip("matplotlib")
    found = saturation(nn.LSTM(I, H, dtype="float64", rng=0), 5.0 * rng.standard_normal((T, B, I)))
    ax = found.plot()
    (image,) = ax.get_images()
    np.testing.assert_allclose(image.get_array()[0], 100.0 * found.low[:, 0])
    np.testing.assert_allclose(image.get_array()[3], 100.0 * found.high[:, 1])
    assert [label.get_text() for label in ax.get_yticklabels()][:2] == ["l0 i low", "l0 i high"]
    ax.figure.savefig(tmp_path / "saturation.png")
