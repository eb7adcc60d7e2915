"""Greedy and beam search against exhaustive search, on models small enough for it."""

import collections
import math

import array_api_strict
import numpy as np
import pytest
from helpers import host
from host_copies import counted

from xprnn import Tensor, nn, ops
from xprnn.backend import backend_of, dtype_name, get_backend, to_numpy, use_backend
from xprnn.nn import Hypothesis, beam_search, greedy
from xprnn.nn.seq2seq import continuations
from xprnn.nn.seq2seq import search as searching

START, END = 0, 1
DEVICE = get_backend("array_api_strict", array_api_strict.Device("device1"))


def chain(classes, home, seed=0, batch=2):
    """A step whose probabilities depend on the whole past: the state is a vector that each token turns."""
    draws = np.random.default_rng(seed)
    turn, read = home.asarray(draws.normal(size=(classes, 3))), home.asarray(2.0 * draws.normal(size=(3, classes)))
    state = home.asarray(draws.normal(size=(batch, 3)))

    def step(tokens, state):
        xp = home.xp
        state = xp.tanh(state * 0.9 + xp.take(turn, home.asarray(tokens), axis=0))
        return ops.log_softmax(xp.matmul(state, read)).data, state

    return step, state


def exhaustive(step, state, max_length, classes, alpha):
    """Every sequence that ends, or is as long as may be, of a single source, the best first."""
    found = []

    def walk(tokens, total, state):
        scores, state = step(np.array([tokens[-1] if tokens else START]), state)
        for token, gain in enumerate(host(scores)[0].tolist()):
            n = len(tokens) + 1
            if token == END or n == max_length:
                kept = tokens if token == END else (*tokens, token)
                score = (total + gain) / ((5 + n) / 6) ** alpha
                found.append(Hypothesis(kept, total + gain, score, token == END))
            else:
                walk((*tokens, token), total + gain, state)

    walk((), 0.0, state)
    return sorted(found, key=lambda h: -h.score)


def assert_same(found, expected):
    assert [(h.tokens, h.ended) for h in found] == [(h.tokens, h.ended) for h in expected]
    for a, b in zip(found, expected, strict=True):
        assert a.log_probability == pytest.approx(b.log_probability, abs=1e-12)
        assert a.score == pytest.approx(b.score, abs=1e-12)


# --- what is found --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_of_everything_is_exhaustive_search(seed, alpha, home):
    classes, length = 3, 4
    step, state = chain(classes, home, seed)
    total = len(exhaustive(step, state[:1, ...], length, classes, alpha))
    found = beam_search(
        step, state, batch=2, start=START, end=END, max_length=length, width=classes**length, n_best=total,
        length_penalty=alpha,
    )  # fmt: skip
    for b in range(2):
        assert_same(found[b], exhaustive(step, state[b : b + 1, ...], length, classes, alpha))
    few = beam_search(
        step, state, batch=2, start=START, end=END, max_length=length, width=classes**length, n_best=3,
        length_penalty=alpha,
    )  # fmt: skip
    assert_same(few[1], found[1][:3])


@pytest.mark.parametrize("seed", range(3))
def test_a_beam_of_one_is_greedy(seed, home):
    step, state = chain(6, home, seed, batch=7)
    settings = {"batch": 7, "start": START, "end": END, "max_length": 9}
    expected = greedy(step, state, **settings)
    assert_same([best for (best,) in beam_search(step, state, width=1, **settings)], expected)
    assert any(h.ended for h in expected)


def test_greedy_by_hand(home):
    step, state = chain(5, home, 3)
    for b, found in enumerate(greedy(step, state, batch=2, start=START, end=END, max_length=6)):
        token, tokens, total, now = START, [], 0.0, state[b : b + 1, ...]
        while token != END and len(tokens) < 6:
            scores, now = step(np.array([token]), now)
            token = int(host(scores)[0].argmax())
            total += float(host(scores)[0].max())
            tokens.append(token)
        ended = tokens[-1] == END
        assert found.tokens == tuple(tokens[:-1] if ended else tokens)
        assert (found.ended, found.log_probability) == (ended, pytest.approx(total))


def test_a_beam_finds_what_greedy_misses():
    tree = {(): [0.0, 0.0, 0.6, 0.4], (2,): [0.0, 0.5, 0.25, 0.25], (3,): [0.0, 0.9, 0.05, 0.05]}

    def step(tokens, past):
        past = tokens[:, None] if past is None else np.concatenate([past, tokens[:, None]], axis=1)
        with np.errstate(divide="ignore"):
            return np.log([tree.get(tuple(row[1:].tolist()), [0.0, 1.0, 0.0, 0.0]) for row in past]), past

    settings = {"batch": 1, "start": START, "end": END, "max_length": 5}
    assert greedy(step, None, **settings)[0].tokens == (2,)
    best, second = beam_search(step, None, width=2, n_best=2, **settings)[0]
    assert (best.tokens, second.tokens) == ((3,), (2,))
    assert best.score == best.log_probability == pytest.approx(math.log(0.36))


def test_a_hypothesis_that_ends_makes_the_beam_narrower():
    tree = {(): [0.0, 0.5, 0.3, 0.2], (2,): [0.0, 0.4, 0.0, 0.6], (2, 3): [0.0, 0.5, 0.5, 0.0]}

    def step(tokens, past):
        past = tokens[:, None] if past is None else np.concatenate([past, tokens[:, None]], axis=1)
        with np.errstate(divide="ignore"):
            return np.log([tree[tuple(row[1:].tolist())] for row in past]), past

    found = beam_search(step, None, batch=1, start=START, end=END, max_length=3, width=2, n_best=2)[0]
    assert [h.tokens for h in found] == [(), (2, 3)]  # the one place left went to (2, 3), though (2,) ended better
    assert found[1].log_probability == pytest.approx(math.log(0.3 * 0.6 * 0.5))


def test_the_length_penalty_prefers_longer_ones():
    def step(tokens, state):
        p = np.where(np.asarray(tokens)[:, None] == START, [0.0, 0.55, 0.45], [0.0, 0.99, 0.01])
        with np.errstate(divide="ignore"):
            return np.log(p), state

    settings = {"batch": 1, "start": START, "end": END, "max_length": 4, "width": 4}
    assert beam_search(step, None, **settings)[0][0].tokens == ()
    long = beam_search(step, None, length_penalty=2.0, **settings)[0][0]
    assert long.tokens == (2,)
    assert long.score == pytest.approx(math.log(0.45 * 0.99) / (7 / 6) ** 2)


def test_wider_beams_are_sorted_and_distinct(home):
    step, state = chain(8, home, 4, batch=3)
    found = beam_search(step, state, batch=3, start=START, end=END, max_length=7, width=6, n_best=6, length_penalty=0.6)
    for hypotheses in found:
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert len({(h.tokens, h.ended) for h in hypotheses}) == len(hypotheses) == 6


def test_sources_do_not_disturb_each_other(home):
    step, state = chain(6, home, 2, batch=4)
    settings = {"start": START, "end": END, "max_length": 6, "width": 3, "n_best": 2}
    together = beam_search(step, state, batch=4, **settings)
    for b in range(4):
        assert_same(together[b], beam_search(step, state[b : b + 1, ...], batch=1, **settings)[0])


def test_equally_probable_tokens_are_taken_in_order():
    flat = lambda tokens, state: (np.full((len(tokens), 4), -math.log(4)), state)
    found = beam_search(flat, None, batch=1, start=START, end=3, max_length=2, width=4, n_best=4)[0]
    assert [h.tokens for h in found] == [(), (0, 0), (0, 1), (0, 2)]


# --- the state ------------------------------------------------------------------------------------------------------


def test_a_state_of_tuples_tensors_and_vectors_follows_its_hypotheses(home):
    step, state = chain(5, home, 1)

    def nested(tokens, state):
        (h, _), count, here = state
        scores, h = step(tokens, h.data[0, ...])
        return Tensor(scores), ((Tensor(home.xp.expand_dims(h, axis=0)), None), count + 1, here + 1)

    settings = {"batch": 2, "start": START, "end": END, "max_length": 5, "width": 3, "n_best": 3}
    packed = ((Tensor(home.xp.expand_dims(state, axis=0)), None), home.zeros((2,), "int64"), np.zeros(2))
    for found, expected in zip(
        beam_search(nested, packed, **settings), beam_search(step, state, **settings), strict=True
    ):
        assert_same(found, expected)


def test_a_state_keeps_its_kind(home):
    step, state = chain(5, home, 1)
    kinds, seen = (collections.namedtuple("State", "h age"), list, tuple), set()

    def kept(tokens, state):
        seen.add(type(state))
        scores, h = step(tokens, state[0])
        return scores, made(h, state[1] + 1)

    settings = {"batch": 2, "start": START, "end": END, "max_length": 5, "width": 3}
    for kind in kinds:
        made = kind if hasattr(kind, "_fields") else lambda *parts, kind=kind: kind(parts)
        found = beam_search(kept, made(state, home.zeros((2,), "int64")), **settings)
        assert found == beam_search(step, state, **settings)
        assert seen == {kind}
        seen.clear()


def test_a_language_model_can_be_searched():
    table, layer, readout = nn.Embedding(6, 4, rng=0), nn.GRU(4, 5, rng=0), nn.Linear(5, 6, rng=0)

    def step(tokens, state):
        output, state = layer(table(tokens[None]), state)
        return ops.log_softmax(readout(output[0])), state

    assert_same(
        beam_search(step, None, batch=1, start=2, end=1, max_length=5, width=1)[0],
        greedy(step, None, batch=1, start=2, end=1, max_length=5),
    )
    assert not greedy(step, None, batch=0, start=2, end=1, max_length=5)


def test_nothing_is_recorded(rng):
    weights = Tensor(rng.standard_normal((3, 4)), requires_grad=True)
    seen = []

    def step(tokens, state):
        scores = ops.log_softmax(ops.as_tensor(state) @ weights)
        seen.append(scores.requires_grad)
        return scores, state

    greedy(step, np.ones((2, 3)), batch=2, start=0, end=1, max_length=2)
    beam_search(step, np.ones((2, 3)), batch=2, start=0, end=1, max_length=2, width=2)
    assert seen
    assert not any(seen)


def test_it_stops_as_soon_as_nothing_can_change():
    steps = []

    def step(tokens, state):
        steps.append(len(tokens))
        return np.log(np.tile([0.01, 0.9, 0.09], (len(tokens), 1))), state

    beam_search(step, None, batch=2, start=0, end=1, max_length=50, width=3)
    assert len(steps) == 1
    steps.clear()
    greedy(step, None, batch=2, start=0, end=1, max_length=50)
    assert len(steps) == 1


# --- on a device -----------------------------------------------------------------------------------------------------


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


# --- nothing, and wrong things --------------------------------------------------------------------------------------


def test_nothing_to_decode(home):
    step, state = chain(4, home, batch=0)
    assert greedy(step, state, batch=0, start=START, end=END, max_length=3) == []
    assert beam_search(step, state, batch=0, start=START, end=END, max_length=3) == []


def test_impossible_tokens_are_never_taken():
    def step(tokens, state):
        with np.errstate(divide="ignore"):
            return np.log(np.tile([0.0, 0.5, 0.5], (len(tokens), 1))), state

    found = beam_search(step, None, batch=1, start=0, end=1, max_length=2, width=9, n_best=9)[0]
    assert [h.tokens for h in found] == [(), (2,), (2, 2)]


def test_what_follows_an_ended_sequence_is_not_looked_at():
    """A table of probabilities has no row for what follows the end: the batch must not matter there either."""
    table = np.log([[0.1, 0.1, 0.7, 0.1], [np.nan] * 4, [0.1, 0.6, 0.1, 0.2], [0.1, 0.2, 0.1, 0.6]])

    def step(tokens, state):
        scores = table[tokens]
        scores[(state[:, 0] == 1.0) & (tokens == 2)] = np.log([0.1, 0.1, 0.1, 0.7])  # the second source goes on
        return scores, state

    state, settings = np.array([[0.0], [1.0]]), {"start": 0, "end": 1, "max_length": 6}
    for search in (greedy, lambda *a, **k: beam_search(*a, width=2, n_best=2, **k)):
        alone = [search(step, state[b : b + 1], batch=1, **settings)[0] for b in range(2)]
        assert search(step, state, batch=2, **settings) == alone


def answer(scores):
    return lambda tokens, state: (np.array([scores] * len(tokens)), state)


BAD = {
    "width": (
        {"width": 0},
        answer([-1.0, -1.0]),
        ValueError,
        "beam_search: width is 0; expected an integer of at least 1",
    ),
    "n_best": ({"n_best": 6}, answer([-1.0, -1.0]), ValueError, "n_best is 6; expected at most width = 5"),
    "penalty": ({"length_penalty": -1}, answer([-1.0, -1.0]), ValueError, "length_penalty is -1; expected a number"),
    "endless penalty": (
        {"length_penalty": np.inf},
        answer([-1.0, -1.0]),
        ValueError,
        "length_penalty is inf; expected a number from 0 to 100",
    ),
    "length": ({"max_length": 0}, answer([-1.0, -1.0]), ValueError, "max_length is 0"),
    "no start": ({"start": None}, answer([-1.0, -1.0]), ValueError, "beam_search: start is None; expected an integer"),
    "no end": ({"end": None}, answer([-1.0, -1.0]), ValueError, "beam_search: end is None; expected an integer"),
    "no step": ({}, 3, TypeError, "beam_search: step is a int; expected a function of tokens and state"),
    "no state": (
        {},
        lambda tokens, state: (np.zeros((1, 2)),),
        TypeError,
        "beam_search: step returned a tuple; expected log-probabilities and a state",
    ),
    "integers": (
        {},
        answer([-1, -1]),
        TypeError,
        "beam_search: step returned log-probabilities of dtype int64; expected floats",
    ),
    "complex": ({}, answer([-1.0, 1j]), TypeError, "of dtype complex128; expected floats"),
    "list": ({}, lambda tokens, state: ([-1.0], state), TypeError, "beam_search: step returned a list; expected log-"),
    "number in the state": (
        {"state": (np.float64(1.0),)},
        answer([-0.1, -3.0]),
        TypeError,
        "the state holds a float64 without axes; expected arrays",
    ),
    "rows of the state": (
        {"state": (np.zeros((1, 4)), np.zeros((1, 6, 4)))},
        answer([-0.1, -3.0]),
        ValueError,
        r"the state holds an array of shape \(1, 6, 4\); expected \(..., 1, H\) or \(1,\), a row for each",
    ),
    "penalty of long ones": (
        {"length_penalty": 100, "max_length": 10**6},
        answer([-1.0, -1.0]),
        ValueError,
        "length_penalty is 100.0; with max_length = 1000000 it exceeds all numbers",
    ),
    "end": (
        {"end": 2},
        answer([-1.0, -1.0]),
        ValueError,
        r"shape \(1, 2\); expected \(1, C\) with the end token 2 among C",
    ),
    "shape": ({}, answer(-1.0), ValueError, r"step returned log-probabilities of shape \(1,\)"),
    "logits": ({}, answer([3.0, 1.0]), ValueError, "step returned 3; expected log-probabilities, which are at most 0"),
    "nan": ({}, answer([np.nan, -1.0]), FloatingPointError, "step returned NaN among the log-probabilities"),
    "state": ({"state": {"h": 1}}, answer([-0.1, -3.0]), TypeError, "the state holds a dict; expected arrays"),
}


@pytest.mark.parametrize(("changes", "step", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(changes, step, error, message, home):
    settings = {"batch": 1, "start": 0, "end": 1, "max_length": 3} | changes
    state = settings.pop("state", None)

    def there(tokens, state):
        scores, *state = step(np.zeros(tokens.shape[0]), state)
        return home.asarray(scores) if hasattr(scores, "shape") else scores, *state

    there = there if callable(step) else step
    with pytest.raises(error, match=message):
        beam_search(there, state, **settings)
    if not {"width", "n_best", "length_penalty", "state"} & set(changes):
        with pytest.raises(error, match=message.replace("beam_search", "greedy")):
            greedy(there, state, **settings)
