"""The TextClassifier: what it learns, what it admits not to know, and what it survives."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from reviews import QUICK, reviews

from xprnn import use_backend
from xprnn.data import Vocabulary
from xprnn.estimators import NaiveBayes, TextClassifier
from xprnn.estimators.labels import hold_out
from xprnn.train import write_tensors


@pytest.fixture(scope="module")
def fitted():
    settings = {"embedding": 16, "hidden": 16, "dropout": 0.1, "learning_rate": 1e-2, "epochs": 15}
    return TextClassifier(pooling="attention", seed=0, **settings).fit(*reviews(600))


def test_it_learns_what_a_bag_of_words_cannot(fitted):
    assert fitted.score(*reviews(300, seed=1)) > 0.97
    assert fitted.classes == ("negative", "positive")


@pytest.mark.parametrize("options", [{"cell": "lstm", "pooling": "last"}, {"cell": "rnn", "pooling": "mean"}, {}])
def test_every_cell_and_pooling_learns(options):
    settings = {"embedding": 16, "hidden": 16, "dropout": 0.0, "learning_rate": 1e-2, "epochs": 15, "patience": 15}
    assert TextClassifier(**options, **settings).fit(*reviews(600)).score(*reviews(300, seed=1)) > 0.9


@pytest.mark.parametrize("options", [{"layers": 2}, {"bidirectional": False, "pooling": "last"}, {"dtype": "float64"}])
def test_other_shapes_of_network(options):
    texts, labels = reviews(40)
    found = TextClassifier(**QUICK, **options).fit(texts, labels).predict_proba(texts)
    assert found.shape == (40, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_probabilities_and_labels_agree(fitted):
    texts, _ = reviews(300, seed=2)
    found = fitted.predict_proba(texts)
    assert fitted.predict(texts).tolist() == [fitted.classes[k] for k in found.argmax(axis=1)]


def test_a_text_is_predicted_as_if_alone(fitted):
    """Other texts in the batch, and their lengths, change nothing."""
    texts = ["good", "the film is not good and it was made by the people who meet in some town", "bad film"]
    together = fitted.predict_proba(texts)
    np.testing.assert_allclose(together, [fitted.predict_proba([text])[0] for text in texts], atol=1e-6)
    np.testing.assert_allclose(together[::-1], fitted.predict_proba(texts[::-1]), atol=1e-6)


def test_a_long_text_among_short_ones_costs_no_more_than_alone(fitted):
    long, short = "not a good film " * 5000, ["bad film", "good film"] * 100

    def peak(texts):
        tracemalloc.start()
        found = fitted.predict_proba(texts)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found, size

    (alone, least), (together, most) = peak([long]), peak([*short[:99], long, *short[99:]])
    np.testing.assert_allclose(together[99], alone[0], atol=1e-6)
    np.testing.assert_allclose(np.delete(together, 99, axis=0), fitted.predict_proba(short), atol=1e-6)
    assert most < 2 * least


def test_no_known_word_is_no_evidence(fitted):
    texts = ["qwx zzt", "", " \n", "...", "?!", "a good film", "qwx good"]
    evidence = [False] * 5 + [True] * 2
    assert fitted.has_evidence(texts).tolist() == evidence
    assert [label is not None for label in fitted.predict(texts, unknown="none")] == evidence
    labels = reviews(600)[1]
    shares = [labels.count(name) / 600 for name in fitted.classes]
    np.testing.assert_allclose(fitted.predict_proba(texts)[:5], [shares] * 5)


def test_a_known_punctuation_mark_is_no_evidence():
    classifier = TextClassifier(**QUICK).fit(["good !", "bad .", "fine !", "awful ."], [1, 0, 1, 0])
    assert classifier.predict(["!", ". . ."], unknown="none").tolist() == [None, None]


@pytest.mark.parametrize("kind", [TextClassifier, NaiveBayes])
def test_without_evidence_the_most_frequent_label_is_said(kind):
    classifier = kind(**QUICK if kind is TextClassifier else {})
    classifier.fit(["good", "fine", "bad"], ["up", "up", "down"])
    assert classifier.predict(["zzt", "", "bad"]).tolist() == ["up", "up", "down"]
    assert classifier.predict(["zzt"]).dtype.kind == "U"
    silent = classifier.predict(["zzt", "bad"], unknown="none")
    assert (silent.tolist(), silent.dtype) == ([None, "down"], object)
    assert classifier.score(["zzt", "bad"], ["up", "down"]) == 1.0
    assert classifier.score(["zzt", "bad"], ["up", "down"], unknown="none") == 0.5
    with pytest.raises(ValueError, match="predict: unknown is None; expected one of 'frequent', 'none'"):
        classifier.predict(["bad"], unknown=None)


def test_no_evidence_is_never_right(fitted):
    assert fitted.score(["", "a good film"], ["negative", "positive"]) == 0.5
    assert fitted.score(["", "a good film"], ["negative", "positive"], [1.0, 3.0]) == 0.75
    with pytest.raises(ValueError, match=r"score: sample_weight has shape \(1,\); expected \(2,\), one for each text"):
        fitted.score(["", "a good film"], ["negative", "positive"], [1.0])


def test_explain_finds_the_words_that_matter(fitted):
    found = fitted.explain("The film is not good zzt")
    assert found.tokens == ("the", "film", "is", "not", "good", "zzt")
    assert found.known == (True,) * 5 + (False,)
    assert found.label == "negative"
    assert found.probability == pytest.approx(fitted.predict_proba(["The film is not good zzt"])[0, 0])
    assert found.effects.argmax() == 3  # without "not" it would be positive
    assert found.effects[3] > 2.0
    assert found.attention.sum() == pytest.approx(1.0, abs=1e-6)
    assert found.attention.argmax() in (3, 4)


def test_effects_are_differences_of_log_odds(fitted):
    full, without = (fitted.predict_proba([text])[0, 1] for text in ("a good film", "a film"))
    expected = np.log(full / (1 - full)) - np.log(without / (1 - without))
    assert fitted.explain("a good film").effects[1] == pytest.approx(expected, rel=1e-4)


def test_explain_without_evidence(fitted):
    found = fitted.explain("zzt")
    assert (found.label, found.effects.tolist(), found.attention) == (None, [0.0], None)
    assert fitted.explain("").tokens == ()
    assert fitted.explain("good").effects.shape == (1,)


def test_explain_without_attention():
    assert TextClassifier(**QUICK).fit(*reviews(20)).explain("a good film").attention is None


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_same_seed_same_bits(pooling):
    def run(seed):
        return TextClassifier(**{**QUICK, "seed": seed, "pooling": pooling}).fit(*reviews(60)).predict_proba(["a good"])

    assert np.array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))


def test_what_is_held_out_reaches_neither_vocabulary_nor_weights():
    """Other words in the texts of the dev part change nothing but when training stops."""
    texts, labels = reviews(60)
    target = np.array([label == "positive" for label in labels], np.int64)
    held = hold_out(target, 0.2, np.random.default_rng(1))
    assert held.sum() == round(0.2 * (target == 0).sum()) + round(0.2 * (target == 1).sum())
    settings = {**QUICK, "validation": 0.2, "epochs": 1}
    one = TextClassifier(**settings).fit(texts, labels)
    other = [text + " good zebra" if hidden else text for text, hidden in zip(texts, held, strict=True)]
    two = TextClassifier(**settings).fit(other, labels)
    assert "zebra" not in two.vocabulary
    assert np.array_equal(one.predict_proba(texts), two.predict_proba(texts))


def test_save_and_load(fitted, tmp_path):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    loaded = TextClassifier.load(path)
    texts = [*reviews(50, seed=3)[0], "", "zzt"]
    assert np.array_equal(loaded.predict_proba(texts), fitted.predict_proba(texts))
    assert loaded.predict(texts).tolist() == fitted.predict(texts).tolist()
    assert (loaded.settings, loaded.classes) == (fitted.settings, fitted.classes)
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_loading_something_else_is_refused(fitted, tmp_path):
    path = tmp_path / "other.safetensors"
    write_tensors(path, {"a": np.zeros(3)}, {"kind": "forecaster", "version": 1})
    with pytest.raises(ValueError, match='not a text classifier of version 1, but "forecaster"'):
        TextClassifier.load(path)
    fitted.save(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="truncated, corrupt"):
        TextClassifier.load(path)
    with pytest.raises(FileNotFoundError):
        TextClassifier.load(tmp_path / "none")


def test_bad_texts_to_predict(fitted):
    with pytest.raises(TypeError, match="predict: texts is a str"):
        fitted.predict("good")
    table = pytest.importorskip("pandas").DataFrame({"text": ["a good film"]})
    with pytest.raises(
        TypeError, match=r"predict: texts is a DataFrame; expected a list of str: give one column of it"
    ):
        fitted.predict(table)
    with pytest.raises(TypeError, match="score: labels is a DataFrame"):
        fitted.score(["good"], table)
    with pytest.raises(TypeError, match="text 0 is a float"):
        fitted.predict_proba([1.5])
    with pytest.raises(TypeError, match="expected a str"):
        fitted.explain(b"good")
    with pytest.raises(ValueError, match="0 texts and 0 labels"):
        fitted.score([], [])
    with pytest.raises(ValueError, match="1 texts and 2 labels"):
        fitted.score(["good"], [1, 0])
    with pytest.raises(ValueError, match=r"score: none of the labels is known: \[1, 0\]; expected some of \['negative"):
        fitted.score(["good", "bad"], [1, 0])
    assert fitted.score(["a good film", "a good film"], ["positive", "other"]) == 0.5  # one that is known will do
    assert fitted.predict([]).shape == (0,)
    assert fitted.predict_proba([]).shape == (0, 2)
    assert fitted.has_evidence([]).shape == (0,)


def test_texts_of_numpy(fitted):
    assert fitted.predict(np.array(["a good film"])).tolist() == ["positive"]


def test_a_failed_fit_leaves_the_classifier_as_it_was():
    classifier = TextClassifier(**QUICK).fit(*reviews(30))
    before = classifier.predict_proba(["a good film"])
    for texts, labels in ((["a"], [1]), ([1, 2], [0, 1])):
        with pytest.raises((ValueError, TypeError)):
            classifier.fit(texts, labels)
    classifier.set_params(learning_rate=1e300)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError):
        classifier.fit(*reviews(200))
    assert np.array_equal(classifier.predict_proba(["a good film"]), before)


def test_not_fitted(tmp_path):
    classifier = TextClassifier()
    for call in (classifier.predict, classifier.predict_proba, classifier.has_evidence):
        with pytest.raises(RuntimeError, match="fit it first"):
            call(["a"])
    for call in (lambda: classifier.explain("a"), lambda: classifier.save(tmp_path / "a")):
        with pytest.raises(RuntimeError, match="fit it first"):
            call()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "gruu"}, "cell is 'gruu'; expected one of 'rnn', 'lstm', 'gru'"),
        ({"pooling": "sum"}, "pooling is 'sum'; expected one of 'attention', 'last', 'max', 'mean'"),
        ({"tokenizer": "bpe"}, "tokenizer is 'bpe'; expected 'words', 'characters' or a function"),
        ({"hidden": 0}, "hidden is 0"),
        ({"embedding": 0}, "embedding is 0"),
        ({"max_vocabulary": 2}, "max_vocabulary is 2; expected an integer of at least 3"),
        ({"min_count": 0}, "min_count is 0"),
        ({"dropout": 1.5}, "dropout is 1.5"),
        ({"word_dropout": -0.1}, "word_dropout is -0.1"),
        ({"count_ratios": -1}, "count_ratios is -1; expected a number of at least 0"),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"validation": "0.1"}, "validation is '0.1'; expected a share from 0 to below 1"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"backend": "torch"}, "backend 'torch' is unknown"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        TextClassifier(**options)


def test_it_can_be_pickled_and_copied():
    classifier = TextClassifier(backend="numpy", **QUICK).fit(*reviews(30))
    for other in (pickle.loads(pickle.dumps(classifier)), copy.deepcopy(classifier)):
        assert np.array_equal(other.predict_proba(["a good film"]), classifier.predict_proba(["a good film"]))


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_runs_on_array_api_strict(pooling):
    pytest.importorskip("array_api_strict")
    texts, labels = reviews(30)
    settings = {**QUICK, "pooling": pooling, "epochs": 1, "dtype": "float64"}
    here = TextClassifier(**settings).fit(texts, labels)
    with use_backend("array_api_strict"):
        there = TextClassifier(**settings).fit(texts, labels)
    np.testing.assert_allclose(here.predict_proba(texts), there.predict_proba(texts), rtol=1e-6)
    np.testing.assert_allclose(here.explain("not good").effects, there.explain("not good").effects, rtol=1e-4)


def test_vocabularies_are_plain(fitted):
    assert isinstance(fitted.vocabulary, Vocabulary)
    assert fitted.vocabulary.specials == ("pad", "unknown")


@pytest.mark.parametrize("given", ["no", 1, None])
def test_bidirectional_is_true_or_false(given):
    with pytest.raises(ValueError, match=f"bidirectional is {given!r}; expected True or False"):
        TextClassifier(bidirectional=given)
    assert TextClassifier(bidirectional=np.bool_(False)).settings["bidirectional"] is False
