"""TextTagger: labels of tokens, the spans that they mark, and its complaints."""

import numpy as np
import pytest

from xprnn import use_backend
from xprnn.data import WordVectors
from xprnn.estimators import TextTagger, span_f1
from xprnn.estimators.text.spans import spans

TINY = {"embedding": 4, "hidden": 4, "epochs": 1}
NAMES, PLACES, OTHERS = ["ada", "alan", "grace", "kurt"], ["paris", "rome", "oslo"], ["lives", "works", "sings"]


def sentences(count, seed=0):
    """A name of one or two words at the beginning and a place at the end; "may" is a name at the beginning only."""
    draws, X, y = np.random.default_rng(seed), [], []
    for _ in range(count):
        name = [str(draws.choice([*NAMES, "may"])), *(["may"] if draws.integers(2) else [])]
        rest = [*map(str, draws.choice(OTHERS, draws.integers(1, 4)))] + ["may"] * int(draws.integers(2))
        X.append([*name, *rest, str(draws.choice(PLACES))])
        y.append(["B-PER", "I-PER"][: len(name)] + ["O"] * len(rest) + ["B-LOC"])
    return X, y


@pytest.fixture(scope="module")
def fitted():
    options = {"embedding": 12, "hidden": 12, "epochs": 12, "learning_rate": 2e-2, "dropout": 0.0, "monitor": "span_f1"}
    return TextTagger(**options).fit(*sentences(300))


def test_it_learns_what_a_word_alone_does_not_say(fitted):
    X, y = sentences(100, 1)
    assert fitted.score(X, y) > 0.97
    assert fitted.span_f1(X, y) > 0.95
    assert fitted.predict([["may", "sings", "may", "rome"]]) == [["B-PER", "O", "O", "B-LOC"]]
    assert fitted.training["val_span_f1"][-1] <= max(fitted.training["val_span_f1"]) <= 1.0


def test_an_unknown_token_has_the_label_of_its_place(fitted):
    assert fitted.predict([["zzt", "lives", "in", "rome"]])[0][0] == "B-PER"


def test_labels_and_probabilities_of_each_token_as_if_alone(fitted):
    X = [["ada", "sings", "oslo"], [], ["alan", "may", "lives", "works", "paris"]]
    labels, probabilities = fitted.predict(X), fitted.predict_proba(X)
    assert [len(row) for row in labels] == [3, 0, 5]
    assert [p.shape for p in probabilities] == [(3, 4), (0, 4), (5, 4)]
    for row, p, tokens in zip(labels, probabilities, X, strict=True):
        assert row == fitted.classes_[p.argmax(axis=1)].tolist()
        np.testing.assert_allclose(fitted.predict_proba([tokens])[0], p, atol=1e-6)
    assert fitted.predict([]) == []


def test_saved_and_loaded(fitted, tmp_path):
    X, _ = sentences(20, 2)
    fitted.save(tmp_path / "model")
    again = TextTagger.load(tmp_path / "model")
    assert again.predict(X) == fitted.predict(X)
    for one, two in zip(fitted.predict_proba(X), again.predict_proba(X), strict=True):
        np.testing.assert_array_equal(one, two)


def test_same_seed_same_bits_and_weights_that_count():
    X, y = sentences(30)
    one, two = (TextTagger(**TINY).fit(X, y).predict_proba(X)[0] for _ in range(2))
    np.testing.assert_array_equal(one, two)
    weight = np.ones(32)
    weight[30:] = 0.0
    three = TextTagger(**TINY).fit([*X, ["odd"], []], [*y, ["X"], []], weight).predict_proba(X)[0]
    np.testing.assert_array_equal(one, three)
    options = TINY | {"epochs": 4, "calibrate": False}
    plain, other = (TextTagger(class_weight=w, **options).fit(X, y).predict_proba(X)[0] for w in (None, {"B-LOC": 50}))
    assert other[:, 0].mean() > plain[:, 0].mean() + 0.1  # of B-LOC, the first class


def test_vectors_are_where_embeddings_start():
    vectors = WordVectors(("ada", "rome"), np.eye(2, 4, dtype=np.float32))
    tagger = TextTagger(hidden=4, epochs=1, learning_rate=1e-9).fit(*sentences(30), vectors=vectors)
    row = tagger.network.embedding.weight.numpy()[tagger.vocabulary.encode(["ada"])[0]]
    np.testing.assert_allclose(row, [1, 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        (["a b"], [["O", "O"]], TypeError, "sentence 0 is a str; expected a list of tokens"),
        ("a b", [["O"]], TypeError, "X is a str; expected a list of sentences"),
        ([["a"], ["b", 3]], [["O"], ["O", "O"]], TypeError, "sentence 1 holds a int"),
        ([["a"], ["b", "c"]], [["O"], ["O"]], ValueError, r"row 1 of y has shape \(1,\); expected \(2,\)"),
        ([["a"]], [["O"], ["O"]], ValueError, "X has 1 rows and y 2; expected as many"),
        ([[], []], [[], []], ValueError, "there are no tokens in the 2 sentences"),
        ([["a", "b"]], [["O", "O"]], ValueError, "all 2 labels are 'O'"),
        ([["a", "b"]], [["O", None]], ValueError, "1 steps have no label"),
    ],
)
def test_bad_sentences(X, y, error, message):
    with pytest.raises(error, match=f"TextTagger.fit: {message}"):
        TextTagger(**TINY).fit(X, y)


def test_a_failed_fit_changes_nothing(fitted):
    before = dict(vars(fitted))
    with pytest.raises(ValueError, match="min_count=9"):
        fitted.set_params(min_count=9).fit([["a", "b"]], [["X", "O"]])
    with pytest.raises(ValueError, match="span_f1: sentence 0: label 0 is 'X'"):
        fitted.set_params(min_count=1).fit([["a", "b"]] * 9, [["X", "O"]] * 9)
    assert vars(fitted) == before


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("O O", []),
        ("B-A I-A O B-A", [("A", 0, 2), ("A", 3, 4)]),
        ("B-A B-A I-B I-B", [("A", 0, 1), ("A", 1, 2), ("B", 2, 4)]),
        ("I-A I-A O I-B", [("A", 0, 2), ("B", 3, 4)]),
        ("S-A B-A I-A E-A I-A", [("A", 0, 1), ("A", 1, 4), ("A", 4, 5)]),
        ("U-A B-A L-A O", [("A", 0, 1), ("A", 1, 3)]),
        ("B-A-X I-A-X", [("A-X", 0, 2)]),
        ("", []),
    ],
)
def test_spans(labels, expected):
    assert spans(labels.split()) == expected


def test_f1_of_spans():
    actual, said = [["B-A", "I-A", "O", "B-B"], ["B-A"]], [["B-A", "I-A", "O", "B-A"], ["O"]]
    assert span_f1(actual, said) == pytest.approx(2 * 1 / (3 + 2))
    assert (span_f1(actual, actual), span_f1([["O"]], [["O"]]), span_f1([], [])) == (1.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="sentence 1 has 1 labels and 2 predicted"):
        span_f1(actual, [actual[0], ["O", "O"]])
    with pytest.raises(ValueError, match="sentence 0: label 0 is 'NOUN'; expected 'O', or a mark and a kind"):
        span_f1([["NOUN"]], [["O"]])


def test_runs_on_array_api_strict():
    pytest.importorskip("array_api_strict")
    X, y = sentences(20)
    options = {"hidden": 3, "embedding": 2, "epochs": 1, "class_weight": "balanced"}
    expected = TextTagger(**options).fit(X, y).predict_proba(X)
    with use_backend("array_api_strict"):
        found = TextTagger(**options).fit(X, y).predict_proba(X)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
