"""Columns of tables are known by the names that they were fitted with."""

import numpy as np
import pytest

from xprnn.estimators import AnomalyDetector, SequenceClassifier, SequenceRegressor, SequenceTagger

TINY = {"hidden": 2, "epochs": 1}
TABLE = {"a": [0.0, 1.0, 2.0, 3.0], "b": [5.0, 5.5, 4.0, 4.5], "c": [9.0, 7.0, 8.0, 9.5]}
VALUES = np.stack(list(TABLE.values()), axis=1)
Y = [0, 1, 0, 1]


def pandas_frame(columns):
    return pytest.importorskip("pandas").DataFrame(columns)


def polars_frame(columns):
    return pytest.importorskip("polars").DataFrame(columns)


def arrow_table(columns):
    return pytest.importorskip("pyarrow").table(columns)


@pytest.mark.parametrize("form", [dict, pandas_frame, polars_frame, arrow_table])
def test_columns_in_another_order_are_refused(form, tmp_path):
    model = SequenceClassifier(**TINY).fit(form(TABLE), Y)
    assert model.feature_names_in_.dtype == object
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    model.save(tmp_path / "model")
    for each in (model, SequenceClassifier.load(tmp_path / "model")):
        assert each.predict_proba(form(TABLE)).shape == (4, 2)
        with pytest.raises(ValueError, match="must be in the same order as they were in fit"):
            each.predict_proba(form({name: TABLE[name] for name in "cab"}))


@pytest.mark.parametrize(
    "estimator", [SequenceClassifier(**TINY), SequenceRegressor(**TINY), AnomalyDetector(**TINY)], ids=repr
)
def test_names_as_scikit_learn_checks_them(estimator):
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    checks.check_dataframe_column_names_consistency(type(estimator).__name__, estimator)


def test_each_method_says_which_names_are_wrong():
    model = SequenceTagger(**TINY, bidirectional=False).fit(TABLE, [[0, 1, 0]] * 4)
    other = {"a": TABLE["a"], "d": TABLE["b"], "c": TABLE["c"]}
    with pytest.raises(
        ValueError, match="(?s)^SequenceTagger.score: .*unseen at fit time:\n- d\n.*now missing:\n- b\n"
    ):
        model.score(other, [[0, 1, 0]] * 4)
    with pytest.raises(ValueError, match="(?s)^SequenceTagger.predict: .*now missing:\n- c\n"):
        model.predict({"a": TABLE["a"], "b": TABLE["b"]})


def test_names_on_one_side_alone_cannot_be_held_against_the_other():
    named, unnamed = SequenceRegressor(**TINY).fit(TABLE, Y), SequenceRegressor(**TINY).fit(VALUES, Y)
    assert not hasattr(unnamed, "feature_names_in_")
    assert not hasattr(SequenceRegressor(), "feature_names_in_")
    with pytest.warns(UserWarning, match="X does not have valid feature names.*fitted with") as found:
        np.testing.assert_array_equal(named.predict(VALUES), named.predict(TABLE))
    assert found[0].filename == __file__
    with pytest.warns(UserWarning, match="X has feature names.*fitted without"):
        unnamed.predict(TABLE)
    named.fit(VALUES, Y)
    assert not hasattr(named, "feature_names_in_")


@pytest.mark.parametrize("form", [dict, pandas_frame, polars_frame, arrow_table])
def test_tables_of_a_list_have_their_columns_in_one_order(form, tmp_path):
    whole, other = form(TABLE), form({name: TABLE[name] for name in "bac"})
    model = SequenceClassifier(**TINY).fit([whole] * 4, Y)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert model.n_features_in_ == 3
    model.save(tmp_path / "model")
    for each in (model, SequenceClassifier.load(tmp_path / "model")):
        np.testing.assert_array_equal(each.predict([whole]), each.predict([VALUES]))
        with pytest.raises(ValueError, match="must be in the same order as they were in fit"):
            each.predict([other])
    with pytest.raises(ValueError, match="fit: row 2 has columns 'b', 'a', 'c'; expected 'a', 'b', 'c', as row 1"):
        model.fit([VALUES, whole, other, whole], Y)


def test_columns_called_by_numbers_have_no_names_and_a_mixture_is_refused():
    numbered = dict(enumerate(TABLE.values()))
    model = SequenceRegressor(**TINY).fit(pandas_frame(numbered), Y)
    assert not hasattr(model, "feature_names_in_")
    with pytest.raises(TypeError, match="SequenceRegressor.fit: X has columns called by int, str; expected text"):
        model.fit(pandas_frame(numbered).rename(columns={0: "a"}), Y)


def test_files_without_names_load(tmp_path):
    from xprnn.storage import read_tensors, write_tensors

    model = SequenceRegressor(**TINY).fit(TABLE, Y)
    model.save(tmp_path / "model")
    arrays, metadata = read_tensors(tmp_path / "model")
    names = metadata.pop("feature_names")
    write_tensors(tmp_path / "old", arrays, metadata)
    assert not hasattr(SequenceRegressor.load(tmp_path / "old"), "feature_names_in_")
    for wrong in (names[:2], [1, 2, 3], "abc"):
        write_tensors(tmp_path / "wrong", arrays, metadata | {"feature_names": wrong})
        with pytest.raises(ValueError, match="feature_names"):
            SequenceRegressor.load(tmp_path / "wrong")
