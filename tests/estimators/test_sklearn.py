"""Estimators inside scikit-learn: its parameters, copies, tags, searches, pipelines and workers."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from xprnn.estimators import (
    AutoRegression,
    CharacterModel,
    Forecaster,
    NaiveBayes,
    Persistence,
    SeasonalNaive,
    SequenceClassifier,
    TextClassifier,
)

pytest.importorskip("sklearn")
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

SERIES = np.sin(np.arange(90.0) / 3.0)
TEXTS, LABELS = ["a good film", "a bad film", "good and good", "so bad a book"] * 6, ["up", "down", "up", "down"] * 6
TINY = {"hidden": 4, "epochs": 1}
FITTED = {
    "forecaster": (Forecaster(window=5, **TINY), (SERIES,), lambda e: e.predict(3)),
    "texts": (TextClassifier(embedding=3, **TINY), (TEXTS, LABELS), lambda e: e.predict_proba(TEXTS)),
    "characters": (
        CharacterModel(embedding=3, batch_size=4, chunk=8, **TINY),
        ("the cat sat on the mat. " * 8,),
        lambda e: e.bits_per_character("the mat"),
    ),
    "naive Bayes": (NaiveBayes(pairs=False), (TEXTS, LABELS), lambda e: e.predict_proba(TEXTS)),
    "AR": (AutoRegression(3), (SERIES,), lambda e: e.forecast(SERIES, [40], 2)),
    "seasonal": (SeasonalNaive(19), (SERIES,), lambda e: e.forecast(SERIES, [40], 2)),
    "persistence": (Persistence(), (SERIES,), lambda e: e.forecast(SERIES, [40], 2)),
}
each = pytest.mark.parametrize("name", FITTED)
learned = pytest.mark.parametrize("name", [name for name in FITTED if name not in ("seasonal", "persistence")])


@each
def test_arguments_are_copied_as_they_were_given(name):
    estimator = FITTED[name][0]
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params()
    assert all(value is getattr(copy, key) for key, value in copy.get_params(deep=False).items())
    assert repr(copy) == repr(estimator)


def test_numbers_of_numpy_are_kept_as_they_are():
    given = {"hidden": np.int64(4), "learning_rate": np.float32(0.01), "periods": [7.0]}
    forecaster = Forecaster(**given)
    assert all(forecaster.get_params()[name] is value for name, value in given.items())
    assert clone(forecaster).settings == forecaster.settings
    assert "periods=[7.0]" in repr(forecaster)
    assert repr(Forecaster()) == "Forecaster()"


def test_wrong_arguments_change_nothing():
    forecaster = Forecaster()
    before = dict(vars(forecaster))
    for wrong in ({"hidden": 8, "window": -1}, {"colour": 1}, {"horizon": 0}):
        with pytest.raises(ValueError, match=next(reversed(wrong))):
            forecaster.set_params(**wrong)
        assert vars(forecaster) == before
    assert forecaster.set_params(horizon=7, strategy="direct") is forecaster
    assert forecaster.settings["horizon"] == 7


def test_a_fitted_estimator_keeps_its_fit_until_the_next():
    forecaster = Forecaster(window=5, **TINY).fit(SERIES)
    before = forecaster.predict(3)
    forecaster.set_params(window=7, periods=(19.0,))
    np.testing.assert_array_equal(forecaster.predict(3), before)
    assert forecaster.settings["window"] == 5
    forecaster.hidden = -3
    with pytest.raises(ValueError, match="hidden is -3"):
        forecaster.fit(SERIES)
    np.testing.assert_array_equal(forecaster.predict(3), before)
    forecaster.hidden = 3
    assert (forecaster.fit(SERIES).settings["window"], forecaster.network.members[0].recurrent.hidden_size) == (7, 3)


def test_a_subclass_may_have_arguments_of_its_own():
    class Weekly(Forecaster):
        def __init__(self, weeks=1):
            super().__init__("gru", window=7 * weeks, **TINY)
            self.weeks = weeks

    weekly = clone(Weekly(2)).fit(SERIES)
    assert (weekly.settings["window"], weekly.get_params()) == (14, {"weeks": 2})
    assert weekly.set_params(weeks=1).fit(SERIES).settings["window"] == 7


def test_a_baseline_forgets_what_other_arguments_learned():
    model = AutoRegression(3).fit(SERIES).set_params(order=2)
    with pytest.raises(RuntimeError, match="fit it first"):
        model.forecast(SERIES, [40], 1)


@learned
def test_before_fit_and_after(name):
    estimator, data, used = FITTED[name]
    estimator = clone(estimator)
    with pytest.raises(NotFittedError):
        check_is_fitted(estimator)
    with pytest.raises(NotFittedError, match="fit it first") as error:
        used(estimator)
    assert isinstance(error.value, RuntimeError)
    again = pickle.loads(pickle.dumps(error.value))
    assert isinstance(again, NotFittedError)
    assert str(again) == str(error.value)
    for attribute in ("classes_", "n_features_in_"):
        assert not hasattr(estimator, attribute)
    assert estimator.fit(*data) is estimator
    check_is_fitted(estimator)


@learned
def test_a_fitted_estimator_is_pickled(name):
    estimator, data, used = FITTED[name]
    fitted = clone(estimator).fit(*data)
    np.testing.assert_array_equal(used(pickle.loads(pickle.dumps(fitted))), used(fitted))


def test_tags():
    assert is_classifier(TextClassifier())
    assert is_classifier(NaiveBayes())
    tags = get_tags(TextClassifier())
    assert (tags.input_tags.string, tags.input_tags.two_d_array, tags.target_tags.required) == (True, False, True)
    tags = get_tags(Forecaster())
    assert (tags.estimator_type, tags.input_tags.two_d_array, tags.target_tags.required) == (None, True, False)


def test_random_state_is_a_seed():
    def weights(forecaster):
        return forecaster.fit(SERIES).network.state_dict()["members.1.recurrent.weight_ih_l0"]

    one = Forecaster(window=5, seed=3, **TINY)
    other = Forecaster(window=5, random_state=np.int64(3), **TINY)
    np.testing.assert_array_equal(weights(one), weights(other))
    assert other.settings["seed"] == 3
    for make in (np.random.RandomState, np.random.default_rng):
        drawing, again = (Forecaster(window=5, random_state=make(3), **TINY) for _ in range(2))
        first = weights(drawing)
        np.testing.assert_array_equal(first, weights(again))
        assert not np.array_equal(first, weights(drawing))  # the generator has gone on


def test_a_forecaster_takes_no_target_and_is_scored():
    forecaster = Forecaster(window=5, **TINY).fit(SERIES, None)
    actual = SERIES[5:]
    error = forecaster.forecast(SERIES, np.arange(5, 90), 1)[:, 0, 0] - actual
    expected = 1.0 - np.sum(error**2) / np.sum((actual - actual.mean()) ** 2)
    assert forecaster.score(SERIES) == pytest.approx(expected)
    assert forecaster.n_features_in_ == 1
    with pytest.raises(TypeError, match=r"Forecaster.fit: y is a ndarray; expected None"):
        forecaster.fit(SERIES, SERIES)
    with pytest.raises(ValueError, match=r"score: the series has 6 steps; expected at least 7"):
        forecaster.score(SERIES[:6])


def test_a_search_over_forecasters_in_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), Forecaster(window=5, **TINY))
    search = GridSearchCV(pipeline, {"forecaster__hidden": [2, 3]}, cv=TimeSeriesSplit(2)).fit(SERIES[:, None])
    assert search.best_params_["forecaster__hidden"] in (2, 3)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_texts_in_a_pipeline_and_in_cross_validation():
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    pipeline = make_pipeline(lower, NaiveBayes()).fit(TEXTS, LABELS)
    assert accuracy_score(LABELS, pipeline.predict([text.upper() for text in TEXTS])) == 1.0
    labels = np.array([label == "up" for label in LABELS])
    assert cross_val_score(NaiveBayes(), TEXTS, labels, cv=2, scoring="roc_auc").tolist() == [1.0, 1.0]


def test_sequences_in_a_search_and_in_a_pipeline():
    X = np.random.default_rng(0).normal(size=(30, 3, 2))
    y = np.where(X[:, 0, 0] > 0, "up", "down")
    search = GridSearchCV(SequenceClassifier(**TINY), {"pooling": ["last", "max"]}, cv=2).fit(X, y)
    assert search.predict(X).dtype == y.dtype
    pipeline = make_pipeline(StandardScaler(), SequenceClassifier(steps=3, **TINY))
    assert np.isfinite(cross_val_score(pipeline, X.reshape(30, 6), y, cv=2, scoring="roc_auc")).all()
    ragged = [row[: 1 + k % 3] for k, row in enumerate(X)]
    assert np.isfinite(cross_val_score(SequenceClassifier(**TINY), ragged, y, cv=2)).all()


@pytest.mark.slow
def test_workers_have_the_threads_that_joblib_leaves_them():
    joblib = pytest.importorskip("joblib")

    def threads(*_):  # in here it is sent by value: workers need not find this file
        from xprnn.kernels.cpu.threads import workers

        return workers()

    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        used = cross_val_score(TextClassifier(embedding=3, **TINY), TEXTS, LABELS, cv=2, scoring=threads)
    assert used.tolist() == [1, 1]


def test_scikit_learn_is_never_imported():
    code = "import sys, xprnn.estimators as e; e.Forecaster().get_params(); assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
