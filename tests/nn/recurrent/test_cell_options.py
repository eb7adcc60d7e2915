"""Options of the plain layers: which cell they make, what explain says of it, and what is refused."""

from typing import ClassVar

import numpy as np
import pytest
from helpers import assert_close

import xprnn
from xprnn import cells, nn
from xprnn.diagnose import gradient_flow, saturation
from xprnn.testing import check_gradients

PLAIN = {
    cells.LSTM: lambda: nn.LSTM(2, 3, gate_activation="sigmoid", activation="tanh", output_activation="tanh"),
    cells.PeepholeLSTM: lambda: nn.LSTM(2, 3, peephole="diagonal", activation=cells.Activation("tanh")),
    cells.GRU: lambda: nn.GRU(2, 3, gate_activation="sigmoid", activation="tanh"),
    cells.ResetBeforeGRU: lambda: nn.GRU(2, 3, reset_after=False),
    cells.Elman: lambda: nn.RNN(2, 3, nonlinearity="relu"),
}
GENERAL = {
    "no kernel for the cell LSTM (softsign gates, tanh candidate, tanh output)": lambda: nn.LSTM(
        2, 3, gate_activation="softsign"
    ),
    "no kernel for the cell peephole LSTM (sigmoid(clip=5.0) gates, tanh(clip=5.0) candidate": lambda: nn.LSTM(
        2, 3, clip=5, peephole="diagonal"
    ),
    "no kernel for the cell coupled LSTM (sigmoid gates, elu candidate": lambda: nn.LSTM(
        2, 3, coupled=True, activation="elu"
    ),
    "no kernel for the cell GRU (sigmoid gates, silu candidate)": lambda: nn.GRU(2, 3, activation="silu"),
    "no kernel for the cell ResetBeforeGRU (sigmoid gates, silu candidate)": lambda: nn.GRU(
        2, 3, activation="silu", reset_after=False
    ),
    "no kernel for the cell Elman (gelu)": lambda: nn.RNN(2, 3, nonlinearity="gelu"),
}


@pytest.mark.parametrize(("cell", "make"), PLAIN.items())
def test_options_that_change_nothing_leave_the_plain_cell(cell, make):
    assert type(make().cell) is cell


@pytest.mark.parametrize(("why", "make"), GENERAL.items())
def test_explain_says_why_there_is_no_kernel(why, make):
    assert why in xprnn.explain(make(), np.zeros((2, 1, 2), "float32"))


def test_each_direction_may_have_its_own_activations():
    both = nn.LSTM(2, 3, bidirectional=True, activation=("relu", "tanh"), proj_size=2, dtype="float64", rng=0)
    x = np.random.default_rng(0).standard_normal((4, 2, 2))
    y, _ = both(x)
    for suffix, options, half in (
        ("", {"activation": "relu"}, y.numpy()[..., :2]),
        ("_reverse", {"reverse": True}, y.numpy()[..., 2:]),
    ):
        one = nn.LSTM(2, 3, proj_size=2, dtype="float64", **options)
        names = [name for name, _ in one.named_parameters()]
        one.load_state_dict({name: both.state_dict()[name + suffix] for name in names})
        assert_close(one(x)[0].numpy(), half)


def test_gains_start_from_one_and_biases_from_zero():
    layer = nn.LSTM(2, 5, layer_norm=True, forget_bias=1.0, proj_size=3, rng=0)
    weights = {name: p.numpy() for name, p in layer.named_parameters()}
    assert all((w == 1.0).all() for name, w in weights.items() if name.startswith("gain"))
    assert weights["bias_ih_l0"].tolist() == [0.0] * 5 + [1.0] * 5 + [0.0] * 10
    assert not any(weights[name].any() for name in ("bias_hh_l0", "bias_c_l0"))
    assert "weight_hr_l0" in weights


def test_a_projected_layer_norm_lstm_has_right_gradients(rng):
    layer = nn.LSTM(2, 3, layer_norm=True, proj_size=2, dtype="float64", rng=0)
    check_gradients(lambda x: layer(x)[0], [rng.standard_normal((3, 2, 2))], layer.parameters())


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN, nn.IndRNN])
def test_zeros_in_the_place_of_held_outputs(layer, home):
    held, zero = (layer(2, 3, 2, dtype="float64", rng=0, zero_masked=flag) for flag in (False, True))
    for each in (held, zero):
        each.to(home)
    x = home.asarray(np.random.default_rng(0).standard_normal((6, 3, 2)))
    mask = np.random.default_rng(1).random((6, 3)) < 0.6
    y, state, states = held(x, mask=mask, lengths=[6, 4, 0], return_all_states=True)
    y_zero, state_zero, states_zero = zero(x, mask=mask, lengths=[6, 4, 0], return_all_states=True)
    assert_close(state_zero, state)
    assert_close(y_zero.numpy(), np.where(mask[..., None], y.numpy(), 0.0))
    for part, part_zero in zip(states, states_zero, strict=True):
        assert_close(part_zero.numpy(), np.where(mask[:, None, :, None], part.numpy(), 0.0))
    assert_close(zero(x)[0], held(x)[0])


def test_a_reverse_layer_has_one_set_of_names_and_no_stream():
    layer = nn.GRU(2, 3, reverse=True, rng=0)
    assert [name for name, _ in layer.named_parameters()] == [name for name, _ in nn.GRU(2, 3).named_parameters()]
    assert "reverse" in repr(layer)
    x = np.zeros((2, 1, 2), "float32")
    assert gradient_flow(layer, x).layers == gradient_flow(nn.GRU(2, 3), x).layers
    with pytest.raises(ValueError, match="GRU: a reverse layer needs the whole sequence; it cannot be streamed"):
        layer.stream()


def test_saturation_knows_where_gates_end():
    layer = nn.LSTM(2, 3, gate_activation="hard_sigmoid", activation="relu", output_activation="sin", rng=0)
    found = saturation(layer, np.full((2, 1, 2), 100.0, "float32"))
    assert found.gates == ("l0 i", "l0 f", "l0 g", "l0 o")  # a sine nears nothing
    assert ((found.low + found.high)[:, [0, 1, 3]] == 1.0).all()


def test_a_stream_runs_any_activation(rng):
    layer = nn.LSTM(2, 3, coupled=True, gate_activation="softsign", rng=0)
    x, stream = rng.standard_normal((4, 1, 2)).astype("float32"), layer.stream()
    assert_close(np.stack([stream.step(x[t]) for t in range(4)]), layer(x)[0].numpy(), 1e-6)


class Unmasked(cells.LSTM):
    masks = ()
    initial: ClassVar = {"bias_ih": 2.0}


def test_each_direction_starts_from_the_numbers_of_its_own_cell():
    layer = nn.RecurrentLayer((cells.LSTM(), Unmasked()), 2, 3, bidirectional=True, rng=0)
    assert (layer.bias_ih_l0_reverse.data == 2.0).all()
    assert (layer.bias_ih_l0.data != 2.0).any()


@pytest.mark.parametrize("cell", ["LSTM", (cells.GRU(),) * 3, ()])
def test_what_is_no_cell(cell):
    with pytest.raises(TypeError, match="RecurrentLayer: cell is .*; expected one of xprnn.cells, or a pair"):
        nn.RecurrentLayer(cell, 2, 3)


def test_a_clip_of_numpy_widens_nothing():
    layer = nn.RecurrentLayer(cells.GeneralLSTM(clip=np.float64(1.0)), 2, 3, rng=0)
    assert layer(np.zeros((2, 1, 2), "float32"))[0].dtype == "float32"


REFUSED = {
    "LSTM: gate_activation is 'softmax'; expected one of 'sigmoid', 'tanh'": lambda: nn.LSTM(
        2, 3, gate_activation="softmax"
    ),
    "GRU: activation is 3; expected one of": lambda: nn.GRU(2, 3, activation=3),
    "RNN: nonlinearity is 'no'; expected one of": lambda: nn.RNN(2, 3, nonlinearity="no"),
    "RNNCell: nonlinearity is 'no'; expected one of": lambda: nn.RNNCell(2, 3, nonlinearity="no"),
    "IndRNN: nonlinearity is 'sin'; expected 'tanh' or 'relu'": lambda: nn.IndRNN(2, 3, nonlinearity="sin"),
    r"LSTM: peephole is \[\]; expected None": lambda: nn.LSTM(2, 3, peephole=[]),
    "LSTM: forget_bias is nan; expected a number": lambda: nn.LSTM(2, 3, forget_bias=np.nan),
    "LSTMCell: forget_bias is array.*; expected a number": lambda: nn.LSTMCell(2, 3, forget_bias=np.ones(3)),
    "Activation: clip is '1'; expected a number": lambda: cells.Activation("tanh", clip="1"),
    "Activation: alpha is 'x'; expected a number": lambda: cells.Activation("elu", alpha="x"),
    r"Activation: name is \[\]; expected one of": lambda: cells.Activation([]),
    "recurrent_dropout is 0.1, but the cell Unmasked has no mask_h": lambda: nn.RecurrentLayer(
        (cells.LSTM(), Unmasked()), 2, 3, bidirectional=True, recurrent_dropout=0.1
    ),
    "LSTM: output_activation is 'no'; expected one of": lambda: nn.LSTM(2, 3, output_activation="no"),
    "LSTM: clip is 0; expected a number above 0": lambda: nn.LSTM(2, 3, clip=0),
    r"GRU: activation is \('tanh', 'relu'\); expected one activation, or with bidirectional=True a pair": lambda: (
        nn.GRU(2, 3, activation=("tanh", "relu"))
    ),
    r"LSTM: activation is \['relu'\]; expected one activation": lambda: nn.LSTM(
        2, 3, activation=["relu"], bidirectional=True
    ),
    "LSTM: peephole='full' goes with no other activation, clip or coupling": lambda: nn.LSTM(
        2, 3, peephole="full", coupled=True
    ),
    "LSTM: forget_bias is 1.0, but with coupled=True there is no forget gate": lambda: nn.LSTM(
        2, 3, coupled=True, forget_bias=1.0
    ),
    "LSTM: layer_norm=True goes with no peephole": lambda: nn.LSTM(2, 3, layer_norm=True, peephole="full"),
    "LSTM: layer_norm=True goes with no other activation, clip": lambda: nn.LSTM(2, 3, layer_norm=True, coupled=True),
    "GRU: layer_norm=True goes with reset_after=True": lambda: nn.GRU(2, 3, layer_norm=True, reset_after=False),
    "RecurrentLayer: two cells need bidirectional=True": lambda: nn.RecurrentLayer((cells.LSTM(), cells.LSTM()), 2, 3),
    "RecurrentLayer: two cells need .* weights and states of the same shapes": lambda: nn.RecurrentLayer(
        (cells.LSTM(), cells.GeneralLSTM(coupled=True)), 2, 3, bidirectional=True
    ),
    "RNN: reverse=True is one direction, and bidirectional=True both; expected one": lambda: nn.RNN(
        2, 3, reverse=True, bidirectional=True
    ),
}


@pytest.mark.parametrize(("message", "make"), REFUSED.items())
def test_what_is_refused(message, make):
    with pytest.raises(ValueError, match=message):
        make()


class Doubled(cells.Activation):
    def __call__(self, z):
        return 2.0 * super().__call__(z)


def test_kernels_take_no_cell_that_was_changed():
    from xprnn.engine import cell_kinds

    def changed(cell, **attributes):
        vars(cell).update(attributes)
        return cell

    doubled, four = Doubled("tanh"), ("f", "i", "g", "o")
    for cell in (
        changed(cells.LSTM(), activations={}),
        changed(cells.GeneralLSTM(), coupled=True),
        changed(cells.GeneralLSTM(), gate_names=four),
        changed(cells.GeneralGRU(), gates=2),
        changed(cells.GeneralGRU(), step=None),
        cells.GeneralElman(doubled),
    ):
        assert cell_kinds.number_of(cell) is None
