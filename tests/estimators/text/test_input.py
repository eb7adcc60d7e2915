"""Texts and labels on their way in."""

import numpy as np
import pytest

from xprnn.estimators.labels import encode_labels, hold_out
from xprnn.estimators.text.input import cut_texts, log_count_ratios, split_texts


def test_each_label_gives_its_share():
    labels = ["a"] * 50 + ["b"] * 30 + ["c"] * 3
    (known, known_labels), (unseen, unseen_labels) = split_texts([f"text {k}" for k in range(83)], labels, 0.2, rng=0)
    assert [unseen_labels.count(label) for label in "abc"] == [10, 6, 1]
    assert len(known) == 83 - 17
    assert not set(known) & set(unseen)
    assert dict(zip(known + unseen, known_labels + unseen_labels, strict=True)) == {
        f"text {k}": labels[k] for k in range(83)
    }


def test_splits_are_drawn_and_can_be_drawn_again():
    texts, labels = [str(k) for k in range(40)], [k % 2 for k in range(40)]
    assert split_texts(texts, labels, 0.25, rng=1) == split_texts(texts, labels, 0.25, rng=1)
    assert split_texts(texts, labels, 0.25, rng=1) != split_texts(texts, labels, 0.25, rng=2)
    assert split_texts(texts, labels, 0.0)[1] == ([], [])
    with pytest.raises(ValueError, match="test is 1.0; expected a share"):
        split_texts(texts, labels, 1.0)
    with pytest.raises(ValueError, match="40 texts and 3 labels"):
        split_texts(texts, [1, 2, 3], 0.1)


class Column:
    """As of a table whose rows have been put into another order: indexed by names, not by places."""

    def __init__(self, values):
        self.values = list(values)

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return iter(self.values)

    def __getitem__(self, name):
        return self.values[-1 - name]


def test_columns_of_tables_are_split_by_place():
    texts, labels = [str(k) for k in range(40)], ["down"] * 30 + ["up"] * 10
    plain = split_texts(texts, labels, 0.25, rng=1)
    assert split_texts(Column(texts), labels, 0.25, rng=1) == plain
    assert split_texts(Column(texts), Column(labels), 0.25, rng=1) == plain
    assert split_texts(iter(texts), iter(labels), 0.25, rng=1) == plain


def test_a_class_is_never_held_out_whole():
    target = np.array([0, 1, 1, 1])
    held = hold_out(target, 0.99, np.random.default_rng(0))
    assert (~held)[0]
    assert (~held[target == 1]).sum() == 1


def test_numbers_of_labels():
    classes, target = encode_labels("test", [3, 1.5, 3], 3)
    assert (classes, target.tolist()) == ((1.5, 3), [1, 0, 1])
    assert encode_labels("test", np.array(["b", "a"]), 2)[0] == ("a", "b")
    assert encode_labels("test", iter("ab"), 2)[0] == ("a", "b")


@pytest.mark.parametrize("labels", [None, "ab", {1, 2}, {1: "a", 2: "b"}, 3])
def test_labels_that_are_no_list(labels):
    with pytest.raises(TypeError, match=r"test: labels is a \w+; expected a list"):
        encode_labels("test", labels, 2)


def test_ratios_by_hand():
    ids, target = [np.array([0, 1, 1]), np.array([0]), np.array([2])], np.array([0, 1, 2])
    found = log_count_ratios(ids, target, tokens=4, classes=3)
    inside, outside = (1 + 1) / 6, (1 + 1) / 6  # token 0: in the text of class 0 and in one other
    assert found[0, 0] == pytest.approx(np.log(inside / outside))
    assert found[1, 0] == pytest.approx(np.log((2 / 6) / (1 / 6)))  # a text counts once, however often it says a word
    assert found[1, 1] == pytest.approx(np.log((1 / 5) / (2 / 7)))
    two = log_count_ratios(ids[:2], target[:2], tokens=4, classes=2)
    np.testing.assert_allclose(two[:, 0], -two[:, 1])


def test_whatever_a_tokenizer_gives_becomes_lists_of_str():
    for tokenize in (str.split, lambda t: tuple(t.split()), lambda t: np.array(t.split()), lambda t: iter(t.split())):
        found = cut_texts("test", ["a b", "c"], tokenize)
        assert found == [["a", "b"], ["c"]]
        assert all(type(tokens) is list and all(type(t) is str for t in tokens) for tokens in found)


@pytest.mark.parametrize("tokens", ["a b", None, [1, 2], ["a", None], [b"a"]])
def test_what_is_no_list_of_tokens(tokens):
    with pytest.raises(TypeError, match="test: the tokenizer gave .*for text 0; expected a list of str"):
        cut_texts("test", ["a b"], lambda _: tokens)
