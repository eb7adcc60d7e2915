"""Wrong arguments of recurrent layers are named; right ones go in PyTorch's order."""

import inspect

import array_api_strict
import numpy as np
import pytest
from helpers import assert_close

from xprnn import nn
from xprnn.backend import get_backend


def draw(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


X = draw(7, 3, 4)


STRICT = get_backend("array_api_strict")


def lstm(**options):
    return nn.LSTM(4, 2, rng=0, **options)


def state(*shapes, dtype="float32"):
    return tuple(np.zeros(shape, dtype) for shape in shapes)


BAD_CALLS = {
    "feature size": (lstm, (X[..., :3],), {}, ValueError, r"LSTM: x has shape \(7, 3, 3\); expected \(T, B, 4\)"),
    "feature size, batch first": (
        lambda: lstm(batch_first=True),
        (X[..., :3],),
        {},
        ValueError,
        r"LSTM: x has shape \(7, 3, 3\); expected \(B, T, 4\)",
    ),
    "rank 1": (lstm, (X[0, 0],), {}, ValueError, r"LSTM: x has shape \(4,\); expected \(T, B, 4\)"),
    "rank 4": (lstm, (X[None],), {}, ValueError, r"LSTM: x has shape \(1, 7, 3, 4\); expected"),
    "unbatched feature size": (lstm, (X[:, 0, :3],), {}, ValueError, r"LSTM: x has shape \(7, 3\); expected \(T, "),
    "a list": (lstm, (X.tolist(),), {}, TypeError, "LSTM: x is a list; expected an array or a Tensor"),
    "integers": (lstm, (X.astype("int64"),), {}, TypeError, "LSTM: x has dtype int64; expected float32: cast it first"),
    "float64": (
        lstm,
        (X.astype("float64"),),
        {},
        TypeError,
        "LSTM: x has dtype float64; the layer has float32: cast x, or build the layer with dtype='float64'",
    ),
    "float32": (lambda: lstm(dtype="float64"), (X,), {}, TypeError, "LSTM: x has dtype float32; expected float64"),
    "another library": (
        lstm,
        (STRICT.asarray(X),),
        {},
        TypeError,
        "LSTM: x is a array_api_strict Array .* LSTM: its parameters is a numpy ndarray",
    ),
    "state of another library": (
        lambda: nn.GRU(4, 2),
        (X, STRICT.zeros((1, 3, 2), "float32")),
        {},
        TypeError,
        "GRU: x is a numpy ndarray .* GRU: h_0 is a array_api_strict Array",
    ),
    "one part for two": (
        lstm,
        (X, *state((1, 3, 2))),
        {},
        ValueError,
        r"state is a ndarray; expected a tuple \(h, c\)",
    ),
    "three parts for two": (
        lstm,
        (X, state((1, 3, 2), (1, 3, 2), (1, 3, 2))),
        {},
        ValueError,
        r"LSTM: state has 3 parts; expected 2",
    ),
    "two parts for one": (
        lambda: nn.GRU(4, 2),
        (X, state((1, 3, 2), (1, 3, 2))),
        {},
        ValueError,
        r"GRU: state has 2 parts; expected 1",
    ),
    "state of wrong batch": (
        lstm,
        (X, state((1, 3, 2), (1, 4, 2))),
        {},
        ValueError,
        r"LSTM: c_0 has shape \(1, 4, 2\); expected \(1, 3, 2\)",
    ),
    "state without layers": (
        lambda: nn.GRU(4, 2, num_layers=2),
        (X, *state((3, 2))),
        {},
        ValueError,
        r"GRU: h_0 has shape \(3, 2\); expected \(2, 3, 2\)",
    ),
    "state of wrong dtype": (
        lstm,
        (X, state((1, 3, 2), (1, 3, 2), dtype="float64")),
        {},
        TypeError,
        "LSTM: h_0 has dtype float64; the layer has float32: cast h_0",
    ),
    "unbatched, one part for two": (
        lstm,
        (X[:, 0], *state((1, 2))),
        {},
        ValueError,
        "LSTM: state is a ndarray; expected a tuple",
    ),
    "unbatched, state of wrong size": (
        lambda: nn.GRU(4, 2),
        (X[:, 0], *state((1, 3))),
        {},
        ValueError,
        r"GRU: h_0 has shape \(1, 3\); expected \(1, 2\)",
    ),
    "unbatched with lengths": (
        lstm,
        (X[:, 0],),
        {"lengths": [7]},
        ValueError,
        "LSTM: lengths, mask and reset need a batch",
    ),
    "lengths over T": (
        lstm,
        (X,),
        {"lengths": [7, 8, 1]},
        ValueError,
        "LSTM: lengths contains 8; expected values from 0 to T = 7",
    ),
    "a flag for all": (lstm, (X,), {"mask": True}, TypeError, "LSTM: mask is a bool; expected a list or an array of b"),
    "a number": (
        lambda: nn.GRU(4, 2),
        (X,),
        {"reset": 3},
        TypeError,
        "GRU: reset is a int; expected a list or an array",
    ),
    "mask turned": (
        lstm,
        (X,),
        {"mask": np.ones((3, 7), bool)},
        ValueError,
        r"LSTM: mask has shape \(3, 7\); expected \(T, B\) =",
    ),
}


@pytest.mark.parametrize(("make", "args", "kwargs", "error", "message"), BAD_CALLS.values(), ids=BAD_CALLS.keys())
def test_bad_calls(make, args, kwargs, error, message):
    layer = make()
    before = layer.state_dict()
    with pytest.raises(error, match=message):
        layer(*args, **kwargs)
    for name, value in layer.state_dict().items():
        assert_close(value, before[name], 0.0)


BAD_LAYERS = {
    "dropout in one layer": (
        lambda: lstm(dropout=0.5),
        "LSTM: dropout is 0.5, but it acts between layers and num_layers is 1",
    ),
    "dropout over 1": (
        lambda: lstm(dropout=1.5, num_layers=2),
        "LSTM: dropout is 1.5; expected a probability from 0 to 1",
    ),
    "dropout NaN": (lambda: lstm(dropout=float("nan"), num_layers=2), "LSTM: dropout is nan"),
    "peephole": (lambda: lstm(peephole="both"), "LSTM: peephole is 'both'; expected None, 'diagonal' or 'full'"),
    "peephole of a cell": (
        lambda: nn.LSTMCell(4, 2, peephole=True),
        "LSTMCell: peephole is True; expected None, 'diagonal'",
    ),
    "proj_size": (lambda: lstm(proj_size=2), "LSTM: proj_size is 2; expected at least 0 and less than hidden_size = 2"),
    "proj_size negative": (lambda: lstm(proj_size=-1), "LSTM: proj_size is -1"),
    "no units": (lambda: nn.GRU(4, 0), "GRU: hidden_size is 0; expected an integer of at least 1"),
    "no inputs": (lambda: nn.RNN(0, 4), "RNN: input_size is 0; expected an integer of at least 1"),
    "no units in an LSTM": (lambda: nn.LSTM(4, 0), "LSTM: hidden_size is 0; expected an integer of at least 1"),
    "half a projection": (lambda: lstm(proj_size=0.5), "LSTM: proj_size is 0.5; expected an integer of at least 0"),
    "half a layer": (lambda: nn.RNN(4, 4, 1.5), "RNN: num_layers is 1.5; expected an integer of at least 1"),
    "a cell without units": (
        lambda: nn.LSTMCell(4, 0),
        "LSTMCell: hidden_size is 0; expected an integer of at least 1",
    ),
    "a cell of negative size": (
        lambda: nn.GRUCell(-1, 2),
        "GRUCell: input_size is -1; expected an integer of at least 1",
    ),
    "forget_bias without bias": (lambda: lstm(forget_bias=1.0, bias=False), "LSTM: forget_bias needs bias=True"),
    "nonlinearity": (lambda: nn.IndRNN(4, 2, nonlinearity="gelu"), "nonlinearity is 'gelu'; expected 'tanh' or 'relu'"),
    "dtype": (lambda: lstm(dtype="float16"), "LSTM: dtype is 'float16'; expected 'float32' or 'float64'"),
    "dtype that is a class": (
        lambda: lstm(dtype=np.float32),
        "LSTM: dtype is <class .*; expected 'float32' or 'float64'",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD_LAYERS.values(), ids=BAD_LAYERS.keys())
def test_bad_layers(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_other_devices_are_refused():
    layer = lstm()
    layer.to("array_api_strict", array_api_strict.Device("device1"))
    with pytest.raises(TypeError, match=r"LSTM: x is a .*CPU_DEVICE.* LSTM: its parameters is a .*device1"):
        layer(STRICT.asarray(X))


TORCH = "input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional"


COMMON = "reverse, zero_masked, zoneout, recurrent_dropout, weight_dropout, dtype, rng"
CANDIDATE = "candidate_dropout, "
OF_STEPS = f"zoneout, recurrent_dropout, {CANDIDATE}weight_dropout, dtype, rng"
ALL = COMMON.replace("weight", "candidate_dropout, weight")


@pytest.mark.parametrize(
    ("kind", "positional", "own"),
    [
        (nn.RNN, TORCH.replace("bias", "nonlinearity, bias"), f"clip, {COMMON}"),
        (nn.SLSTM, TORCH, f"num_heads, forget, forget_bias, {COMMON}"),
        (nn.MGU, TORCH, ALL),
        (
            nn.CTRNN,
            TORCH.replace("bias", "nonlinearity, bias"),
            f"tau, dt, dale, connections, noise, {COMMON}",
        ),
        (nn.AntisymmetricRNN, TORCH, f"epsilon, gamma, gated, {COMMON}"),
        (nn.IndRNN, TORCH.replace("bias", "nonlinearity, bias"), COMMON),
        (
            nn.LSTM,
            TORCH + ", proj_size",
            "peephole, forget_bias, gate_activation, activation, output_activation, clip, coupled, layer_norm, " + ALL,
        ),
        (nn.GRU, TORCH, f"reset_after, gate_activation, activation, clip, layer_norm, {ALL}"),
        (nn.RNNCell, "input_size, hidden_size, bias, nonlinearity", f"clip, {OF_STEPS.replace(CANDIDATE, '')}"),
        (
            nn.LSTMCell,
            "input_size, hidden_size, bias",
            "peephole, forget_bias, gate_activation, activation, output_activation, clip, coupled, layer_norm, "
            + OF_STEPS,
        ),
        (
            nn.GRUCell,
            "input_size, hidden_size, bias",
            f"reset_after, gate_activation, activation, clip, layer_norm, {OF_STEPS}",
        ),
    ],
)
def test_arguments_stand_in_the_signature_in_pytorchs_order(kind, positional, own):
    parameters = inspect.signature(kind).parameters.values()
    assert ", ".join(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD) == positional
    assert ", ".join(p.name for p in parameters if p.kind is p.KEYWORD_ONLY) == own


def test_arguments_go_by_position_where_pytorchs_do():
    layer = nn.LSTM(4, 3, 2, False, True, 0.5, True, 1)
    assert (layer.bias, layer.batch_first, layer.dropout.p, layer.bidirectional) == (False, True, 0.5, True)
    assert (layer.num_layers, layer.proj_size) == (2, 1)


def test_sizes_of_numpy():
    layer = nn.LSTM(*np.array([4, 2, 1]))
    assert layer(X)[0].shape == (7, 3, 2)
    assert repr(layer).startswith("LSTM(4, 2")
