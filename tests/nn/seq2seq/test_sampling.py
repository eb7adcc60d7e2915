"""Sampled decoding: the probabilities by other formulas, the frequencies of many draws, and what it has in common."""

import math

import numpy as np
import pytest

from xprnn import nn
from xprnn.backend import dtype_name
from xprnn.nn import greedy, sample
from xprnn.nn.seq2seq.sampling import Sampler

SETTINGS = {"start": 0, "end": 1}


def probabilities(scores, **options):
    weights = np.exp(Sampler("test", **options).weights(np.asarray(scores, dtype=float)))
    return weights / weights.sum(axis=-1, keepdims=True)


def by_hand(scores, temperature=1.0, top_k=None, top_p=None):
    """One row, token by token: softmax, the k-th largest, then a nucleus that grows until it has enough."""
    powers = [math.exp((s - max(scores)) / temperature) for s in scores]
    if top_k is not None:
        least = sorted(powers)[-min(top_k, len(powers))]
        powers = [p if p >= least else 0.0 for p in powers]
    if top_p is not None:
        kept, total = set(), 0.0
        for k in sorted(range(len(powers)), key=lambda k: -powers[k]):
            if kept and total >= top_p * sum(powers):
                break
            kept.add(k)
            total += powers[k]
        powers = [p if k in kept else 0.0 for k, p in enumerate(powers)]
    return [p / sum(powers) for p in powers]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("top_k", [None, 1, 4, 7, 100])
@pytest.mark.parametrize("top_p", [None, 0.0, 0.3, 0.9, 1.0])
def test_probabilities_by_hand(temperature, top_k, top_p):
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    scores = np.random.default_rng(0).normal(size=(6, 7)) * 2.0
    expected = [by_hand(row, **options) for row in scores.tolist()]
    np.testing.assert_allclose(probabilities(scores, **options), expected, atol=1e-12)
    np.testing.assert_allclose(probabilities(scores + 50.0, **options), expected, atol=1e-12)  # logits


@pytest.mark.parametrize("top_k", [None, 5])
@pytest.mark.parametrize("top_p", [None, 0.2, 0.8])
def test_probabilities_in_pytorch(top_k, top_p):
    """As generating libraries have it: ascending sums, and what stays at or below 1 - p is left out."""
    torch = pytest.importorskip("torch")
    scores = torch.tensor(np.random.default_rng(1).normal(size=(9, 20)) * 3.0)
    found = probabilities(scores.numpy(), temperature=0.7, top_k=top_k, top_p=top_p)
    scores = scores / 0.7
    if top_k is not None:
        scores = scores.masked_fill(scores < torch.topk(scores, top_k).values[:, -1:], -torch.inf)
    if top_p is not None:
        ascending, order = torch.sort(scores)
        out = ascending.softmax(-1).cumsum(-1) <= 1.0 - top_p
        out[:, -1] = False
        scores = scores.masked_fill(out.scatter(1, order, out), -torch.inf)
    np.testing.assert_allclose(found, scores.softmax(-1).numpy(), atol=1e-12)


def test_ties_and_extremes():
    assert probabilities([[0.0, 0.0, -1.0]], top_k=1).tolist() == [[0.5, 0.5, 0.0]]  # equal ones stay together
    assert probabilities([[0.0, 0.0, 0.0, 0.0]], top_p=0.5).tolist() == [[0.5, 0.5, 0.0, 0.0]]
    assert probabilities([[0.0, 5.0, 5.0]], temperature=0.0).tolist() == [[0.0, 1.0, 0.0]]
    assert probabilities([[1e300, 0.0, -np.inf]], temperature=1e-300).tolist() == [[1.0, 0.0, 0.0]]
    np.testing.assert_allclose(probabilities([[1.0, 0.0, -np.inf]], temperature=1e308), [[0.5, 0.5, 0.0]])
    assert probabilities([[-np.inf, -3.0, -np.inf]], top_k=2, top_p=0.5).tolist() == [[0.0, 1.0, 0.0]]


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.6}, {"top_k": 4, "top_p": 0.9}]
)
def test_frequencies(options):
    scores = np.log([0.4, 0.25, 0.15, 0.12, 0.08])
    rows = 40_000
    tokens = Sampler("test", rng=0, **options).draw(np.tile(scores, (rows, 1)))
    expected = probabilities(scores[None], **options)[0]
    found = np.bincount(tokens, minlength=5) / rows
    np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(0.25 / rows))  # five deviations
    assert not found[expected == 0.0].any()


def chain(home, classes=5, batch=2, dtype="float64"):
    """Log-probabilities of the next token that depend on the last one."""
    draws = np.random.default_rng(3)
    table = draws.normal(size=(classes, classes)) * 0.7
    table -= np.log(np.exp(table).sum(axis=1, keepdims=True))
    there = home.asarray(table.astype(dtype))

    def step(tokens, state):
        return home.xp.take(there, home.asarray(tokens), axis=0), state

    return table, step, home.asarray(np.zeros((batch, 1)))


def test_it_follows_the_model(home):
    """Of sequences: how often each begins, against products of the table."""
    rows = 20_000
    table, step, state = chain(home, batch=rows)
    found = sample(step, state, batch=rows, max_length=2, rng=0, **SETTINGS)
    pairs = np.exp(table[0][:, None] + table)
    counts = np.zeros((5, 5))
    for h in found:
        if h.tokens:
            counts[h.tokens[0], h.tokens[1] if len(h.tokens) > 1 else 1] += 1
    pairs[1] = 0.0  # has ended
    np.testing.assert_allclose(counts / rows, pairs, atol=5 * np.sqrt(0.25 / rows))


def test_hypotheses_have_the_probabilities_of_the_model(home):
    table, step, state = chain(home, batch=50)
    for options in ({}, {"temperature": 0.4}, {"temperature": 3.0, "top_k": 3, "top_p": 0.9}):
        found = sample(step, state, batch=50, max_length=6, rng=1, **options, **SETTINGS)
        assert {h.ended for h in found} == {True, False}
        for h in found:
            tokens = [0, *h.tokens, *[1] * h.ended]
            assert h.log_probability == pytest.approx(sum(table[a, b] for a, b in zip(tokens, tokens[1:])))  # noqa: B905, RUF007
            assert h.score == h.log_probability
            assert len(h.tokens) == 6 if not h.ended else len(h.tokens) < 6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_rng_gives_the_same_tokens_anywhere(home, dtype):
    from xprnn.backend import get_backend

    _, here, state = chain(get_backend("numpy"), batch=8, dtype=dtype)
    _, there, moved = chain(home, batch=8, dtype=dtype)
    settings = {"batch": 8, "max_length": 9, "top_p": 0.95, **SETTINGS}
    one, two = sample(here, state, rng=5, **settings), sample(there, moved, rng=5, **settings)
    assert one == two
    assert one != sample(here, state, rng=6, **settings)
    assert one == sample(here, state, rng=np.random.default_rng(5), **settings)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"top_k": 1}, {"top_p": 0.0}, {"temperature": 1e-300}])
def test_without_chance_it_is_greedy(home, options):
    _, step, state = chain(home, batch=4)
    settings = {"batch": 4, "max_length": 7, **SETTINGS}
    assert [h.tokens for h in sample(step, state, rng=0, **options, **settings)] == [
        h.tokens for h in greedy(step, state, **settings)
    ]


def test_what_follows_an_end_is_not_looked_at(home):
    _, step, state = chain(home, batch=6)

    def spoiled(tokens, state):
        scores, state = step(tokens, state)
        ended = home.xp.expand_dims(tokens == 1, axis=1)
        return home.xp.where(ended, home.asarray(np.array(np.nan)), scores), state

    settings = {"batch": 6, "max_length": 20, "rng": 0, **SETTINGS}
    assert sample(spoiled, state, **settings) == sample(step, state, **settings)


def test_errors(home):
    _, step, state = chain(home)
    settings = {"batch": 2, "max_length": 3, **SETTINGS}
    for options, message in [
        ({"temperature": -1.0}, "sample: temperature is -1.0; expected a finite number, at least 0"),
        ({"temperature": math.inf}, "sample: temperature is inf"),
        ({"temperature": math.nan}, "sample: temperature is nan"),
        ({"temperature": 10**400}, "sample: temperature is 1000"),
        ({"top_k": 0}, "sample: top_k is 0; expected an integer of at least 1"),
        ({"top_k": 1.5}, "sample: top_k is 1.5"),
        ({"top_p": 1.1}, "sample: top_p is 1.1; expected a probability from 0 to 1"),
        ({"top_p": "all"}, "sample: top_p is 'all'"),
        ({"max_length": 0}, "sample: max_length is 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            sample(step, state, **settings | options)
    for value, error in ((np.nan, FloatingPointError), (-np.inf, FloatingPointError), (1.0, ValueError)):
        wrong = home.asarray(np.full((2, 5), value))
        with pytest.raises(error, match="sample: "):
            sample(lambda tokens, state: (wrong, state), state, **settings)  # noqa: B023
    with pytest.raises(TypeError, match="sample: step is a int"):
        sample(3, state, **settings)
    assert sample(step, state, **settings | {"batch": 0}) == []


@pytest.mark.parametrize("attention", [None, "additive"])
def test_of_seq2seq(home, attention):
    encoder = nn.Encoder(7, 6, embedding_dim=3, dtype="float64", rng=0)
    decoder = nn.Decoder(7, 6, embedding_dim=3, attention=attention, memory_size=6, dropout=0.0, dtype="float64", rng=0)
    model = nn.Seq2Seq(encoder, decoder, start=0, end=1, max_length=8, rng=0).to(home)
    source = home.asarray(np.random.default_rng(0).integers(2, 7, (5, 4)))
    before = {name: g.bit_generator.state for name, g in model.generators().items()}
    found = model.sample(source, [5, 3, 1, 0], temperature=1.3, top_k=5, top_p=0.99, rng=2)
    assert found == model.sample(source, [5, 3, 1, 0], temperature=1.3, top_k=5, top_p=0.99, rng=2)
    assert before == {name: g.bit_generator.state for name, g in model.generators().items()}
    assert model.training
    assert max(len(h.tokens) for h in found) <= 8
    likeliest = model.greedy(source)
    assert [h.tokens for h in model.sample(source, temperature=0, rng=0)] == [h.tokens for h in likeliest]
    assert len(model.sample(source, max_length=2, rng=0)[0].tokens) <= 2
    assert dtype_name(model.decoder.readout.weight.data) == "float64"
