"""TextClassifier: weights of texts and classes, the best labels, probabilities that are as often right as they say."""

import numpy as np
import pytest
from reviews import QUICK, reviews

from xprnn.estimators import TextClassifier
from xprnn.train import read_tensors, write_tensors

EASY = {"embedding": 8, "hidden": 8, "dropout": 0.0, "word_dropout": 0.0, "learning_rate": 1e-2, "validation": 0}


def rare():
    """Two words that both labels use, one of which four times as often: without weights all is "down"."""
    texts = ["film"] * 50
    return texts, ["down"] * 40 + ["up"] * 10


def test_texts_of_weight_zero_are_left_out():
    texts, labels = reviews(30)
    weight = np.ones(34)
    weight[30:] = 0.0
    one = TextClassifier(**QUICK).fit([*texts, "odd", "odd", "odd", "odd"], [*labels, "a", "b", "a", "b"], weight)
    two = TextClassifier(**QUICK).fit(texts, labels)
    assert one.classes == two.classes
    np.testing.assert_array_equal(one.predict_proba(texts), two.predict_proba(texts))


def test_a_text_counts_as_much_as_its_weight():
    texts, labels = rare()
    options = EASY | {"epochs": 60, "count_ratios": 0.0, "batch_size": 50}
    weighted = TextClassifier(**options).fit(texts, labels, [4.0 if label == "up" else 1.0 for label in labels])
    np.testing.assert_allclose(weighted.predict_proba(["film", "zzt"]), [[0.5, 0.5]] * 2, atol=0.03)


@pytest.mark.parametrize("weights", ["balanced", {"up": 4.0}])
def test_weights_of_classes_are_how_much_they_count(weights):
    texts, labels = rare()
    options = EASY | {"epochs": 60, "count_ratios": 0.0, "batch_size": 50}
    plain = TextClassifier(**options).fit(texts, labels)
    weighted = TextClassifier(class_weight=weights, **options).fit(texts, labels)
    np.testing.assert_allclose(plain.predict_proba(["film"]), [[0.8, 0.2]], atol=0.03)
    np.testing.assert_allclose(weighted.predict_proba(["film"]), [[0.5, 0.5]], atol=0.03)
    np.testing.assert_allclose(weighted.predict_proba(["zzt"]), [[0.8, 0.2]])  # the shares that there were


@pytest.mark.parametrize(
    ("options", "weight", "message"),
    [
        ({}, np.ones(3), r"sample_weight has shape \(3,\); expected \(50,\), one for each text"),
        ({}, [-1.0] * 50, "sample_weight of row 0 is -1.0"),
        ({"class_weight": {"left": 2}}, None, "class_weight has 'left'; expected labels of y"),
        ({"class_weight": "much"}, None, "class_weight is 'much'; expected None, 'balanced' or a dict"),
        ({"monitor": "f1", "validation": 0}, None, "monitor is 'f1', but validation is 0"),
    ],
)
def test_bad_weights(options, weight, message):
    with pytest.raises(ValueError, match=message):
        TextClassifier(**options).fit(*rare(), weight)


def test_the_best_labels_come_first_with_their_probabilities():
    texts, labels = reviews(40)
    labels = [f"{label} {k % 2}" for k, label in enumerate(labels)]
    classifier = TextClassifier(**QUICK).fit(texts, labels)
    shares, best = classifier.predict_proba(texts), classifier.predict_best(texts, 3)
    assert [row[0][0] for row in best] == classifier.predict(texts).tolist()
    for row, share in zip(best, shares, strict=True):
        assert [p for _, p in row] == sorted(share, reverse=True)[:3]
        assert all(p == share[classifier.classes.index(label)] for label, p in row)
    assert len(classifier.predict_best(texts[:1], 9)[0]) == 4
    assert classifier.predict_best([], 1) == []
    with pytest.raises(ValueError, match="TextClassifier.predict_best: n is 0"):
        classifier.predict_best(texts, 0)


def test_probabilities_have_the_temperature_of_the_part_held_out(tmp_path):
    """Trained to the end on little, a network is too sure; the temperature says so, and goes into the file."""
    texts, labels = reviews(60)
    labels = [label if k % 5 else "positive" for k, label in enumerate(labels)]  # some of them wrong
    options = {**QUICK, "epochs": 10, "validation": 0.3, "patience": 10}
    plain, calibrated = (TextClassifier(calibrate=c, **options).fit(texts, labels) for c in (False, True))
    probabilities = calibrated.predict_proba(texts)
    said, scaled = np.log(plain.predict_proba(texts)), np.log(probabilities)
    ratios = (scaled[:, 0] - scaled[:, 1]) / (said[:, 0] - said[:, 1])
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-4)
    assert abs(ratios[0] - 1.0) > 0.01
    assert np.array_equal(plain.predict(texts), calibrated.predict(texts))
    calibrated.save(tmp_path / "model")
    np.testing.assert_array_equal(TextClassifier.load(tmp_path / "model").predict_proba(texts), probabilities)
    arrays, metadata = read_tensors(tmp_path / "model")
    np.testing.assert_allclose(1.0 / arrays["temperature"], ratios[0], rtol=1e-4)
    write_tensors(tmp_path / "model", arrays | {"temperature": np.zeros(1)}, metadata)
    with pytest.raises(ValueError, match="temperature is"):
        TextClassifier.load(tmp_path / "model")
