"""Estimators of sequences: tasks with known answers, and what must not change an answer."""

import pickle
from functools import cache

import numpy as np
import pytest

from xprnn.estimators import AnomalyDetector, SequenceClassifier, SequenceRegressor, SequenceTagger
from xprnn.estimators.cells import cells
from xprnn.estimators.metrics import accuracy, balanced_accuracy, macro_f1, mean_absolute_error, r_squared
from xprnn.estimators.sequences.calibration import class_temperature, label_temperature, sigmoid, softmax
from xprnn.train import Callback

X = np.random.default_rng(0).normal(size=(60, 5, 2))
FIRST = np.where(X[:, 0, 0] > 0, "up", "down")  # what the first step said, to be remembered
BOTH = np.stack([X[:, 0, 0] > 0, X[:, -1, 1] > 0], axis=1).astype(int)
TAGS = np.where(X[:, :, 0] > 0, 3, -1)
RAGGED = [row[: 2 + k % 4] for k, row in enumerate(X)]
TINY = {"hidden": 4, "epochs": 2}
QUICK = {"hidden": 16, "epochs": 40, "learning_rate": 0.03, "batch_size": 16}
FITTED = {
    "classes": (SequenceClassifier, FIRST, "predict_proba"),
    "labels": (SequenceClassifier, BOTH, "predict_proba"),
    "numbers": (SequenceRegressor, X[:, 0, 0], "predict"),
    "tags": (SequenceTagger, [row[: 2 + k % 4] for k, row in enumerate(TAGS)], "predict_proba"),
    "anomalies": (AnomalyDetector, None, "score_samples"),
}
each = pytest.mark.parametrize("name", FITTED)


@cache
def fitted(name, **options):
    """One that has learned a little from sequences of several lengths, and what it says of them."""
    kind, y, method = FITTED[name]
    model = kind(**TINY | options).fit(RAGGED, y)
    return model, lambda other, rows=RAGGED: getattr(other, method)(rows)


def test_it_learns_what_the_first_step_said():
    classifier = SequenceClassifier(**QUICK).fit(X, FIRST)
    assert classifier.score(X, FIRST) > 0.95
    assert classifier.classes_.tolist() == ["down", "up"]
    assert classifier.predict(X).dtype == FIRST.dtype
    assert (classifier.n_features_in_, classifier.name) == (2, "xprnn gru")


def test_it_learns_several_labels():
    classifier = SequenceClassifier(pooling="max", bidirectional=True, **QUICK).fit(X, BOTH)
    assert accuracy(BOTH.ravel(), classifier.predict(X).ravel()) > 0.9
    assert classifier.score(X, BOTH) == accuracy(BOTH, classifier.predict(X))
    assert classifier.classes_.tolist() == [0, 1]


def test_it_learns_numbers():
    y = np.stack([X[:, 0, 0], 100.0 + 5.0 * X[:, :, 1].mean(axis=1)], axis=1)
    regressor = SequenceRegressor(**QUICK).fit(X, y)
    assert regressor.score(X, y) > 0.8
    assert regressor.predict(X[:3]).shape == (3, 2)
    assert SequenceRegressor(**TINY).fit(X, y[:, 0]).predict(X[:3]).shape == (3,)


def test_it_learns_a_label_each_step():
    tagger = SequenceTagger(**QUICK).fit(X, TAGS)
    assert tagger.score(X, TAGS) > 0.95
    assert tagger.predict(X).shape == TAGS.shape
    assert tagger.predict(list(X))[0].tolist() == tagger.predict(X)[0].tolist()
    assert tagger.predict_proba(RAGGED)[1].shape == (3, 2)


@pytest.mark.parametrize("kind", ["forecast", "reconstruction"])
def test_it_sees_what_is_unlike_the_rest(kind):
    draws = np.random.default_rng(0)
    waves = np.sin(np.arange(12.0) + draws.uniform(0, 6, size=(80, 1))) + 0.05 * draws.normal(size=(80, 12))
    detector = AnomalyDetector(kind=kind, contamination=0.1, **QUICK).fit(waves)
    assert (detector.predict(waves) == -1).sum() == 8
    broken = waves[:20].copy()
    broken[:, 6] += 3.0
    assert (detector.predict(broken) == -1).all()
    np.testing.assert_allclose(detector.decision_function(waves), detector.score_samples(waves) - detector.offset_)
    errors = detector.step_errors(broken)
    np.testing.assert_allclose([-row.mean() for row in errors], detector.score_samples(broken))
    if kind == "forecast":
        assert (np.stack(errors).argmax(axis=1) == 6).mean() > 0.8


@each
def test_a_file_holds_all_of_it(name, tmp_path):
    model, said = fitted(name)
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model")
    np.testing.assert_array_equal(
        np.concatenate(said(loaded)[:3], axis=None), np.concatenate(said(model)[:3], axis=None)
    )
    assert loaded.settings == model.settings
    assert loaded.n_features_in_ == model.n_features_in_ == 2
    if hasattr(model, "classes_"):
        assert loaded.classes_.dtype == model.classes_.dtype
        assert loaded.classes_.tolist() == model.classes_.tolist()


@each
def test_what_is_said_of_a_sequence_does_not_depend_on_those_beside_it(name):
    model, said = fitted(name)
    together = said(model)
    for k in (0, 1, 7):
        np.testing.assert_allclose(said(model, [RAGGED[k]])[0], together[k], rtol=1e-5, atol=1e-7)


@each
def test_a_pickled_one_says_the_same(name):
    model, said = fitted(name)
    again = said(pickle.loads(pickle.dumps(model)))
    assert all(np.array_equal(a, b) for a, b in zip(again, said(model), strict=True))


@each
def test_the_same_seed_gives_the_same_numbers(name):
    one, two, other = (fitted.__wrapped__(name, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one[1](one[0]), two[1](two[0]), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one[1](one[0]), other[1](other[0]), strict=True))


@each
def test_a_failed_fit_leaves_it_as_it_was(name):
    class Stop(Callback):
        def on_batch_end(self, run):
            raise KeyboardInterrupt

    model, _ = fitted(name)
    before, (_, y, _) = dict(vars(model)), FITTED[name]
    with pytest.raises(KeyboardInterrupt):
        model.fit(RAGGED, y, callbacks=[Stop()])
    with pytest.raises(ValueError, match="row 0"):
        model.fit([np.full((2, 2), np.nan), *RAGGED[1:]], y)
    assert vars(model).keys() == before.keys()
    assert all(value is before[part] for part, value in vars(model).items())


@each
def test_before_fit_and_with_other_features(name):
    kind, _, method = FITTED[name]
    with pytest.raises(RuntimeError, match=rf"{kind.__name__}: fit it first"):
        getattr(kind(), method)(X)
    for attribute in ("classes_", "n_features_in_", "offset_"):
        assert not hasattr(kind(), attribute)
    model, said = fitted(name)
    with pytest.raises(ValueError, match=rf"X has 3 features, but {kind.__name__} is expecting 2 features as input"):
        said(model, np.ones((2, 4, 3)))


@pytest.mark.parametrize("cell", cells())
def test_every_cell(cell, tmp_path):
    model = SequenceClassifier(cell, layers=2, bidirectional=True, pooling="attention", dropout=0.2, **TINY)
    model.fit(X, FIRST).save(tmp_path / "model")
    np.testing.assert_array_equal(SequenceClassifier.load(tmp_path / "model").predict_proba(X), model.predict_proba(X))


def test_a_table_cut_into_steps_is_what_its_array_is():
    flat, options = X.reshape(60, 10), {"validation": 0.0, **TINY}
    one, other = SequenceClassifier(**options).fit(X, FIRST), SequenceClassifier(steps=5, **options).fit(flat, FIRST)
    np.testing.assert_array_equal(other.predict_proba(flat), one.predict_proba(X))
    assert other.n_features_in_ == 10
    with pytest.raises(ValueError, match="X has 5 features, but SequenceClassifier is expecting 10"):
        other.predict(flat[:, :5])


@pytest.mark.parametrize("name", ["classes", "labels", "numbers", "tags"])
def test_sequences_of_weight_zero_are_not_there(name):
    kind, y, method = FITTED[name]
    chosen = np.arange(60) % 3 > 0
    some = [row for row, kept in zip(RAGGED, chosen, strict=True) if kept]
    wanted = [label for label, kept in zip(y, chosen, strict=True) if kept]
    weighted = kind(**TINY).fit(RAGGED, y, chosen.astype(float))
    without = kind(**TINY).fit(some, wanted, np.full(40, 3.0))
    for a, b in zip(getattr(weighted, method)(RAGGED), getattr(without, method)(RAGGED), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceTagger])
def test_weights_of_classes_move_the_answers(kind):
    noise = np.random.default_rng(0).normal(size=(80, 3))
    y = np.repeat([[0, 0, 0, 1]], 20, axis=0).ravel()
    y = y if kind is SequenceClassifier else np.repeat(y[:, None], 3, axis=1)
    said = []
    for weight in (None, "balanced", {0: 1e-4, 1: 1000.0}):
        model = kind(class_weight=weight, validation=0, hidden=4, epochs=40, batch_size=40, learning_rate=0.05).fit(
            noise, y
        )
        said.append(np.mean(model.predict(noise) == 1))
    assert said[0] < 0.1 < said[1]
    assert said[2] == 1.0
    with pytest.raises(ValueError, match=r"class_weight has 'up'; expected labels of y, \[0, 1\]"):
        kind(class_weight={"up": 2.0}).fit(noise, y)


def test_balanced_weights_of_several_labels():
    noise, y = np.random.default_rng(1).normal(size=(80, 3)), np.zeros((80, 2), int)
    y[::8, 0], y[::2, 1] = 1, 1
    options = {"validation": 0, "hidden": 4, "epochs": 40, "batch_size": 40, "learning_rate": 0.05}
    plain, balanced = (
        SequenceClassifier(class_weight=w, **options).fit(noise, y).predict_proba(noise).mean(axis=0)
        for w in (None, "balanced")
    )
    assert plain[0] < 0.3 < balanced[0]
    with pytest.raises(ValueError, match="class_weight is a dict; expected None or 'balanced' for several labels"):
        SequenceClassifier(class_weight={0: 1.0}).fit(noise, y)


@pytest.mark.parametrize(
    ("kind", "y", "monitor"),
    [
        (SequenceClassifier, FIRST, "accuracy"),
        (SequenceClassifier, BOTH, "f1"),
        (SequenceTagger, TAGS, "balanced_accuracy"),
        (SequenceRegressor, X[:, 0, 0], "r2"),
        (SequenceRegressor, X[:, 0, 0], "mae"),
    ],
)
def test_it_stops_by_the_measure_that_it_is_told(kind, y, monitor):
    model = kind(hidden=4, epochs=30, patience=2, learning_rate=0.1, monitor=monitor, validation=0.3).fit(X, y)
    values = model.training[f"validation_{monitor}"]
    best = np.argmin(values) if monitor == "mae" else np.argmax(values)
    assert len(values) == 30 or len(values) == best + 3


@pytest.mark.parametrize("several", [False, True])
def test_the_temperature_is_found(several):
    draws = np.random.default_rng(1)
    logits = draws.normal(size=(20_000, 3)) * 2.0
    if several:
        found = label_temperature(3.0 * logits, draws.random(logits.shape) < sigmoid(logits), np.ones(20_000))
    else:
        cumulated = softmax(logits).cumsum(axis=1)
        target = (draws.random((20_000, 1)) > cumulated).sum(axis=1).clip(0, 2)
        found = class_temperature(3.0 * logits, target, np.ones(20_000))
    assert found == pytest.approx(3.0, rel=0.05)
    few = (
        label_temperature(logits[:2], logits[:2] > 0, np.ones(2))
        if several
        else class_temperature(logits[:2], logits[:2].argmax(axis=1), np.ones(2))
    )
    assert few > 0.1  # two that are right make nothing certain


def test_calibrated_probabilities_keep_the_answers():
    plain, calibrated = (SequenceClassifier(calibrate=c, **TINY).fit(X, FIRST) for c in (False, True))
    np.testing.assert_array_equal(plain.predict(X), calibrated.predict(X))
    logits = [np.log(model.predict_proba(X)) @ [1, -1] for model in (plain, calibrated)]
    ratio = logits[0] / logits[1]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
    assert ratio[0] != pytest.approx(1.0)


def test_measures():
    metrics = pytest.importorskip("sklearn.metrics")
    draws = np.random.default_rng(2)
    a, b, w = draws.integers(0, 3, 50), draws.integers(0, 3, 50), draws.random(50)
    assert accuracy(a, b, w) == pytest.approx(metrics.accuracy_score(a, b, sample_weight=w))
    assert balanced_accuracy(a, b, w) == pytest.approx(metrics.balanced_accuracy_score(a, b, sample_weight=w))
    assert macro_f1(a, b, w) == pytest.approx(metrics.f1_score(a, b, average="macro", sample_weight=w))
    a, b = draws.integers(0, 2, (50, 3)), draws.integers(0, 2, (50, 3))
    assert accuracy(a, b) == pytest.approx(metrics.accuracy_score(a, b))
    assert macro_f1(a, b) == pytest.approx(metrics.f1_score(a, b, average="macro"))
    a, b = draws.normal(size=(50, 2)), draws.normal(size=(50, 2))
    assert r_squared(a, b, w) == pytest.approx(metrics.r2_score(a, b, sample_weight=w))
    assert mean_absolute_error(a, b, w) == pytest.approx(metrics.mean_absolute_error(a, b, sample_weight=w))
    assert r_squared(np.ones((3, 1)), np.ones((3, 1))) == 1.0


def test_scores_refuse_labels_of_another_kind():
    model, _ = fitted("classes")
    with pytest.raises(ValueError, match="none of the labels is known"):
        model.score(RAGGED, np.zeros(60))
    with pytest.raises(ValueError, match=r"score: y has shape \(59,\); expected \(60,\)"):
        model.score(RAGGED, FIRST[:-1])
    regressor, _ = fitted("numbers")
    with pytest.raises(ValueError, match="y has 2 columns; fitted on 1"):
        regressor.score(RAGGED, np.ones((60, 2)))
    assert fitted("tags")[0].score([X[0]], [TAGS[0]]) <= 1.0  # of one class only too


@pytest.mark.parametrize("name", ["classes", "tags", "anomalies"])
def test_it_runs_on_array_api_strict(name):
    pytest.importorskip("array_api_strict")
    (here, said), (there, _) = fitted(name), fitted(name, backend="array_api_strict")
    for a, b in zip(said(there), said(here), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@each
def test_values_far_from_all_that_were_seen_are_answered(name):
    """Beyond float32 they became infinite, and answers NaN."""
    model, said = fitted(name)
    for far in (1e45, 1e200):
        with np.errstate(over="ignore"):  # of squares
            assert not np.isnan(np.concatenate([np.ravel(part) for part in said(model, [far * X[0]])])).any()
    if name == "anomalies":
        with np.errstate(over="ignore"):
            assert (model.predict([1e200 * X[0]]) == -1).all()
