"""Greedy and beam search on a device: how seldom they wait for it, what a step is fed, and mistakes that show late."""

import math

import array_api_strict
import numpy as np
import pytest
from chains import DEVICE, END, START, chain
from helpers import host
from host_copies import counted

from xprnn import Tensor, nn
from xprnn.backend import backend_of, dtype_name, get_backend, to_numpy, use_backend
from xprnn.nn import beam_search, greedy
from xprnn.nn.seq2seq import continuations
from xprnn.nn.seq2seq import search as searching


def coarse(classes, home, seed, batch, impossible=-3.0):
    """A chain of few different log-probabilities: many are equal, and many are -inf."""
    step, state = chain(classes, home, seed, batch)

    def rounded(tokens, state):
        scores, state = step(tokens, state)
        scores = home.xp.floor(scores * 2.0) / 2.0
        return home.xp.where(scores < impossible, -home.xp.inf, scores), state

    return rounded, state


def ending_after(length, then=None):
    """A step of one sequence whose end is the token of that number; and of something else after it."""

    def step(tokens, number):
        if then is not None and number >= length:
            return then(), number + 1
        p = np.full((1, 4), 0.01)
        p[:, END if number == length - 1 else 2] = 0.97
        return DEVICE.asarray(np.log(p)), number + 1

    return step


@pytest.mark.parametrize("seed", range(6))
def test_ties_and_impossible_tokens_are_what_they_are_on_the_host(seed):
    batch, classes, length = 5, 7, 20
    for impossible, settings in ((-3.0, {}), (-2.0, {"length_penalty": 1.0}), (-9.0, {"width": 7, "n_best": 7})):
        there, here = (coarse(classes, home, seed, batch, impossible) for home in (DEVICE, get_backend("numpy")))
        common = {"batch": batch, "start": START, "end": END, "max_length": length}
        assert greedy(*there, **common) == greedy(*here, **common)
        assert beam_search(*there, **common, **settings) == beam_search(*here, **common, **settings)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 40])
def test_greedy_asks_a_device_every_16_tokens(length):
    step, state = chain(6, DEVICE, batch=3)

    def endless(tokens, state):
        scores, state = step(tokens, state)
        return DEVICE.xp.where(DEVICE.arange(6) == END, -DEVICE.xp.inf, scores), state

    with counted(DEVICE) as log:
        found = greedy(endless, state, batch=3, start=START, end=END, max_length=length)
    assert log == ["to_device"] * math.ceil(length / 16)
    assert [len(h.tokens) for h in found] == [length] * 3


def test_a_beam_asks_a_device_once_a_token():
    step, state = chain(6, DEVICE, batch=3)
    for length in (1, 9, 20):
        calls = []
        with counted(DEVICE) as log:
            beam_search(
                lambda tokens, state, calls=calls: calls.append(1) or step(tokens, state), state,
                batch=3, start=START, end=END, max_length=length, width=4,
            )  # fmt: skip
        assert log == ["to_device"] * len(calls)
        assert len(calls) <= length


def test_of_a_large_vocabulary_only_the_best_come_to_the_host(monkeypatch):
    (step, state), sizes = chain(200, DEVICE, batch=3), []
    for module in (continuations, searching):
        monkeypatch.setattr(module, "to_numpy", lambda x: sizes.append(x.size) or to_numpy(x))
    for search in (greedy, beam_search):
        search(step, state, batch=3, start=START, end=END, max_length=20)
    assert len(sizes) > 2
    assert max(sizes) <= max(2 * 16 * 3, 5 * 3 * (2 * 5 + 1))  # hypotheses x (width values and places, and a check)


@pytest.mark.parametrize("attention", [None, "general"])
def test_a_model_is_decoded_with_as_few_copies(attention):
    encoder = nn.Encoder(7, 5, embedding_dim=3, rng=0)
    decoder = nn.Decoder(7, 5, embedding_dim=3, attention=attention, memory_size=5, rng=0)
    model = nn.Seq2Seq(encoder, decoder, start=START, end=END, max_length=20, rng=0)
    expected = [model.greedy(np.full((4, 3), 2)), *model.beam_search(np.full((4, 3), 2), [4, 2, 0], width=4)]
    model.to(DEVICE)
    source = DEVICE.asarray(np.full((4, 3), 2))
    with counted(DEVICE) as log:
        found = [model.greedy(source)]
    assert len(log) <= 1 + 2  # one for the check of the source
    with counted(DEVICE) as log:
        found += model.beam_search(source, [4, 2, 0], width=4)
    assert len(log) <= 1 + 20
    for a, b in zip(found, expected, strict=True):
        assert [h.tokens for h in a] == [h.tokens for h in b]


@pytest.mark.parametrize("search", [greedy, beam_search])
def test_what_a_step_is_fed_is_where_its_scores_are(search, home):
    fed, (step, first) = [], chain(6, home, batch=3)

    def watched(tokens, state):
        fed.append(tokens)
        return step(tokens, first if state is None else state)

    settings = {"batch": 3, "start": START, "end": END, "max_length": 5}
    search(watched, first, **settings)
    with use_backend(home.name, home.device):
        search(watched, None, **settings)
    assert len(fed) > 4
    for tokens in fed:
        assert (tokens.ndim, dtype_name(tokens)) == (1, "int64")
        assert backend_of(tokens) == backend_of(first)


def test_an_ended_sequence_is_fed_its_end(home):
    fed = []

    def step(tokens, state):
        fed.append(host(tokens).tolist())
        best = [[END, 2], [3, 3], [3, END]][len(fed) - 1]
        return home.asarray(np.log(np.full((2, 4), 0.01) + 0.96 * np.eye(4)[best])), state

    found = greedy(step, None, batch=2, start=END, end=END, max_length=3)  # a start that is the end ends nothing
    assert fed == [[END, END], [END, 2], [END, 3]]
    assert [h.tokens for h in found] == [(), (2, 3)]


def test_start_tokens_are_where_the_first_array_of_the_state_is():
    arrays, seen = (None, [Tensor(DEVICE.zeros((1, 1, 2), "float32")), np.zeros(1)]), []

    def step(tokens, state):
        seen.append(backend_of(tokens).name)
        return np.zeros((1, 3)), state

    for state in (arrays, {"of": "the step's own"}, None, ("words", 3)):
        greedy(step, state, batch=1, start=0, end=1, max_length=1)
    assert seen == ["array_api_strict", "numpy", "numpy", "numpy"]


@pytest.mark.parametrize("search", [greedy, beam_search])
def test_a_step_may_write_to_what_it_is_fed(search, home):
    for batch in (1, 3):
        step, state = chain(6, home, 1, batch)

        def rude(tokens, state, step=step):
            result = step(tokens, state)
            tokens[...] = END
            return result

        settings = {"batch": batch, "start": START, "end": END, "max_length": 6}
        for width in ({}, {"width": 1}) if search is beam_search else ({},):
            assert search(rude, state, **settings, **width) == search(step, state, **settings, **width)


def refuse():
    raise IndexError("no row for what follows")


MISTAKES = {
    "nan": (lambda: DEVICE.asarray(np.full((1, 4), np.nan)), FloatingPointError, "greedy: step returned NaN"),
    "logits": (lambda: DEVICE.asarray(np.full((1, 4), 3.0)), ValueError, "greedy: step returned 3; expected"),
    "shape": (lambda: DEVICE.zeros((1, 2, 3), "float32"), ValueError, r"of shape \(1, 2, 3\)"),
    "error": (refuse, IndexError, "no row for what follows"),
}


@pytest.mark.parametrize("length", [1, 3, 15, 16])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_steps_after_all_have_ended_do_not_show(mistake, length):
    settings = {"batch": 1, "start": START, "end": END, "max_length": 40}
    (found,) = greedy(ending_after(length, then=MISTAKES[mistake][0]), 0, **settings)
    assert (found.tokens, found.ended) == ((2,) * (length - 1), True)
    assert found.log_probability == pytest.approx(length * math.log(0.97))


@pytest.mark.parametrize("first", MISTAKES)
@pytest.mark.parametrize("second", MISTAKES)
def test_the_first_mistake_is_the_one_that_is_told(first, second):
    """Though the host hears of both at once."""
    (make, error, message), fine = MISTAKES[first], ending_after(99)

    def step(tokens, number):
        if number < 2:
            return fine(tokens, number)
        return (make if number == 2 else MISTAKES[second][0])(), number + 1

    with pytest.raises(error, match=message):
        greedy(step, 0, batch=1, start=START, end=END, max_length=40)


def test_scores_stay_on_one_device():
    other = get_backend("array_api_strict", array_api_strict.Device("device2"))

    def step(tokens, number):
        home = (DEVICE, other)[number]
        return home.asarray(np.log(np.full((1, 4), 0.25))), 1 - number

    with pytest.raises(
        TypeError, match="greedy: tokens so far is .*device1.* but greedy: log-probabilities is .*device2"
    ):
        greedy(step, 0, batch=1, start=START, end=END, max_length=5)
