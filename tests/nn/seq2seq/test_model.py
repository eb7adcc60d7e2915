"""Encoder, decoder and both together: forced, mixed and free running against the equations, one step at a time."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import assert_close, host
from seq2seq_models import END, KINDS, LENGTHS, START, TARGET_LENGTHS, B, C, L, S, data, each_kind, model

from xprnn import Tensor, no_grad, ops
from xprnn.testing import check_gradients
from xprnn.train import SGD, cross_entropy, mse


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


def test_a_search_in_one_thread_is_no_matter_of_another(monkeypatch):
    network, (source, _) = model(KINDS["gru, dot"], both={"dropout": 0.5}, max_length=6), data()
    network.encoder.eval()
    expected = network.greedy(source, LENGTHS)
    elsewhere, encode = [], network.encode

    def spied(*args):
        assert not network.decoder.dropout.training
        with ThreadPoolExecutor(1) as pool:
            elsewhere.extend(pool.map(lambda part: part.training, [network, network.encoder, network.decoder.dropout]))
        return encode(*args)

    with monkeypatch.context() as patch:
        patch.setattr(network, "encode", spied)
        assert network.greedy(source, LENGTHS) == expected
        assert network.beam_search(source, LENGTHS, width=1)[0][0].tokens == expected[0].tokens
    assert elsewhere == [True, False, True] * 2
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: network.greedy(source, LENGTHS), range(8)):
            assert found == expected
    assert [network.training, network.encoder.training, network.decoder.training] == [True, False, True]


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
