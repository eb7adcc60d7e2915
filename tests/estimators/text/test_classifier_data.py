"""Labels, tokenizers, vocabulary and vectors of a TextClassifier, and wrong data."""

import enum
import sys
from fractions import Fraction

import numpy as np
import pytest
from reviews import QUICK, reviews

from xprnn.data import WordVectors
from xprnn.estimators import NaiveBayes, TextClassifier
from xprnn.estimators.text.input import log_count_ratios
from xprnn.train import ModelFileError, read_tensors, write_tensors


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        (["up", "down"], "<U4"),
        ([1, 0], "int64"),
        ([True, False], "bool"),
        ([0.5, -1], "float64"),
        ([np.int8(3), np.int8(-1)], "int8"),
        (np.array([7, 300], "uint16"), "uint16"),
        (np.array([0.1, 0.2], "float32"), "float32"),
        (np.array([3, 4], ">i2"), "int16"),
        (np.array(["up", "down"], object), "<U4"),
        (np.array(["up", "down"], "U20"), "<U4"),
        ([2**64, 1], "object"),  # no number of NumPy
        (["a\0", "b"], "object"),  # nor a str of NumPy
    ],
)
@pytest.mark.parametrize("kind", [TextClassifier, NaiveBayes])
def test_predicted_labels_have_the_dtype_of_those_given(tmp_path, kind, labels, dtype):
    quick = QUICK | {"epochs": 1}
    classifier = kind(**quick if kind is TextClassifier else {}).fit(["good", "bad"], labels)
    found = classifier.predict(["good", "bad", "zzt"])
    assert found.dtype == dtype
    assert set(found.tolist()) <= set(classifier.classes)
    if kind is TextClassifier:
        classifier.save(tmp_path / "model")
        again = TextClassifier.load(tmp_path / "model").predict(["good", "bad", "zzt"])
        assert again.dtype == dtype
        assert again.tolist() == found.tolist()


def test_scores_of_scikit_learn_take_the_predictions():
    metrics = pytest.importorskip("sklearn.metrics")
    for labels in ([1, 0], [True, False], ["up", "down"]):
        classifier = TextClassifier(**QUICK).fit(["good", "bad"] * 4, labels * 4)
        texts, actual = ["good", "bad", "zzt"], [*labels, labels[0]]
        assert metrics.accuracy_score(actual, classifier.predict(texts)) == classifier.score(texts, actual)


def test_a_file_whose_labels_are_not_its_classes(tmp_path):
    TextClassifier(**QUICK).fit(["good", "bad"], np.array([1, 2], "int8")).save(tmp_path / "model")
    arrays, metadata = read_tensors(tmp_path / "model")
    for labels in (np.array([1, 3], "int8"), np.array([1], "int8"), np.zeros((2, 2), "int8")):
        write_tensors(tmp_path / "other", arrays | {"labels": labels}, metadata)
        with pytest.raises(ModelFileError, match="labels are not the classes"):
            TextClassifier.load(tmp_path / "other")


@pytest.mark.parametrize(
    "labels",
    [[0, 1, 2], ["b", "a", "c"], [0.5, -1.0, 2], [np.int64(3), np.int64(1), 2], np.array(["x", "y", "z"])],
)
def test_any_labels_in_any_number(labels):
    texts = ["one two", "three four", "five six"] * 4
    classifier = TextClassifier(**QUICK).fit(texts, list(labels) * 4)
    assert list(classifier.classes) == sorted(labels)
    assert set(classifier.predict(texts)) <= set(classifier.classes)
    assert not any(isinstance(label, np.generic) for label in classifier.classes)


def test_booleans_are_labels():
    assert TextClassifier(**QUICK).fit(["one", "two"], [True, False]).classes == (False, True)


def test_members_of_a_str_enum_are_labels():
    sides = enum.Enum("sides", {"UP": "up", "DOWN": "down"}, type=str)
    classes = TextClassifier(**QUICK).fit(["one", "two"], list(sides)).classes
    assert [(type(label), label) for label in classes] == [(str, "down"), (str, "up")]


def test_texts_and_labels_may_be_arrays_of_arrow():
    arrow = pytest.importorskip("pyarrow")
    classifier = TextClassifier(**QUICK).fit(arrow.array(["one", "two"]), arrow.chunked_array([["u"], ["v"]]))
    assert classifier.classes == ("u", "v")
    assert len(classifier.predict(arrow.array(["one"]))) == 1


def test_very_few_texts_are_all_learned_from():
    classifier = TextClassifier(**QUICK).fit(["good", "bad"], [1, 0])
    assert "validation_loss" not in classifier.training.epochs[0]
    assert classifier.predict(["good"])[0] in (0, 1)


def test_texts_without_words_count_for_the_shares_only():
    texts, labels = reviews(40)
    one = TextClassifier(**QUICK | {"validation": 0.0}).fit(texts, labels)
    two = TextClassifier(**QUICK | {"validation": 0.0}).fit([*texts, "", "..."], [*labels, "negative", "negative"])
    np.testing.assert_array_equal(one.predict_proba(["good film"]), two.predict_proba(["good film"]))
    share = (labels.count("negative") + 2) / 42
    np.testing.assert_allclose(two.predict_proba([""]), [[share, 1 - share]])


def test_characters_and_tokenizers_of_your_own(tmp_path):
    texts, labels = reviews(40)
    assert TextClassifier(tokenizer="characters", **QUICK).fit(texts, labels).explain("ab").tokens == ("a", "b")
    classifier = TextClassifier(tokenizer=str.split, **QUICK).fit(texts, labels)
    assert classifier.explain("don't! go").tokens == ("don't!", "go")
    arrays = TextClassifier(tokenizer=lambda text: np.array(text.split()), **QUICK).fit(texts, labels)
    np.testing.assert_array_equal(arrays.explain("not good").effects, classifier.explain("not good").effects)
    classifier.save(tmp_path / "model")
    with pytest.raises(ValueError, match="tokenizer of its own: give load the same function"):
        TextClassifier.load(tmp_path / "model")
    loaded = TextClassifier.load(tmp_path / "model", tokenizer=str.split)
    np.testing.assert_array_equal(loaded.predict_proba(texts), classifier.predict_proba(texts))


def test_size_of_the_vocabulary():
    texts = ["a a a b b c", "a b d"] * 3
    settings = {**QUICK, "validation": 0.0}
    assert TextClassifier(**settings).fit(texts, [0, 1] * 3).vocabulary.tokens == ("a", "b", "c", "d")
    assert TextClassifier(**{**settings, "min_count": 4}).fit(texts, [0, 1] * 3).vocabulary.tokens == ("a", "b")
    assert TextClassifier(max_vocabulary=3, **settings).fit(texts, [0, 1] * 3).vocabulary.tokens == ("a",)


def test_word_vectors_are_where_embeddings_start():
    vectors = WordVectors(("good", "zebra"), np.full((2, 5), 7.0, np.float32))
    settings = {**QUICK, "embedding": None, "epochs": 1, "learning_rate": 1e-9}
    classifier = TextClassifier(**settings).fit(*reviews(20), vectors=vectors)
    weight = classifier.network.embedding.weight.numpy()
    row = classifier.vocabulary.encode(["good"])[0]
    np.testing.assert_allclose(weight[row], 7.0, atol=1e-5)
    assert weight.shape[1] == 5
    with pytest.raises(ValueError, match="the vectors have 5 numbers; embedding is 8"):
        TextClassifier(**QUICK).fit(*reviews(20), vectors=vectors)


def test_vectors_begin_with_count_ratios():
    texts, labels = reviews(40)
    settings = {**QUICK, "epochs": 1, "learning_rate": 1e-9, "validation": 0.0}
    told = TextClassifier(count_ratios=0.5, **settings).fit(texts, labels)
    untold = TextClassifier(count_ratios=0.0, **settings).fit(texts, labels)
    one, two = (model.network.embedding.weight.numpy() for model in (told, untold))
    np.testing.assert_allclose(one[:, 2:], two[:, 2:], atol=1e-6)
    ids, target = [told.vocabulary.encode(t.split()) for t in texts], [int(n == "positive") for n in labels]
    ratios = log_count_ratios(ids, np.array(target), len(told.vocabulary), 2)
    np.testing.assert_allclose(one[:, :2], 0.5 * ratios, atol=1e-6)
    assert np.abs(two[:, :2]).max() < 0.5


@pytest.mark.parametrize(
    ("texts", "labels", "error", "message"),
    [
        ("good bad", [1, 0], TypeError, "texts is a str; expected a list of str"),
        (7, [1, 0], TypeError, "texts is a int"),
        (["good", 3], [1, 0], TypeError, "text 1 is a int, 3; expected a str"),
        (["good", None], [1, 0], TypeError, "text 1 is a NoneType, None"),
        (["good", b"bad"], [1, 0], TypeError, "text 1 is a bytes"),
        ([], [], ValueError, "there are no texts"),
        (["good"], [1, 0], ValueError, "1 texts and 2 labels; expected as many"),
        (["good", "bad"], [1, 1], ValueError, "all 2 labels are 1; expected at least two"),
        (["good", "bad", "fine"], [1, None, 0], ValueError, "1 texts have no label: 1; label them or leave them out"),
        (["good", "bad", "fine"], [1.0, float("nan"), 0.0], ValueError, "have no label: 1"),
        (["good", "bad", "fine"], ["a", "", "b"], ValueError, "have no label: 1"),
        (["good", "bad"], [1, "a"], TypeError, "labels are of kind number, str; expected all str or all numbers"),
        (["good", "bad"], [(1,), (2,)], TypeError, "labels are of kind tuple"),
        (["good", "bad"], [Fraction(1), Fraction(2)], TypeError, "labels are of kind Fraction"),  # not for files
        ({"good": 1, "bad": 0}, [1, 0], TypeError, "texts is a dict; expected a list of str"),
        (["", "..."], [1, 0], ValueError, "there is no word that comes min_count=1 times in the 2 texts"),
        (["good", "..."], [1, 0], ValueError, "all texts with a word that comes min_count=1 times have the label 1"),
    ],
)
def test_bad_data(texts, labels, error, message):
    with pytest.raises(error, match=message):
        TextClassifier(**QUICK).fit(texts, labels)


def test_rare_words_only():
    with pytest.raises(ValueError, match="there is no word that comes min_count=2 times"):
        TextClassifier(**{**QUICK, "min_count": 2}).fit(["good", "bad"], [1, 0])


def test_word_vectors_of_no_word():
    classifier = TextClassifier(**QUICK | {"embedding": None})
    with pytest.raises(ValueError, match=r"0 of \d+ words are known"):
        classifier.fit(*reviews(20), vectors=WordVectors(("zebra",), np.ones((1, 5), np.float32)))
    assert classifier.network is None


def test_subwords_without_their_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"subwords need tokenizers .*: pip install 'xprnn\[text\]'"):
        TextClassifier(tokenizer='{"model": {}}')
