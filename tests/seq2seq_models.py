"""Small models from sequence to sequence, and what they are given."""

import numpy as np
import pytest

from xprnn import nn

C, E, H, S, B, L = 7, 3, 5, 6, 4, 5


START, END = 0, 1


LENGTHS, TARGET_LENGTHS = [6, 1, 0, 3], [5, 2, 1, 4]


KINDS = {
    "plain": {},
    "gru, dot": {"cell": "GRU", "attention": "dot"},
    "lstm, general, both directions": {"attention": "general", "bidirectional": True},
    "rnn, additive, two layers": {"cell": "RNN", "attention": "additive", "num_layers": 2},
    "gru, scaled dot, other size": {"cell": "GRU", "attention": "scaled_dot", "num_layers": 2, "sizes": (3, 6),
                                    "bidirectional": True},
}  # fmt: skip


each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def model(kind, reals=False, dtype="float64", seed=0, **options):
    settings = dict(kind)
    attention, bidirectional = settings.pop("attention", None), settings.pop("bidirectional", False)
    sizes = settings.pop("sizes", (H, H))
    settings |= {"dtype": dtype, "rng": seed, "embedding_dim": None if reals else E} | options.pop("both", {})
    encoder = nn.Encoder(C, sizes[0], bidirectional=bidirectional, **settings)
    decoder = nn.Decoder(C, sizes[1], attention=attention, memory_size=encoder.output_size, **settings)
    tokens = {} if reals else {"start": START, "end": END}
    return nn.Seq2Seq(encoder, decoder, rng=seed, **tokens, **options)


def data(reals=False, dtype="float64", seed=0):
    draws = np.random.default_rng(seed)
    if reals:
        return draws.standard_normal((S, B, C)).astype(dtype), draws.standard_normal((L, B, C)).astype(dtype)
    return draws.integers(2, C, (S, B)), draws.integers(2, C, (L, B))


def network(**options):
    return model(KINDS["gru, dot"], dtype="float32", **options)
