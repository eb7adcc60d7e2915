import numpy as np
import pytest
from helpers import assert_close, host

from xprnn import Tensor, nn

PAIRS = {
    "rnn": (nn.RNNCell, nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (nn.LSTMCell, nn.LSTM, {}),
    "lstm peephole": (nn.LSTMCell, nn.LSTM, {"peephole": "full"}),
    "gru": (nn.GRUCell, nn.GRU, {}),
    "gru reset before": (nn.GRUCell, nn.GRU, {"reset_after": False}),
    "clipped rnn": (nn.RNNCell, nn.RNN, {"nonlinearity": "softsign", "clip": 0.5}),
    "coupled lstm": (nn.LSTMCell, nn.LSTM, {"coupled": True, "gate_activation": "hard_sigmoid", "clip": 0.5}),
    "lstm of other activations": (nn.LSTMCell, nn.LSTM, {"activation": "relu", "output_activation": "softsign"}),
    "layer-norm lstm": (nn.LSTMCell, nn.LSTM, {"layer_norm": True}),
    "clipped gru": (nn.GRUCell, nn.GRU, {"gate_activation": "softsign", "activation": "relu", "clip": 0.5}),
    "layer-norm gru": (nn.GRUCell, nn.GRU, {"layer_norm": True}),
}
NOISE = {"zoneout": 0.4, "recurrent_dropout": 0.3, "candidate_dropout": 0.3, "weight_dropout": 0.3}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("cell", "layer", "options"), PAIRS.values(), ids=PAIRS.keys())
def test_steps_make_a_layer(cell, layer, options, bias, rng):
    step, whole = cell(3, 4, bias=bias, rng=0, **options), layer(3, 4, bias=bias, rng=0, **options)
    assert {f"{name}_l0": host(a).shape for name, a in step.state_dict().items()} == {
        name: host(a).shape for name, a in whole.state_dict().items()
    }
    x = rng.standard_normal((5, 2, 3)).astype("float32")
    state = None
    for xt in x:
        state = step(xt, state)
    output, _ = whole(x)
    last = state if isinstance(state, tuple) else (state,)
    assert_close(last[0], output[-1], 1e-6)
    last[0].sum().backward()
    output[-1].sum().backward()
    for one, other in zip(step.parameters(), whole.parameters(), strict=True):
        assert_close(one.grad, other.grad.data, 2e-6)


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ((np.zeros((2, 4), "float32"),), ValueError, r"GRUCell: x has shape \(2, 4\); expected \(B, 3\) or \(3,\)"),
        ((np.zeros((1, 2, 3), "float32"),), ValueError, r"GRUCell: x has shape \(1, 2, 3\)"),
        ((np.zeros((2, 3)),), TypeError, "GRUCell: x has dtype float64; the layer has float32"),
        ((np.zeros((2, 3), int),), TypeError, "GRUCell: x has dtype int64; expected float32"),
        (
            (np.zeros((2, 3), "float32"), np.zeros((2, 3), "float32")),
            ValueError,
            r"h_0 has shape \(2, 3\); expected \(2, 4\)",
        ),
        ((np.zeros(3, "float32"), np.zeros((1, 4), "float32")), ValueError, r"h_0 has shape \(1, 4\); expected \(4,\)"),
    ],
)
def test_bad_input(args, error, message):
    with pytest.raises(error, match=message):
        nn.GRUCell(3, 4)(*args)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_step_draws_as_a_layer_of_one_step(kind, training, rng):
    noise = {name: rate for name, rate in NOISE.items() if kind != "RNN" or name != "candidate_dropout"}
    step, layer = (getattr(nn, name)(3, 4, dtype="float64", rng=0, **noise) for name in (f"{kind}Cell", kind))
    _ = step.train(training), layer.train(training)
    x, parts = rng.standard_normal((2, 3)), [rng.standard_normal((2, 4)) for _ in step.cell.state_names]
    found = step(x, parts[0] if len(parts) == 1 else parts)
    _, expected = layer(x[None], parts[0][None] if len(parts) == 1 else [part[None] for part in parts])
    for one, other in zip(*(s if isinstance(s, tuple) else (s,) for s in (found, expected)), strict=True):
        np.testing.assert_array_equal(one.data, other.data[0])
    plain = getattr(nn, f"{kind}Cell")(3, 4, dtype="float64", rng=0)(x, parts[0] if len(parts) == 1 else parts)
    assert not np.allclose(host(found)[0], host(plain)[0])


def test_without_a_forget_gate_there_is_no_bias_for_it():
    with pytest.raises(ValueError, match="LSTMCell: forget_bias is 1, but with coupled=True there is no forget gate"):
        nn.LSTMCell(3, 4, coupled=True, forget_bias=1)
    with pytest.raises(ValueError, match="RNNCell: zoneout is 2; expected a probability"):
        nn.RNNCell(3, 4, zoneout=2)


def test_gradient_reaches_x_and_the_state():
    x, h = (Tensor(np.ones(shape, "float32"), requires_grad=True) for shape in ((3,), (4,)))
    nn.GRUCell(3, 4, rng=0)(x, h).sum().backward()
    assert x.grad.shape == (3,)
    assert h.grad.shape == (4,)
    assert host(x.grad).all()
