"""Greedy and beam search against exhaustive search, on models small enough for it."""

import collections
import math

import numpy as np
import pytest
from chains import END, START, chain
from helpers import host

from xprnn import Tensor, nn, ops
from xprnn.nn import Hypothesis, beam_search, greedy


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


def test_a_dead_end_is_told_by_greedy_and_empty_in_a_beam(home):
    """A sequence that has ended may be answered with anything."""

    def step(tokens, state):
        rows = [[-np.inf, -1.0, -1.0] if token == 0 else [-np.inf] * 3 for token in host(tokens).tolist()]
        return home.asarray(np.array(rows)), state

    settings = {"batch": 1, "start": 0, "max_length": 3}
    assert greedy(step, None, end=1, **settings)[0].tokens == ()
    with pytest.raises(FloatingPointError, match="greedy: step returned -inf for all tokens of a sequence: none has a"):
        greedy(step, None, end=2, **settings)
    assert beam_search(step, None, end=0, **settings) == [[]]
