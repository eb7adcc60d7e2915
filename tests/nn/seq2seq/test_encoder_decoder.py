"""Encoder and decoder: each for itself, and what hands the state from one to the other."""

import numpy as np
from helpers import assert_close, host
from seq2seq_models import END, LENGTHS, START, B, C, E, H, data, model

from xprnn import nn


def test_the_encoder_is_its_layer(home):
    encoder = nn.Encoder(C, H, embedding_dim=E, bidirectional=True, dtype="float64", rng=0).to(home)
    source = home.asarray(data()[0])
    outputs, state = encoder(source, LENGTHS)
    expected = encoder.rnn(encoder.embedding(source), lengths=LENGTHS)
    assert_close((outputs, *state), (expected[0], *expected[1]), 0.0)
    assert encoder.output_size == outputs.shape[2] == 2 * H


def test_without_a_bridge_the_state_is_handed_over_as_it_is():
    network = model({"num_layers": 2})
    assert not network.bridge
    (h, c), memory = network.encode(data()[0], LENGTHS)
    assert_close((h, c), network.encoder(data()[0], LENGTHS)[1], 0.0)
    assert memory is None


def test_the_bridge():
    network = model({"num_layers": 2, "bidirectional": True, "sizes": (3, H)})
    (h, c), _ = network.encode(data()[0], LENGTHS)
    (he, ce) = (host(part) for part in network.encoder(data()[0], LENGTHS)[1])
    for part, encoded, linear, f in ((h, he, network.bridge[0], np.tanh), (c, ce, network.bridge[1], lambda x: x)):
        for b in range(B):
            crossed = host(linear.weight) @ encoded[:, b].ravel() + host(linear.bias)
            assert_close(part[:, b], f(crossed.reshape(2, H)), 1e-14)


def test_encoder_and_decoder_of_different_depth():
    encoder = nn.Encoder(C, 3, 3, embedding_dim=E, rng=0)
    network = nn.Seq2Seq(encoder, nn.Decoder(C, H, 2, embedding_dim=E, rng=0), start=START, end=END, rng=0)
    (h, c), _ = network.encode(data()[0])
    assert h.shape == c.shape == (2, B, H)
    assert network.bridge[0].weight.shape == (2 * H, 3 * 3)
    both_ways = nn.Encoder(C, H, embedding_dim=E, bidirectional=True, rng=0)  # two directions are not two layers
    assert nn.Seq2Seq(both_ways, nn.Decoder(C, H, 2, embedding_dim=E, rng=0), start=START, end=END, rng=0).bridge


def test_an_attention_of_ones_own():
    attention = nn.AdditiveAttention(H, 2 * H, 3, rng=0)
    decoder = nn.Decoder(C, H, embedding_dim=E, attention=attention, memory_size=2 * H)
    assert decoder.attention is attention
    assert "attention.v" in dict(decoder.named_parameters())


def test_the_slides_encoder_decoder(rng):
    """Plain recurrences of real numbers; the decoder starts from zeros and eats its own outputs."""
    encoder = nn.Encoder(10, 20, cell="RNN", dtype="float64", rng=0)
    decoder = nn.Decoder(15, 20, cell="RNN", dtype="float64", rng=1)
    network = nn.Seq2Seq(encoder, decoder)
    x, steps = rng.standard_normal((5, 1, 10)), 4
    weights = {name: host(p) for name, p in network.named_parameters()}
    h = np.zeros((20, 1))
    for t in range(5):
        h = np.tanh(
            weights["encoder.rnn.weight_ih_l0"] @ x[t].T + weights["encoder.rnn.weight_hh_l0"] @ h
            + (weights["encoder.rnn.bias_ih_l0"] + weights["encoder.rnn.bias_hh_l0"])[:, None]
        )  # fmt: skip
    y, expected = np.zeros((15, 1)), []
    for _ in range(steps):
        h = np.tanh(
            weights["decoder.rnn.weight_ih_l0"] @ y + weights["decoder.rnn.weight_hh_l0"] @ h
            + (weights["decoder.rnn.bias_ih_l0"] + weights["decoder.rnn.bias_hh_l0"])[:, None]
        )  # fmt: skip
        y = weights["decoder.readout.weight"] @ h + weights["decoder.readout.bias"][:, None]
        expected.append(y.T)
    assert_close(network.free_run(x, steps), np.stack(expected), 1e-12)
