"""Chrono initialisation: the memories it promises are the memories a layer has."""

import numpy as np
import pytest

from xprnn import nn
from xprnn.nn import chrono_init


def gate(layer, k, suffix="_l0"):
    size = layer.hidden_size
    return [getattr(layer, name + suffix).numpy()[k * size : (k + 1) * size] for name in ("bias_ih", "bias_hh")]


@pytest.mark.parametrize("suffix", ["_l0", "_l0_reverse", "_l1", "_l1_reverse"])
def test_biases_of_every_layer_and_direction(suffix):
    lstm = nn.LSTM(2, 200, 2, bidirectional=True, dtype="float64", rng=0)
    before = lstm.state_dict()
    chrono_init(lstm, 100, rng=1)
    (i, i_hh), (f, f_hh) = gate(lstm, 0, suffix), gate(lstm, 1, suffix)
    np.testing.assert_array_equal(i, -f)
    assert not i_hh.any()
    assert not f_hh.any()
    u = np.exp(f)
    assert 1 <= u.min() < 10 < 90 < u.max() <= 99
    assert abs(u.mean() - 50) < 6
    for name in ("bias_ih", "bias_hh"):  # g and o stay, and so does everything else
        np.testing.assert_array_equal(getattr(lstm, name + suffix).numpy()[400:], before[name + suffix][400:])
    np.testing.assert_array_equal(getattr(lstm, "weight_hh" + suffix).numpy(), before["weight_hh" + suffix])
    assert not np.array_equal(f, gate(lstm, 1, "_l0" if suffix != "_l0" else "_l1")[0])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_without_input_the_state_fades_by_u_over_one_plus_u(kind):
    layer = kind(1, 8, dtype="float64", rng=0)
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        parameter = getattr(layer, name)
        parameter.data = np.zeros(parameter.shape)
    chrono_init(layer, 50, rng=0)
    u = np.exp(gate(layer, 1)[0])
    start = np.ones((1, 1, 8))
    _, state = layer(np.zeros((10, 1, 1)), (start, start) if kind is nn.LSTM else start)
    kept = state[1] if kind is nn.LSTM else state
    np.testing.assert_allclose(kept.numpy()[0, 0], (u / (1 + u)) ** 10, rtol=1e-12)


def test_the_gates_bias_of_a_gru_alone():
    gru = nn.GRU(2, 5, rng=0)
    before = gru.state_dict()
    chrono_init(gru, 20, rng=0)
    for name in ("bias_ih_l0", "bias_hh_l0"):
        after = getattr(gru, name).numpy()
        np.testing.assert_array_equal(after[:5], before[name][:5])
        np.testing.assert_array_equal(after[10:], before[name][10:])
    assert gru.bias_ih_l0.dtype == "float32"


def test_peepholes_strict_arrays_and_seeds(home):
    layers = [nn.LSTM(2, 4, peephole="diagonal", rng=0).to(home) for _ in range(3)]
    for layer, seed in zip(layers, (1, 1, 2), strict=True):
        chrono_init(layer, 9, rng=seed)
        assert type(layer.bias_ih_l0.data) is type(layer.weight_hh_l0.data)
    one, two, three = (layer.bias_ih_l0.numpy() for layer in layers)
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, three)


def test_errors():
    for layer in (nn.RNN(1, 2), nn.LSTMCell(1, 2), nn.Linear(1, 2)):
        with pytest.raises(
            TypeError, match=f"chrono_init: layer is a {type(layer).__name__}; expected an LSTM or a GRU"
        ):
            chrono_init(layer, 10)
    with pytest.raises(ValueError, match="chrono_init: the layer was built with bias=False"):
        chrono_init(nn.GRU(1, 2, bias=False), 10)
    with pytest.raises(ValueError, match="chrono_init: longest is 2; expected an integer of at least 3"):
        chrono_init(nn.GRU(1, 2), 2)
