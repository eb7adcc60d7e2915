"""Encoder, decoder and both together: forced, mixed and free running against the equations, one step at a time."""

import itertools

import numpy as np
import pytest
from helpers import assert_close, host, leaf

from xprnn import Tensor, nn, no_grad, ops
from xprnn.testing import check_gradients
from xprnn.train import SGD, cross_entropy, mse

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


def by_hand(network, source, target, lengths, forced):
    """Step by step and sequence by sequence; the target where forced, else the decoder's own output."""
    decoder, outputs = network.decoder, np.zeros((L, B, C))
    fed = np.zeros(target.shape, target.dtype)
    for b in range(B):
        state, memory = network.encode(source[:, b : b + 1], [lengths[b]])
        now = decoder.start_step(1, network.start)
        for t in range(L):
            fed[t, b] = host(now)[0, 0]
            output, state, _ = decoder(now, state, memory)
            outputs[t, b] = host(output)[0, 0]
            if t + 1 < L:
                own = host(output) if target.ndim == 3 else host(output).argmax(axis=-1)
                now = target[t : t + 1, b : b + 1] if forced[t + 1, b] else own
    return outputs, fed


def with_dice(network, forced, monkeypatch):
    """Let the network draw exactly these."""

    class Dice:
        def random(self, shape):
            assert shape == forced.shape
            return np.where(forced, 0.0, 0.999)

    monkeypatch.setattr(network, "rng", Dice())
    return 0.5


PATTERNS = {
    "some": np.random.default_rng(3).random((L, B)) < 0.6,
    "whole steps": np.repeat([[True], [True], [False], [True], [True]], B, axis=1),
    "one at the end": np.arange(L * B).reshape(L, B) != L * B - 1,
}


# --- forced, mixed, free --------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("reals", [False, True], ids=["tokens", "reals"])
@pytest.mark.parametrize("pattern", ["all", *PATTERNS, "none"])
def test_like_a_loop_over_steps_and_sequences(kind, reals, pattern, monkeypatch):
    network, (source, target) = model(kind, reals), data(reals)
    forced = PATTERNS.get(pattern, np.full((L, B), pattern == "all"))
    ratio = {"all": 1.0, "none": 0.0}.get(pattern)
    if ratio is None:
        ratio = with_dice(network, forced, monkeypatch)
    outputs = network(source, target, LENGTHS, ratio=ratio)
    expected, _ = by_hand(network, source, target, LENGTHS, forced)
    assert_close(outputs, expected, 1e-13)


@each_kind
def test_free_running_is_the_forced_pass_over_its_own_tokens_to_the_bit(kind, home):
    network, (source, target) = model(kind).to(home), map(home.asarray, data())
    free = network(source, target, LENGTHS, ratio=0.0)
    own = host(free).argmax(axis=-1)
    assert_close(network(source, home.asarray(own), LENGTHS, ratio=1.0), free, 0.0)
    assert_close(network.free_run(source, L, LENGTHS), free, 0.0)
    assert_close(network(source, target * 0 + 2, LENGTHS, ratio=0.0), free, 0.0)  # whatever the target is


@each_kind
def test_ratio_one_is_the_forced_pass_to_the_bit(kind, monkeypatch):
    network, (source, target) = model(kind), data()
    forced = network(source, target, LENGTHS, ratio=1.0)
    state, memory = network.encode(source, LENGTHS)
    inputs = np.concatenate([np.full((1, B), START), target[:-1]])
    assert_close(network.decoder(inputs, state, memory)[0], forced, 0.0)
    ratio = with_dice(network, np.full((L, B), True), monkeypatch)  # the dice say yes at every step
    assert_close(network(source, target, LENGTHS, ratio=ratio), forced, 0.0)


@each_kind
def test_greedy_decoding_is_free_running_up_to_the_end_token(kind, home):
    network, source = model(kind, max_length=L).to(home), home.asarray(data()[0])
    own = host(network.free_run(source, L, LENGTHS)).argmax(axis=-1)
    for b, found in enumerate(network.greedy(source, LENGTHS)):
        column = own[:, b].tolist()
        ended = END in column
        assert found.tokens == tuple(column[: column.index(END)] if ended else column)
        assert found.ended == ended


def test_nothing_is_drawn_where_nothing_is_left_to_chance():
    """Looking at a model between two batches must not change how it is trained."""
    network, (source, target) = model(KINDS["gru, dot"]), data()
    before = network.rng.bit_generator.state
    network.free_run(source, 4)
    network(source, target, ratio=0.0)
    network(source, target, ratio=1.0)
    assert network.rng.bit_generator.state == before


def test_the_ratio_is_drawn_for_each_step_and_sequence():
    network = model({})
    target, fed = np.full((101, 50), 3), []
    forward = network.decoder.forward
    network.max_length, network.ratio = 101, 0.3
    network.decoder.forward = lambda x, *args, **options: fed.append(host(x)) or forward(x, *args, **options)
    network.decoder.feedback = lambda output: Tensor(np.full((1, 50), 4))
    network(np.full((2, 50), 3), target)
    drawn = fed[-1][1:] == 3
    assert (fed[-1][0] == START).all()
    assert abs(drawn.mean() - 0.3) < 0.02
    assert drawn.mean(axis=0).std() < 0.08
    assert drawn.mean(axis=1).std() < 0.12
    assert abs(np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]) < 0.05
    fed.clear()
    network.eval()(np.full((2, 50), 3), target)
    assert len(fed) == 1  # all forced: the ratio is for training


def test_same_seed_same_bits():
    source, target = data()
    first, second = (model(KINDS["gru, dot"], seed=3)(source, target, ratio=0.5) for _ in range(2))
    assert_close(first, second, 0.0)


@pytest.mark.parametrize("reals", [False, True], ids=["tokens", "reals"])
@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.0])
def test_the_same_on_every_backend(home, ratio, reals):
    kind, (source, target) = KINDS["lstm, general, both directions"], data(reals)
    results = []
    for place, to in ((None, lambda x: x), (home, home.asarray)):
        network = model(kind, reals) if place is None else model(kind, reals).to(place)
        outputs, weights = network(to(source), to(target), LENGTHS, TARGET_LENGTHS, ratio=ratio, return_weights=True)
        ops.sin(outputs).sum().backward()
        results.append((outputs, weights, *(parameter.grad for parameter in network.parameters())))
    assert_close(results[1], results[0], 1e-13)


# --- gradients ------------------------------------------------------------------------------------------------------


@each_kind
def test_gradients_of_the_masked_loss(kind):
    network, (source, target) = model(kind), data()
    mask = np.arange(L)[:, None] < np.array(TARGET_LENGTHS)

    def loss():
        return cross_entropy(network(source, target, LENGTHS, TARGET_LENGTHS), target, mask=mask)

    check_gradients(loss, [], network.parameters())


@each_kind
def test_gradients_of_real_numbers_flow_through_what_is_fed_back(kind, monkeypatch):
    network, (source, target) = model(kind, reals=True), data(reals=True)
    ratio = with_dice(network, PATTERNS["some"], monkeypatch)
    check_gradients(
        lambda x, y: network(x, y, LENGTHS, TARGET_LENGTHS, ratio=ratio), [source, target], network.parameters()
    )


@each_kind
def test_gradients_of_mixed_tokens_are_those_of_the_step_by_step_tape(kind, monkeypatch):
    network, (source, target) = model(kind), data()
    ratio = with_dice(network, PATTERNS["some"], monkeypatch)
    ops.sin(network(source, target, LENGTHS, ratio=ratio)).sum().backward()
    found = [parameter.grad for parameter in network.parameters()]
    network.zero_grad()
    _, fed = by_hand(network, source, target, LENGTHS, PATTERNS["some"])
    state, memory = network.encode(source, LENGTHS)
    outputs = []
    for row in fed:
        output, state, _ = network.decoder(row[None], state, memory)
        outputs.append(output)
    ops.sin(ops.concat(outputs)).sum().backward()
    assert_close([p.grad for p in network.parameters()], found, 1e-12)


def test_training_lowers_the_loss():
    network, (source, target) = model(KINDS["gru, dot"]), data()
    optimizer, losses = SGD(network.parameters(), 0.5), []
    for _ in range(100):
        loss = cross_entropy(network(source, target, ratio=0.5), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


# --- lengths and padding --------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("reals", [False, True], ids=["tokens", "reals"])
@pytest.mark.parametrize("ratio", [1.0, 0.0])
def test_padding_changes_nothing(kind, reals, ratio):
    source, target = data(reals)
    mask = np.arange(L)[:, None] < np.array(TARGET_LENGTHS)
    results = []
    for content in (2, 10**6, -5) if not reals else (0.0, np.nan, np.inf):
        network = model(kind, reals)
        source[np.arange(S)[:, None] >= np.array(LENGTHS)] = content
        target[~mask] = content
        outputs = network(source, target, LENGTHS, TARGET_LENGTHS, ratio=ratio)
        loss = mse(outputs, target, mask) if reals else cross_entropy(outputs, target, mask=mask)
        loss.backward()
        results.append([loss, *(parameter.grad for parameter in network.parameters())])
    for other in results[1:]:
        assert_close(other, results[0], 0.0)


@each_kind
def test_a_batch_is_its_sequences_one_at_a_time(kind):
    network, (source, target) = model(kind), data()
    together, weights = network(source, target, LENGTHS, TARGET_LENGTHS, return_weights=True)
    for b, (s, n) in enumerate(zip(LENGTHS, TARGET_LENGTHS, strict=True)):
        alone, looked = network(source[:s, b : b + 1], target[:n, b : b + 1], return_weights=True)
        assert_close(together[:n, b : b + 1], alone, 1e-14)
        if weights is not None:
            assert_close(weights[b : b + 1, :n, :s], looked, 1e-14)
            assert not host(weights)[b, :, s:].any()
    hypotheses = network.beam_search(source, LENGTHS, width=3, n_best=2, max_length=6)
    for b, s in enumerate(LENGTHS):
        (alone,) = network.beam_search(source[:s, b : b + 1], width=3, n_best=2, max_length=6)
        assert [h.tokens for h in hypotheses[b]] == [h.tokens for h in alone]
        np.testing.assert_allclose([h.score for h in hypotheses[b]], [h.score for h in alone], rtol=1e-12)


# --- decoding -------------------------------------------------------------------------------------------------------


@each_kind
def test_a_beam_finds_the_most_probable_target(kind):
    network, (source, _) = model(kind, max_length=3), data()
    with no_grad():
        for parameter in network.parameters():  # far from uniform
            parameter.data = parameter.data * 3.0
    found = network.beam_search(source, LENGTHS, width=C**3, n_best=5)
    greedy = network.greedy(source, LENGTHS)
    for b in range(B):
        every = []
        for n in range(4):
            strings = list(itertools.product([token for token in range(C) if token != END], repeat=n))
            rows = np.array([[*tokens, END][:3] for tokens in strings]).T
            logits = network(np.repeat(source[:, b : b + 1], len(strings), axis=1), rows, [LENGTHS[b]] * len(strings))
            gains = np.take_along_axis(host(ops.log_softmax(logits)), rows[:, :, None], axis=2).sum(axis=(0, 2))
            every += zip(gains.tolist(), strings, strict=True)
        every.sort(reverse=True)
        assert [h.tokens for h in found[b]] == [tokens for _, tokens in every[:5]]
        np.testing.assert_allclose([h.log_probability for h in found[b]], [p for p, _ in every[:5]], rtol=1e-10)
        assert greedy[b].log_probability <= found[b][0].log_probability + 1e-12


@each_kind
def test_a_beam_of_one_is_greedy(kind, home):
    network, source = model(kind, max_length=8).to(home), home.asarray(data()[0])
    beams, greedy = network.beam_search(source, LENGTHS, width=1), network.greedy(source, LENGTHS)
    assert [h.tokens for (h,) in beams] == [h.tokens for h in greedy]


def test_decoding_is_evaluation_and_leaves_the_modes_alone():
    network = model(KINDS["gru, dot"], both={"dropout": 0.5})
    source = data()[0]
    network.encoder.eval()
    first = network.greedy(source)
    assert [h.log_probability for h in first] == [h.log_probability for h in network.greedy(source)]
    assert [network.training, network.encoder.training, network.decoder.rnn.training] == [True, False, True]
    with pytest.raises(ValueError, match="lengths has shape"):
        network.greedy(source, [1])
    assert network.training


# --- nothing is computed twice --------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["general", "additive"])
def test_the_encoder_and_the_key_projection_run_once(attention, monkeypatch):
    network, (source, target) = model({"attention": attention, "bidirectional": True}), data()
    calls = []

    def count(name, part):
        forward = part.forward
        monkeypatch.setattr(part, "forward", lambda *args, **kw: calls.append(name) or forward(*args, **kw))

    count("encoder", network.encoder)
    count("keys", network.decoder.attention.key_projection)
    count("decoder", network.decoder.rnn)
    for run in (
        lambda: network(source, target, LENGTHS, ratio=0.0),
        lambda: network.greedy(source, LENGTHS),
        lambda: network.beam_search(source, LENGTHS, width=3),
    ):
        calls.clear()
        run()
        assert (calls.count("encoder"), calls.count("keys")) == (1, 1)
        assert calls.count("decoder") >= L
    calls.clear()
    network(source, target, LENGTHS, ratio=1.0)
    assert sorted(calls) == ["decoder", "encoder", "keys"]  # the forced pass is one call of each


# --- parts ----------------------------------------------------------------------------------------------------------


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


# --- nothing, and wrong things --------------------------------------------------------------------------------------


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


def network(**options):
    return model(KINDS["gru, dot"], dtype="float32", **options)


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
