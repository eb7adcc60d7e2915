"""The dtype of layers is a word, which all libraries have, also where it was given as NumPy's."""

import numpy as np
import pytest

from xprnn import nn

LAYERS = {
    "LSTM": lambda d: nn.LSTM(2, 4, dtype=d),
    "GRUCell": lambda d: nn.GRUCell(2, 4, dtype=d),
    "Linear": lambda d: nn.Linear(2, 4, dtype=d),
    "LayerNorm": lambda d: nn.LayerNorm(4, dtype=d),
    "LearnedPositions": lambda d: nn.LearnedPositions(5, 4, dtype=d),
    "AdditiveAttention": lambda d: nn.AdditiveAttention(2, 3, 4, dtype=d),
    "MultiheadAttention": lambda d: nn.MultiheadAttention(4, 2, dtype=d),
    "TransformerEncoderLayer": lambda d: nn.TransformerEncoderLayer(4, 2, dtype=d),
    "Encoder": lambda d: nn.Encoder(5, 4, dtype=d),
    "Decoder": lambda d: nn.Decoder(5, 4, embedding_dim=3, dtype=d),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_a_dtype_of_numpy(make):
    dtype = make(np.dtype("float64")).dtype
    assert (type(dtype), dtype) == (str, "float64")


def test_a_stream_of_such_a_layer_goes_back_to_zero():
    stream = nn.LSTM(2, 4, dtype=np.dtype("float64"), rng=0).stream()
    stream.step([[1.0, 2.0]])
    stream.reset()
    assert not any(part.any() for part in stream.state)
