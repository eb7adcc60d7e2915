"""What a layer was made by no longer changes; every other setting counts from the next call on."""

import copy
import pickle

import numpy as np
import pytest
from helpers import exported

from xprnn import nn
from xprnn.cells import LSTM


class Held:
    state_sizes = (2,)

    def step(self, x, state):
        return (x + state[0],)


ENCODER = nn.TransformerEncoderLayer(4, 2, 8)
LAYERS = [
    *(kind(4, 4, rng=0) for kind in exported(nn, nn.RecurrentLayer, nn.CellModule)),
    nn.RecurrentLayer(LSTM(), 4, 2),
    nn.Recurrent(Held()),
    nn.EchoStateNetwork(4, 20, 1, rng=0),
    nn.CausalConv(4, 2, 2),
    nn.TCN(4, [2]),
    nn.Linear(4, 2),
    nn.Embedding(4, 2, 0),
    nn.Dropout(),
    nn.LayerNorm(4),
    nn.SinusoidalPositions(4),
    nn.LearnedPositions(3, 4),
    nn.LastPooling(),
    nn.AttentionPooling(4),
    nn.DotAttention(),
    nn.GeneralAttention(4, 2),
    nn.AdditiveAttention(4, 2, 3),
    nn.MultiheadAttention(4, 2),
    ENCODER,
    nn.TransformerEncoder(ENCODER, 2),
    nn.Encoder(4, 2),
    nn.Decoder(4, 2, attention="dot", memory_size=2),
]
COUNTS_AT_ONCE = {
    *("noise", "gamma"),
    *("batch_first", "reverse", "zero_masked", "scaled", "p", "eps", "check", "activation", "norm_first"),
    *("ridge", "washout"),  # of an EchoStateNetwork, when it is learned from
    "cell",  # whose weights and states must be of the same shapes
    "dtype",  # of layers whose weights may all be replaced by those of another
    "bidirectional",  # of LastPooling
}
"""Settings that are read at each call."""


def settings(layer):
    """The names of plain attributes, which can hold neither weights nor other layers."""
    for name, value in vars(layer).items():
        if isinstance(value, (bool, int, float, str, tuple)) and not name.startswith("_"):
            yield name


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_what_nothing_would_follow_is_refused(layer):
    name = type(layer).__name__
    for setting in {*settings(layer), *layer._fixed}:
        before = getattr(layer, setting)
        if setting in layer._fixed:
            with pytest.raises(AttributeError, match=f"^{name}: {setting} is .* make another {name}$"):
                setattr(layer, setting, "another")
            assert getattr(layer, setting) is before
            setattr(layer, setting, before)  # what changes nothing is let through
        else:
            assert setting in COUNTS_AT_ONCE, f"{name}.{setting} is neither fixed nor known to be read at each call"


def test_the_sentence():
    layer = nn.LSTM(4, 2)
    with pytest.raises(AttributeError, match="LSTM: bidirectional is False and was given True, which nothing that was"):
        layer.bidirectional = True
    with pytest.raises(AttributeError, match="LSTM: num_layers is 1 and was given 3"):
        layer.num_layers = 3


def test_others_count_from_the_next_call_on():
    layer, x = nn.LSTM(4, 2), np.ones((3, 5, 4), "float32")
    layer.batch_first = True
    assert layer(x)[1][0].shape == (1, 3, 2)
    first = nn.TransformerEncoderLayer(4, 2, 8, 0.3)
    first.norm_first, first.activation, first.dropout.p = True, "gelu", 0.1
    second = nn.TransformerEncoder(first, 2).layers[1]
    assert (second.norm_first, second.activation, second.dropout.p) == (True, "gelu", 0.1)


@pytest.mark.parametrize("layer", LAYERS[:3], ids=lambda layer: type(layer).__name__)
def test_copies_are_fixed_too(layer):
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        with pytest.raises(AttributeError, match="hidden_size is 4 and was given 5"):
            twin.hidden_size = 5
