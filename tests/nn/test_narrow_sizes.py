"""Sizes may be integers of NumPy of any kind, as ``ids.max() + 1`` is: none of 8 bits goes round, and none is kept."""

import numpy as np
import pytest

from xprnn import nn

LAYERS = {  # of the kind of the sizes, whose products are beyond 255
    "Linear": lambda n: nn.Linear(n(20), n(200), rng=0),
    "Embedding": lambda n: nn.Embedding(n(200), n(20), n(3), rng=0),
    "Embedding, padding at the end": lambda n: nn.Embedding(n(100), n(20), n(99), rng=0),
    "LSTM": lambda n: nn.LSTM(n(100), n(100), n(2), proj_size=n(90), rng=0),
    "GRU": lambda n: nn.GRU(n(3), n(100), rng=0),
    "LSTMCell": lambda n: nn.LSTMCell(n(100), n(100), zoneout=0.1, rng=0),
    "GRUCell": lambda n: nn.GRUCell(n(100), n(100), rng=0),
    "SLSTM": lambda n: nn.SLSTM(n(3), n(100), num_heads=n(2), rng=0),
    "MLSTM": lambda n: nn.MLSTM(n(3), n(100), heads=n(4), rng=0),
    "LMU": lambda n: nn.LMU(n(3), n(100), order=n(20), channels=n(30), rng=0),
    "LRU": lambda n: nn.LRU(n(3), n(100), state_size=n(200), rng=0),
    "QRNN": lambda n: nn.QRNN(n(100), n(100), window=n(2), rng=0),
    "GRUD": lambda n: nn.GRUD(n(200), n(20), rng=0),
    "CausalConv": lambda n: nn.CausalConv(n(20), n(10), n(30), n(100), rng=0),
    "TCN": lambda n: nn.TCN(n(3), [n(100)], n(3), dilations=[n(100)], rng=0),
    "MultiheadAttention": lambda n: nn.MultiheadAttention(n(100), n(2), kdim=n(9), rng=0),
    "TransformerEncoderLayer": lambda n: nn.TransformerEncoderLayer(n(100), n(2), n(200), rng=0),
    "LearnedPositions": lambda n: nn.LearnedPositions(n(200), n(100), rng=0),
    "AttentionPooling": lambda n: nn.AttentionPooling(n(100), n(200), rng=0),
    "Encoder": lambda n: nn.Encoder(n(200), n(100), embedding_dim=n(20), bidirectional=True, rng=0),
    "Decoder": lambda n: nn.Decoder(n(200), n(100), attention="dot", memory_size=n(100), embedding_dim=n(20), rng=0),
}


def settings(module):
    return {
        (name, key): value
        for name, part in module.named_modules()
        for key, value in vars(part).items()
        if isinstance(value, (int, float, np.generic))
    }


@pytest.mark.parametrize("name", LAYERS)
def test_a_size_of_eight_bits(name):
    plain, narrow = LAYERS[name](int), LAYERS[name](np.uint8)
    assert settings(narrow) == settings(plain)
    assert not [where for where, value in settings(narrow).items() if isinstance(value, np.generic)]
    for right, found in zip(plain.named_parameters(), narrow.named_parameters(), strict=True):
        assert right[0] == found[0]
        np.testing.assert_array_equal(found[1].data, right[1].data)


def test_a_last_row_of_eight_bits():
    assert nn.Embedding(np.int8(100), 2, np.int8(-1)).padding_idx == 99
