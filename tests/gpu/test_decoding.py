"""Greedy and beam search on a GPU: what they find on the host, with as few copies."""

import math

import numpy as np
import pytest
from gpu_home import gpu
from host_copies import counted

from xprnn import nn
from xprnn.backend import get_backend

pytestmark = pytest.mark.gpu
HOME = gpu()
LENGTH = 40


def decode(home, attention):
    encoder = nn.Encoder(50, 16, embedding_dim=8, dtype="float64", rng=0)
    decoder = nn.Decoder(50, 16, embedding_dim=8, attention=attention, memory_size=16, dtype="float64", rng=0)
    model = nn.Seq2Seq(encoder, decoder, start=0, end=1, max_length=LENGTH, rng=0).to(home)
    source = home.asarray(np.random.default_rng(0).integers(2, 50, (9, 6)))
    with counted(home) as greedy:
        found = [[hypothesis] for hypothesis in model.greedy(source)]
    with counted(home) as beam:
        found += model.beam_search(source, width=4, n_best=4, length_penalty=0.6)
    return found, len(greedy), len(beam)


@pytest.mark.parametrize("attention", [None, "general", "additive"])
def test_decoding_goes_as_on_the_host(attention):
    found, greedy, beam = decode(HOME, attention)
    expected, _, _ = decode(get_backend("numpy"), attention)
    for theirs, ours in zip(found, expected, strict=True):
        assert [h.tokens for h in theirs] == [h.tokens for h in ours]
        np.testing.assert_allclose([h.score for h in theirs], [h.score for h in ours], rtol=1e-9)
    assert greedy <= 1 + math.ceil(LENGTH / 16)  # and one for the check of the source
    assert beam <= 1 + LENGTH


def test_equally_probable_tokens_are_taken_in_order():
    classes, end = 300, 299

    def flat(tokens, state):
        return HOME.zeros((tokens.shape[0], classes), "float32") - math.log(classes), state

    settings = {"batch": 3, "start": 0, "end": end, "max_length": 20}
    for found in nn.greedy(flat, None, **settings):
        assert found.tokens == (0,) * 20
    for found in nn.beam_search(flat, None, width=3, n_best=3, **settings):
        assert [h.tokens for h in found] == [(0,) * 19 + (k,) for k in range(3)]
