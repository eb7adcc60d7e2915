"""Encoder, decoder and both together: nothing to do, and wrong arguments."""

import numpy as np
import pytest
from helpers import assert_close, host, leaf
from seq2seq_models import KINDS, LENGTHS, B, C, E, H, data, each_kind, model, network

from xprnn import nn


@each_kind
@pytest.mark.parametrize(("steps", "batch", "length"), [(0, 4, 5), (6, 0, 5), (6, 4, 0), (0, 0, 0)])
@pytest.mark.parametrize("ratio", [1.0, 0.0])
def test_empty(kind, steps, batch, length, ratio, home):
    network = model(kind, max_length=5).to(home)
    source, target = home.zeros((steps, batch), "int64") + 2, home.zeros((length, batch), "int64") + 2
    outputs = network(source, target, ratio=ratio)
    assert outputs.shape == (length, batch, C)
    outputs.sum().backward()
    assert np.isfinite(host(outputs)).all()
    assert len(network.greedy(source)) == len(network.beam_search(source, width=2)) == batch
    assert network.free_run(source, length).shape == (length, batch, C)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "uint64"])
def test_integers_of_any_kind_are_tokens(dtype, home):
    network, (source, target) = model(KINDS["gru, dot"]).to(home), map(home.asarray, data())
    expected = network(source, target, LENGTHS, ratio=0.0)
    narrow = (home.xp.astype(x, getattr(home.xp, dtype)) for x in (source, target))
    assert_close(network(*narrow, LENGTHS, ratio=0.0), expected, 0.0)


def test_an_empty_source_is_one_of_length_zero():
    network, (source, target) = model(KINDS["lstm, general, both directions"]), data()
    empty = network(source[:0], target)
    assert_close(network(source, target, [0] * B), empty, 0.0)


def tokens(*shape, fill=2):
    return np.full(shape, fill)


def parts(encoder=None, decoder=None, **options):
    settings = {"embedding_dim": E, "rng": 0}
    encoder = nn.Encoder(C, H, **(settings | (encoder or {})))
    decoder = nn.Decoder(C, H, **(settings | (decoder or {})))
    return nn.Seq2Seq(encoder, decoder, **({"start": 0, "end": 1} | options))


BAD = {
    "source outside": (
        lambda: network()(tokens(6, 4, fill=7), tokens(5, 4)),
        ValueError,
        "Encoder: source contains 7, outside the vocabulary; expected 0 to 6",
    ),
    "source negative": (lambda: network().greedy(tokens(6, 4, fill=-1)), ValueError, "Encoder: source contains -1"),
    "target outside": (
        lambda: network()(tokens(6, 4), tokens(5, 4, fill=9)),
        ValueError,
        "Seq2Seq: target contains 9, outside the vocabulary; expected 0 to 6",
    ),
    "decoder's x": (lambda: network().decoder(tokens(1, 4, fill=-2), None), ValueError, "Decoder: x contains -2"),
    "target too long": (
        lambda: network(max_length=4)(tokens(6, 4), tokens(5, 4)),
        ValueError,
        "Seq2Seq: target has 5 steps; expected at most max_length = 4",
    ),
    "source floats": (
        lambda: network()(np.ones((6, 4), "float32"), tokens(5, 4)),
        TypeError,
        "Encoder: source has dtype float32; expected integers",
    ),
    "source rank": (lambda: network()(tokens(6), tokens(5, 4)), ValueError, r"Encoder: source has shape \(6,\)"),
    "source list": (lambda: network()([1, 2], tokens(5, 4)), TypeError, "Encoder: source is a list"),
    "target rank": (
        lambda: network()(tokens(6, 4), tokens(5, 4, 7)),
        ValueError,
        r"Seq2Seq: target has shape \(5, 4, 7\); expected \(T, B\)",
    ),
    "batches": (
        lambda: network()(tokens(6, 4), tokens(5, 3)),
        ValueError,
        "Seq2Seq: source has 4 sequences and target 3",
    ),
    "lengths": (
        lambda: network()(tokens(6, 4), tokens(5, 4), [7, 1, 1, 1]),
        ValueError,
        "Encoder: source: lengths contains 7; expected values from 0 to T = 6",
    ),
    "target lengths": (
        lambda: network()(tokens(6, 4), tokens(5, 4), None, [6, 1, 1, 1]),
        ValueError,
        "Seq2Seq: target: lengths contains 6",
    ),
    "ratio": (
        lambda: network()(tokens(6, 4), tokens(5, 4), ratio=1.5),
        ValueError,
        "Seq2Seq: ratio is 1.5; expected a probability",
    ),
    "real source": (
        lambda: model({}, reals=True)(np.ones((6, 4, 2)), np.ones((5, 4, C))),
        ValueError,
        r"Encoder: source has shape \(6, 4, 2\); expected \(T, B, 7\)",
    ),
    "real target dtype": (
        lambda: model({}, reals=True)(np.ones((6, 4, C)), np.ones((5, 4, C), "float32")),
        TypeError,
        "Seq2Seq: target has dtype float32; expected float64",
    ),
    "search of reals": (
        lambda: model({}, reals=True).greedy(np.ones((6, 4, C))),
        TypeError,
        "the decoder writes real numbers, which cannot be searched: use free_run",
    ),
    "no memory": (
        lambda: network().decoder(tokens(1, 4), None),
        TypeError,
        r"Decoder: memory is None; expected what prepare\(\) made",
    ),
    "memory type": (
        lambda: network().decoder(tokens(1, 4), None, np.ones((6, 4, H), "float32")),
        TypeError,
        r"Decoder: memory is a ndarray; expected what prepare\(\) made",
    ),
    "another memory": (
        lambda: network().decoder(tokens(4, 3), None, network().encode(tokens(6, 4))[1]),
        ValueError,
        "Decoder: x has 3 sequences and memory 4; expected a multiple of them",
    ),
    "start": (lambda: parts(start=7), ValueError, "Seq2Seq: start is 7, outside the vocabulary; expected 0 to 6"),
    "no end": (lambda: parts(end=None), ValueError, "Seq2Seq: end is None; expected an integer of at least 0"),
    "tokens for reals": (
        lambda: parts(decoder={"embedding_dim": None}),
        ValueError,
        "the decoder writes real numbers: expected None for both",
    ),
    "states": (lambda: parts({"cell": "GRU"}), ValueError, "differ in parts of the state: 1 and 2"),
    "dtypes": (lambda: parts({"dtype": "float64"}), ValueError, "differ in dtype: float64 and float32"),
    "swapped": (
        lambda: nn.Seq2Seq(parts().decoder, parts().encoder),
        TypeError,
        "Seq2Seq: encoder is a Decoder; expected nn.Encoder",
    ),
    "cell": (
        lambda: nn.Encoder(C, H, cell="lstm"),
        ValueError,
        "Encoder: cell is 'lstm'; expected one of 'RNN', 'LSTM'",
    ),
    "size": (lambda: nn.Encoder(0, H), ValueError, "Encoder: input_size is 0; expected an integer of at least 1"),
    "attention": (
        lambda: nn.Decoder(C, H, attention="luong", memory_size=H),
        ValueError,
        "Decoder: attention is 'luong'; expected None or one of 'dot', 'scaled_dot', 'general', 'additive'",
    ),
    "attention type": (
        lambda: nn.Decoder(C, H, attention=nn.Linear(2, 2), memory_size=H),
        TypeError,
        "Decoder: attention is a Linear; expected an Attention or its name",
    ),
    "dot of other sizes": (
        lambda: nn.Decoder(C, H, attention="dot", memory_size=2 * H),
        ValueError,
        "attention 'dot' needs queries and keys of one length; they have 5 and 10: take 'general' or 'additive'",
    ),
    "attention of another size": (
        lambda: nn.Decoder(C, H, attention=nn.GeneralAttention(H + 1, H), memory_size=H),
        ValueError,
        "Decoder: attention has query_size 6; expected 5",
    ),
    "attention of other keys": (
        lambda: nn.Decoder(C, H, attention=nn.GeneralAttention(H, H), memory_size=2 * H),
        ValueError,
        "Decoder: attention has key_size 5; expected 10",
    ),
    "attention of another dtype": (
        lambda: nn.Decoder(C, H, attention=nn.GeneralAttention(H, H, dtype="float64"), memory_size=H),
        ValueError,
        "Decoder: attention has dtype 'float64'; expected 'float32'",
    ),
    "another memory size": (
        lambda: parts({"bidirectional": True}, {"attention": "general", "memory_size": H}),
        ValueError,
        "Seq2Seq: decoder has memory_size 5; expected 10, the encoder's output_size",
    ),
    "memory size": (
        lambda: nn.Decoder(C, H, attention="dot"),
        ValueError,
        "Decoder: memory_size is None; expected an integer of at least 1",
    ),
    "max length": (lambda: parts(max_length=0), ValueError, "Seq2Seq: max_length is 0"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_leaf_as_source_gets_its_gradient(home):
    network = model(KINDS["gru, dot"], reals=True).to(home)
    source, target = (leaf(home, x) for x in data(reals=True))
    network(source, target, ratio=0.0).sum().backward()
    assert host(source.grad).any()
    assert target.grad is None or not host(target.grad).any()
