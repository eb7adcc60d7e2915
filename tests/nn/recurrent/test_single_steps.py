from contextlib import ExitStack, nullcontext
from unittest.mock import Mock

import numpy as np
import pytest
from helpers import assert_close, host

from xprnn import Parameter, Tensor, explain, nn, no_grad, use_kernels, use_precision
from xprnn.engine import dispatch
from xprnn.engine.dispatch import REFERENCE
from xprnn.engine.observer import observed
from xprnn.nn.recurrent import single_steps
from xprnn.nn.recurrent.tape_node import run

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


CELLS = {"rnn": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}


def step_of(cell, x, state=None):
    """The new state as arrays."""
    found = cell(x, state)
    return [part.data for part in (found if isinstance(found, tuple) else (found,))]


@pytest.fixture
def calls(monkeypatch):
    """The sequence calls that cells make."""
    made = []
    monkeypatch.setattr(single_steps, "run", lambda *given, **named: made.append(given) or run(*given, **named))
    return made


@pytest.mark.parametrize("kind", CELLS.values(), ids=CELLS.keys())
@pytest.mark.parametrize("bias", [True, False])
def test_a_step_without_gradients_has_the_bits_of_one_with(kind, bias, calls, rng):
    cell, others = kind(3, 5, bias, rng=0), kind(3, 5, bias, rng=1)
    x, parts = rng.standard_normal((2, 3)), rng.standard_normal((2, 2, 5))
    x, state = x.astype("float32"), tuple(parts[: len(cell.cell.state_names)].astype("float32"))
    for weights in (None, others.weight_hh.data, others.state_dict()):
        if isinstance(weights, dict):
            cell.load_state_dict(weights)
        elif weights is not None:  # what was kept of an earlier call would be noticed now
            cell.weight_hh.data = weights
        for given in (None, state, tuple(map(Tensor, state))):
            given = given if given is None or len(given) > 1 else given[0]
            expected = step_of(cell, x, given)
            with no_grad():
                for one, other in zip(step_of(cell, x, given), expected, strict=True):
                    np.testing.assert_array_equal(one, other)
            cell.weight_ih.data[0] += 1.0
    assert len(calls) == 9


class WentTheLongWay(Exception):
    """A sequence call was to be made."""


@pytest.mark.parametrize(
    "what",
    ["", "kernels", "precision", "explain", "observer", "strided", "read-only", "cell", "another implementation"],
)
def test_what_is_unusual_goes_the_long_way(what, monkeypatch, rng):
    cell, x = nn.LSTMCell(3, 5, rng=0), rng.standard_normal((2, 3)).astype("float32")
    monkeypatch.setattr(single_steps, "run", Mock(side_effect=WentTheLongWay))
    with ExitStack() as around:
        around.enter_context(no_grad())
        if what == "kernels":
            around.enter_context(use_kernels("reference"))
        elif what == "precision":
            around.enter_context(use_precision("bf16"))
        elif what == "observer":
            around.enter_context(observed(Mock()))
        elif what == "strided":
            x = np.asfortranarray(x)
        elif what == "read-only":
            x.flags.writeable = False
        elif what == "cell":
            cell.cell.gate_names = cell.cell.gate_names  # an object that was changed may compute something else
        elif what == "another implementation":
            monkeypatch.setattr(dispatch, "IMPLEMENTATIONS", [REFERENCE, *dispatch.IMPLEMENTATIONS])
        with pytest.raises(WentTheLongWay) if what else nullcontext():
            explain(cell, x) if what == "explain" else cell(x)


def test_without_gradients_too_all_arguments_are_checked():
    cell, x = nn.LSTMCell(3, 4), np.zeros((2, 3), "float32")
    h = np.zeros((2, 4), "float32")
    with no_grad():
        for state, message in (
            (h, "LSTMCell: state is a ndarray; expected a tuple"),
            ((h,), "LSTMCell: state has 1 parts; expected 2"),
            ((h, h[:1]), r"LSTMCell: c_0 has shape \(1, 4\); expected \(2, 4\)"),
            ((h, h[None]), r"LSTMCell: c_0 has shape \(1, 2, 4\); expected \(2, 4\)"),
        ):
            with pytest.raises(ValueError, match=message):
                cell(x, state)
        assert cell(x[:0])[0].shape == (0, 4)
        assert cell(x[0])[0].shape == (4,)
        cell.weight_ih = Parameter(np.zeros((16, 2), "float32"))
        with pytest.raises(ValueError, match=r"LSTMCell: weight_ih has shape \(16, 2\); expected \(16, 3\)"):
            cell(x)
