"""What a layer was made by no longer changes; every other setting counts from the next call on."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
from every_layer import LAYERS as EVERY

from xprnn import nn

LAYERS = [*{type(part): part for make in EVERY.values() for _, part in make().named_modules()}.values()]
COUNTS_AT_ONCE = {
    *("noise", "gamma"),
    *("batch_first", "reverse", "zero_masked", "scaled", "p", "eps", "check", "activation", "norm_first"),
    *("ridge", "washout"),  # of an EchoStateNetwork, when it is learned from
    "cell",  # whose weights and states must be of the same shapes
    "dtype",  # of layers whose weights may all be replaced by those of another
    "bidirectional",  # of LastPooling
    "max_length",  # of a Seq2Seq
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
    for setting in {*settings(layer), *filter(partial(hasattr, layer), layer._fixed)}:
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


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.Encoder], ids=lambda kind: kind.__name__)
def test_copies_are_fixed_too(kind):
    layer = kind(4, 2)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        with pytest.raises(AttributeError, match="hidden_size is 2 and was given 5"):
            twin.hidden_size = 5
