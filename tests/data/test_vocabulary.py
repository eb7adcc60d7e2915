"""Vocabularies: which tokens get which numbers, and what happens to the rest."""

import json

import numpy as np
import pytest

from xprnn.data import Vocabulary

SENTENCES = [["b", "a", "b"], ["c", "a", "b"], ["d"]]


def test_the_order_is_specials_then_count_then_alphabet():
    vocabulary = Vocabulary.build(SENTENCES)
    assert vocabulary.tokens == ("b", "a", "c", "d")
    assert vocabulary.encode(["b", "a", "c", "d"]) == [4, 5, 6, 7]
    assert len(vocabulary) == 8
    assert Vocabulary.build(SENTENCES[::-1]).tokens == vocabulary.tokens


def test_ids_of_specials():
    vocabulary = Vocabulary.build(SENTENCES)
    ids = vocabulary.pad_id, vocabulary.unknown_id, vocabulary.start_id, vocabulary.end_id
    assert ids == (0, 1, 2, 3)
    small = Vocabulary.build(SENTENCES, specials=("pad", "unknown"))
    assert (small.pad_id, small.unknown_id, small.encode(["b"])) == (0, 1, [2])
    with pytest.raises(ValueError, match="this vocabulary has no 'start'; its specials are 'pad', 'unknown'"):
        _ = small.start_id


def test_rare_tokens_are_unknown():
    assert Vocabulary.build(SENTENCES, min_count=2).tokens == ("b", "a")
    assert Vocabulary.build(SENTENCES, min_count=2).encode(["a", "c", "zebra"]) == [5, 1, 1]
    assert Vocabulary.build(SENTENCES, max_size=6).tokens == ("b", "a")  # the four specials count
    assert Vocabulary.build(SENTENCES, min_count=3, max_size=100).tokens == ("b",)


def test_round_trip_with_start_and_end():
    vocabulary = Vocabulary.build(SENTENCES)
    ids = vocabulary.encode(["c", "a"], start=True, end=True)
    assert ids == [2, 6, 5, 3]
    assert vocabulary.decode(ids) == ["c", "a"]
    assert vocabulary.decode([*ids, 0, 1], keep_specials=True) == ["<start>", "c", "a", "<end>", "<pad>", "<unknown>"]
    assert vocabulary.decode(np.asarray([5, 1, 0])) == ["a", "<unknown>"]
    assert vocabulary.decode([]) == []
    assert vocabulary.encode([]) == []


def test_a_text_cannot_smuggle_in_specials():
    vocabulary = Vocabulary.build([["<pad>", "<end>", "<pad>"]])
    assert vocabulary.encode(["<pad>", "<end>", "<start>"]) == [4, 5, 1]
    assert vocabulary.decode([4]) == ["<pad>"]


def test_membership_is_of_tokens_not_specials():
    vocabulary = Vocabulary.build(SENTENCES)
    assert "a" in vocabulary
    assert "zebra" not in vocabulary
    assert "<pad>" not in vocabulary


def test_without_unknown_an_unseen_token_is_an_error():
    vocabulary = Vocabulary.build(SENTENCES, specials=())
    assert vocabulary.encode(["b"]) == [0]
    with pytest.raises(ValueError, match="token 'zebra' is not in the vocabulary, which has no special 'unknown'"):
        vocabulary.encode(["a", "zebra"])


def test_state_goes_through_json():
    vocabulary = Vocabulary.build([["é", "日", "'", '"']], specials=("unknown", "pad"))
    loaded = Vocabulary.from_state_dict(json.loads(json.dumps(vocabulary.state_dict())))
    assert loaded == vocabulary
    assert loaded.encode(["é", "no"]) == vocabulary.encode(["é", "no"])
    assert loaded != Vocabulary.build([["é"]])


def test_an_empty_corpus_is_a_vocabulary_of_specials():
    assert len(Vocabulary.build([])) == 4
    assert Vocabulary.build([[]]).encode(["a"]) == [1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Vocabulary.build(["a b"]), TypeError, "sentence 0 is a str; expected a list of tokens"),
        (lambda: Vocabulary.build("a b"), TypeError, "sentences is a str; expected lists of tokens"),
        (lambda: Vocabulary.build([["a", 3]]), TypeError, "sentence 0 holds a int; expected tokens, which are str"),
        (lambda: Vocabulary.build([], min_count=0), ValueError, "min_count is 0; expected an integer of at least 1"),
        (lambda: Vocabulary.build([], max_size=3), ValueError, "max_size is 3; expected an integer of at least 4"),
        (lambda: Vocabulary.build([], specials=("pad", "eos")), ValueError, "special 'eos' is unknown; expected some"),
        (lambda: Vocabulary.build([], specials=("pad", "pad")), ValueError, "special 'pad' is given twice"),
        (lambda: Vocabulary(["a", "a"]), ValueError, "token 'a' is given twice"),
        (lambda: Vocabulary.build(SENTENCES).encode("ab"), TypeError, "encode: tokens is a str; expected a list"),
        (lambda: Vocabulary.build(SENTENCES).decode([8]), ValueError, "decode: 8 is no number of this vocabulary"),
        (lambda: Vocabulary.build(SENTENCES).decode([-1]), ValueError, "decode: -1 is no number"),
        (lambda: Vocabulary.build(SENTENCES).decode([[1]]), ValueError, "decode: ids has shape"),
        (lambda: Vocabulary.build(SENTENCES).decode([1.5]), TypeError, "decode: ids has dtype float64"),
        (lambda: Vocabulary.from_state_dict({"tokens": ["a"]}), ValueError, "the state has 'tokens'; expected"),
        (lambda: Vocabulary.from_state_dict({"tokens": 3, "specials": []}), ValueError, "the state's tokens"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
