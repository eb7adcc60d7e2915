"""The baseline of the text classifier, against fractions by hand."""

import math

import pytest

from xprnn.estimators import NaiveBayes

TEXTS, LABELS = ["good good fun", "good film", "bad film"], ["up", "up", "down"]


def test_probabilities_by_hand():
    """Words and pairs of words; each text counts a token once, and every count begins at 1."""
    up = {"good": 2, "fun": 1, "film": 1, "good good": 1, "good fun": 1, "good film": 1}
    down = {"bad": 1, "film": 1, "bad film": 1}
    known = len(up | down)
    for text, tokens in (("good film", ["good", "film", "good film"]), ("fun bad zebra", ["fun", "bad"])):
        logs = [
            math.log(share) + sum(math.log((counts.get(t, 0) + 1) / (sum(counts.values()) + known)) for t in tokens)
            for share, counts in ((1 / 3, down), (2 / 3, up))
        ]
        powers = [math.exp(value) for value in logs]
        expected = [p / sum(powers) for p in powers]
        found = NaiveBayes().fit(TEXTS, LABELS).predict_proba([text])[0]
        assert found == pytest.approx(expected)


def test_pairs_tell_what_words_cannot():
    texts, labels = ["not good", "so good", "not bad", "so bad"] * 5, ["down", "up", "up", "down"] * 5
    assert NaiveBayes().fit(texts, labels).score(texts, labels) == 1.0
    assert NaiveBayes(pairs=False).fit(texts, labels).score(texts, labels) < 1.0


def test_no_evidence():
    model = NaiveBayes().fit(TEXTS, LABELS)
    assert model.predict(["good", "zebra", "", "!"], unknown="none").tolist() == ["up", None, None, None]
    assert model.predict(["bad", "zebra", "", "!"]).tolist() == ["down", "up", "up", "up"]
    assert model.predict_proba(["zebra"]).tolist() == [pytest.approx([1 / 3, 2 / 3])]
    assert model.score(["good", "zebra"], ["up", "up"], unknown="none") == 0.5
    assert model.score(["good", "zebra"], ["up", "up"], [3, 1], unknown="none") == 0.75
    assert model.score(["good", "zebra"], ["up", "up"]) == 1.0
    marks = NaiveBayes().fit(["good ? !", "bad ."], ["up", "down"])  # a pair of marks is no word either
    assert marks.predict(["? !", "good"], unknown="none").tolist() == [None, "up"]


def test_texts_that_can_be_read_once():
    model = NaiveBayes().fit(iter(TEXTS), iter(LABELS))
    assert model.predict(iter(["good", "bad"])).tolist() == ["up", "down"]
    assert model.score(iter(TEXTS), iter(LABELS)) == 1.0


def test_errors():
    with pytest.raises(RuntimeError, match="fit it first"):
        NaiveBayes().predict(["a"])
    with pytest.raises(ValueError, match="all 2 labels are 1"):
        NaiveBayes().fit(["a", "b"], [1, 1])
    with pytest.raises(TypeError, match="NaiveBayes.fit: texts is a str"):
        NaiveBayes().fit("ab", [0, 1])


def test_labels_of_another_type():
    model = NaiveBayes().fit(["good", "bad"], [1, 0])
    with pytest.raises(ValueError, match=r"none of the labels is known: \['1', '0'\]; expected some of \[0, 1\]"):
        model.score(["good", "bad"], ["1", "0"])
