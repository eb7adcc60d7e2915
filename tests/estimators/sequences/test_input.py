"""What estimators of sequences take for X, y and weights, and long tables."""

import enum
from datetime import datetime, timezone
from functools import partial

import numpy as np
import pytest

from xprnn.estimators import Forecaster, SequenceClassifier, SequenceRegressor, SequenceTagger, long_table
from xprnn.estimators.sequences.input import as_numbers, as_sequences, as_weights
from xprnn.estimators.sequences.targets import class_weight, host_labels, read_labels, read_tags

TABLE = np.arange(12.0).reshape(2, 6)


class NotAnArray:
    def __array__(self, dtype=None, copy=None):
        return TABLE


@pytest.mark.parametrize("form", [TABLE, TABLE.tolist(), TABLE.astype(object), TABLE.astype(np.int32), NotAnArray()])
def test_a_row_of_a_table_is_a_sequence_of_single_values(form):
    found = as_sequences("f", form)
    assert [row.tolist() for row in found.rows] == TABLE[:, :, None].tolist()
    assert (found.width, found.features) == (6, 1)


def test_a_row_of_a_table_is_cut_into_steps():
    found = as_sequences("f", TABLE, 3)
    assert found.rows[1].tolist() == [[6, 7], [8, 9], [10, 11]]
    assert (found.width, found.features) == (6, 2)


@pytest.mark.parametrize(
    "form",
    [
        [np.ones((3, 2)), np.ones((1, 2))],
        [[[1, 1], [1, 1], [1, 1]], [[1, 1]]],
        np.array([np.ones((3, 2)), np.ones((1, 2))], dtype=object),
    ],
)
def test_sequences_of_several_lengths(form):
    found = as_sequences("f", form)
    assert (found.lengths, found.features, found.width) == ([3, 1], 2, 0)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_column_of_sequences_is_a_list_of_them(library):
    made = pytest.importorskip(library).Series([[1.0, 2.0], [3.0]])
    assert [row.tolist() for row in as_sequences("f", made).rows] == [[[1.0], [2.0]], [[3.0]]]


def test_frames_of_a_list_are_tables():
    pandas = pytest.importorskip("pandas")
    found = as_sequences("f", [pandas.DataFrame({"a": [1.0, 2.0], "b": 3}), {"a": [5.0], "b": [6]}])
    assert [row.tolist() for row in found.rows] == [[[1, 3], [2, 3]], [[5, 6]]]
    with pytest.raises(TypeError, match="f: row 0 has a column of dates; leave it out"):
        as_sequences("f", [pandas.DataFrame({"t": pandas.to_datetime(["2020"]), "b": 3})])


def test_frames_are_tables():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(TABLE, index=pandas.date_range("2024-01-01", periods=2))
    assert as_sequences("f", frame).width == 6
    with pytest.raises(TypeError, match="f: X has a column of dates; .* long_table"):
        as_sequences("f", frame.reset_index())
    with pytest.raises(TypeError, match="column '2' is of .*expected numbers"):
        as_sequences("f", frame.astype({2: str}))


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.ones(3), ValueError, r"X has shape \(3,\); expected \(N, T, F\).*Reshape your data"),
        (np.ones((2, 3, 4, 5)), ValueError, r"X has shape \(2, 3, 4, 5\)"),
        (np.ones((0, 3)), ValueError, "expected at least one sequence"),
        (np.ones((2, 0, 3)), ValueError, "expected at least one sequence, step and feature"),
        ([], ValueError, "X has shape"),
        ([np.ones(3), np.ones((0,))], ValueError, r"row 1 has shape \(0,\); expected \(T, F\) or \(T,\), T at least 1"),
        ([np.ones((3, 2)), np.ones((3, 1))], ValueError, "row 1 has 1 features a step; row 0 has 2"),
        ([np.ones(2), np.array(["a"])], TypeError, "row 1 has dtype <U1; expected numbers"),
        ([np.ones(2), np.array([1, np.nan])], ValueError, "row 1, step 1, feature 0 of X is NaN"),
        (np.array([[1.0, np.inf]]), ValueError, "row 0, column 1 of X is inf"),
        (np.full((1, 2, 2), np.nan), ValueError, "row 0, step 0, feature 0 of X is NaN"),
        (np.ones((2, 2)) * 1j, ValueError, "Complex data not supported"),
        (np.array([["a", "b"]]), TypeError, "X has dtype <U1; expected numbers"),
        (np.ma.ones((2, 2)), TypeError, "a masked array"),
        ("words", TypeError, "X is a str"),
        (None, TypeError, "X is a NoneType"),
    ],
    ids=str,
)
def test_wrong_sequences(X, error, message):
    with pytest.raises(error, match=f"^f: .*{message}"):
        as_sequences("f", X)


def test_steps_are_for_tables_that_can_be_cut():
    for X, message in ((TABLE, "6 columns, which are not 4 steps"), (np.ones((2, 3, 1)), "for tables"), ([], "tables")):
        with pytest.raises(ValueError, match=message):
            as_sequences("f", X if len(X) else [np.ones(2), np.ones(3)], 4)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, -1], "of row 1 is -1.0; expected at least 0"),
        ([1, np.nan], "of row 1 is nan"),
        ([0, 0], "every sample_weight is zero"),
        ([1], r"shape \(1,\); expected \(2,\)"),
        ([[1, 1], [1, 1]], "shape"),
    ],
)
def test_wrong_weights(weights, message):
    with pytest.raises(ValueError, match=f"f: .*{message}"):
        as_weights("f", weights, 2)


def test_labels_in_all_forms():
    for y in (["b", "a"], np.array(["b", "a"]), np.array([["b"], ["a"]]), np.array(["b", "a"], dtype=object)):
        classes, target = read_labels("f", y, 2)
        assert (classes.own.tolist(), target.tolist()) == (["a", "b"], [1, 0])
    for y in (np.array([[0, 1], [1, 1]]), [[0, 1], [1, 1]], np.array([[False, True], [True, True]])):
        classes, target = read_labels("f", y, 2)
        assert (classes.several, target.tolist()) == (2, [[0, 1], [1, 1]])
        assert classes.chosen(np.array([[0.2, 0.6]])).dtype == np.asarray(y).dtype


def test_a_text_makes_no_texts_of_the_labels_beside_it():
    """As NumPy has it, where NaN would be a class of its own."""
    nothing = float("nan")
    for y in ([["a", nothing], ["b"]], [["a", "b"], [nothing]], [np.array(["a", "b"]), [nothing]]):
        with pytest.raises(ValueError, match="f: 1 steps have no label"):
            read_tags("f", y, [2, 1])
    for y in ([["a", 1], ["b"]], [["a", "b"], [1]], [["a", True], ["b"]], [np.array(["a", "b"]), np.array([1])]):
        with pytest.raises(TypeError, match="f: labels are of kind .*str; expected all str or all numbers"):
            read_tags("f", y, [2, 1])
    sides = enum.Enum("sides", {"UP": "up", "DOWN": "down"}, type=str)
    assert read_tags("f", [list(sides)], [2])[0].own.tolist() == ["down", "up"]
    assert host_labels("f", list(sides)).tolist() == ["up", "down"]


def test_what_pandas_has_for_no_label_is_none():
    pandas = pytest.importorskip("pandas")
    for y in (pandas.Series(["a", None, "b"], dtype="string"), pandas.Series([1, None, 2], dtype="Int64")):
        with pytest.raises(ValueError, match="f: 1 rows have no label: 1; label them"):
            read_labels("f", y, 3)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (None, ValueError, "requires y to be passed, but the target y is None"),
        ([0.5, 1.0], ValueError, "y is continuous, such as 0.5 in row 0.*SequenceRegressor"),
        ([np.inf, 1.0], ValueError, "y is continuous"),
        ([1.0, np.nan], ValueError, "1 rows have no label: 1"),
        ([1, 1], ValueError, "all 2 labels are 1.*not one class"),
        ([1, 2, 3], ValueError, "2 rows and 3 labels"),
        ([[0, 1], [2, 1]], ValueError, "row 1, label 0 of y is 2; expected 0 or 1"),
        ([[0, 1]], ValueError, "2 rows and 1 rows of labels"),
        ([["a", "b"], ["b", "a"]], TypeError, "expected 0 and 1 for several labels"),
        (np.ones((2, 2, 2)), ValueError, "y has shape"),
        ([[1, 2], [1]], ValueError, "y has rows of several lengths"),
        ({"a", "b"}, TypeError, "y is a set; expected a list or an array of labels"),
        ("ab", TypeError, "y is a str; expected a list or an array of labels"),
    ],
)
def test_wrong_labels(y, error, message):
    with pytest.raises(error, match=f"^f: .*{message}"):
        read_labels("f", y, 2)


def test_labels_of_steps():
    classes, tags = read_tags("f", [["a", "b"], ["b"]], [2, 1])
    assert (classes.own.tolist(), [row.tolist() for row in tags]) == (["a", "b"], [[0, 1], [1]])
    for y, message in (
        ([["a", "b"], ["b", "a"]], r"row 1 of y has shape \(2,\); expected \(1,\), a label for each step"),
        ([["a", "b"]], "X has 2 rows and y 1"),
        (None, "requires y"),
        ([[0.5, 1.0], [1.0]], "continuous"),
    ):
        with pytest.raises(ValueError, match=f"^f: .*{message}"):
            read_tags("f", y, [2, 1])


def test_numbers_to_learn():
    assert as_numbers("f", [[1], [2]], 2).shape == (2, 1)
    for y, message in (([1, np.inf], "row 1 of y is inf"), ([1], "2 rows and y 1"), (np.ones((2, 1, 1)), "shape")):
        with pytest.raises(ValueError, match=f"f: .*{message}"):
            as_numbers("f", y, 2)


def test_weights_of_classes_are_plain():
    assert class_weight("f", "w", {np.int64(3): 2, "a": np.float32(0.5)}) == [[3, 2.0], ["a", 0.5]]
    for bad in ("even", 3, {1: -1.0}, {1: "much"}, {(1, 2): 1.0}, [1, 2], [[1]]):
        with pytest.raises(ValueError, match="f: w"):
            class_weight("f", "w", bad)


LONG = {"who": ["b", "a", "b", "a", "b"], "when": [2, 1, 1, 5, 3], "x": [2, 10, 1, 50, 3], "up": [1, 0, 1, 0, 1]}


def test_a_long_table():
    found = long_table(LONG, id="who", time="when", target="up")
    assert found.ids.tolist() == ["b", "a"]
    assert [series.tolist() for series in found.X] == [[[1], [2], [3]], [[10], [50]]]
    assert (found.y.tolist(), found.tags, found.features) == ([1, 0], None, ("x",))
    unsorted = long_table(LONG, id="who", tag="when")
    assert [tags.tolist() for tags in unsorted.tags] == [[2, 1, 3], [1, 5]]
    assert unsorted.features == ("x", "up")


def test_dates_that_are_missing_in_a_long_table_are_told():
    days = np.datetime64("2024-01-01") + np.delete(np.arange(30), [3, 4, 20])
    table = {"who": ["a"] * 27 + ["b"] * 27, "day": [*days.tolist()] * 2, "x": np.arange(54.0)}
    with pytest.warns(UserWarning, match="series 'a': 3 of 30 rows are missing .*2024-01-04.*; so it is with 1 more"):
        found = long_table(table, id="who", time="day")
    assert (found.times[1] == days).all()


def test_visits_that_are_irregular_by_nature_lack_none(recwarn):
    """Three visits follow a rule by chance, but those of each person another one."""
    days = [(0, 1, 3), (0, 7, 21), (0, 10, 30), (0, 3, 9), (0, 40, 57), (0, 5)]
    visits = [(who, np.datetime64("2024-01-01") + day) for who, own in enumerate(days) for day in own]
    table = {"who": [who for who, _ in visits], "day": np.array([day for _, day in visits]), "x": np.arange(17.0)}
    assert [len(rows) for rows in long_table(table, id="who", time="day").X] == [3, 3, 3, 3, 3, 2]
    assert not recwarn.list


def test_long_frames_with_dates():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    days = [datetime(2024, 1, 1 + day, tzinfo=timezone.utc) for day in LONG["when"]]
    for frame in (pandas.DataFrame(LONG | {"when": days}), polars.DataFrame(LONG | {"when": days})):
        found = long_table(frame, id="who", time="when", target="up")
        assert [series.tolist() for series in found.X] == [[[1], [2], [3]], [[10], [50]]]
        assert found.ids.tolist() == ["b", "a"]
    found = long_table(pandas.DataFrame(LONG | {"when": days}).set_index("when"), id="who", target="up")
    assert [series.tolist() for series in found.X] == [[[1], [2], [3]], [[10], [50]]]
    assert found.features == ("x",)
    months = pandas.PeriodIndex([f"2024-{month:02}" for month in LONG["when"]], freq="M")
    for frame in (pandas.DataFrame(LONG | {"when": months}), pandas.DataFrame(LONG, index=months).drop(columns="when")):
        found = long_table(frame, id="who", time="when" if "when" in frame else None, target="up")
        assert [series.tolist() for series in found.X] == [[[1], [2], [3]], [[10], [50]]]
    for levels in ("who", ["who", "when"]):
        for call in (long_table, partial(Forecaster().fit, target="x")):
            with pytest.raises(ValueError, match=r"no column 'who'; it is in the index, and reset_index\(\) makes it"):
                call(pandas.DataFrame(LONG).set_index(levels), id="who")
    with pytest.raises(TypeError, match="column 'who' holds lists or tuples"):
        long_table(pandas.DataFrame(LONG | {"who": [("a", 1)] * 5}), id="who")
    with pytest.raises(ValueError, match="long_table: series 'b' has the index .* twice; reset_index"):
        long_table(pandas.DataFrame(LONG, index=days[:1] * 5), id="who")


@pytest.mark.parametrize(
    ("change", "arguments", "error", "message"),
    [
        ({}, {"time": "then"}, ValueError, "there is no column 'then'; expected one of who, when, x, up"),
        ({"when": [1, 1, 1, 5, 3]}, {"time": "when"}, ValueError, "series 'b' has when 1 twice"),
        ({"x": [1, 2, np.nan, 4, 5]}, {"time": "when"}, ValueError, "series 'b', column 'x' is nan at when 1"),
        ({"up": [1, 0, 1, 0, 0]}, {"target": "up"}, ValueError, "series 'b' has several values of up: 1, 0"),
        ({"who": ["b", None, "b", "a", "b"]}, {}, ValueError, "row 1 of column 'who' is missing"),
        ({"x": list("abcde")}, {}, TypeError, "column 'x' is of .*; expected numbers"),
        ({"x": [1, 2]}, {}, ValueError, "column 'x' has 2 rows; column 'who' has 5"),
        ({"when": [1, 2, np.inf, 4, 5]}, {"time": "when"}, ValueError, "column 'when' has infinite times"),
        ({"who": [("a", 1)] * 5}, {}, (TypeError, ValueError), "column 'who' .*; expected one"),
        ({"when": ["9", "10", "11", "12", "13"]}, {"time": "when"}, TypeError, "column 'when' is of <U2, whose order"),
    ],
)
def test_wrong_long_tables(change, arguments, error, message):
    with pytest.raises(error, match=f"^long_table: {message}"):
        long_table(LONG | change, id="who", **arguments)


def test_what_is_no_long_table():
    with pytest.raises(TypeError, match="a list; expected a table"):
        long_table([1, 2], id="who")
    with pytest.raises(ValueError, match="no columns beside who"):
        long_table({"who": [1]}, id="who")
    with pytest.raises(ValueError, match="no rows"):
        long_table({"who": [], "x": []}, id="who")


def test_something_to_watch_needs_a_part_to_watch_it_on():
    for estimator in (SequenceClassifier, SequenceTagger):
        with pytest.raises(ValueError, match="monitor is 'f1', but validation is 0"):
            estimator(monitor="f1", validation=0)
    with pytest.raises(ValueError, match="monitor is 'r2'"):
        SequenceRegressor(monitor="r2", validation=0)


def test_integers_beyond_float64_are_refused():
    for big in ([[10**400]], np.array([[10**400]], dtype=object)):
        with pytest.raises(ValueError, match="f: X holds a number too large for float64"):
            as_sequences("f", big)
    with pytest.raises(ValueError, match="too large for float64"):
        SequenceRegressor(hidden=2, epochs=1).fit(np.ones((2, 3, 1)), [10**400, 1])


def test_masks_are_not_lost_in_silence():
    X, y = np.arange(12.0).reshape(4, 3), np.array([0, 1, 0, 1])
    for estimator, rows, target in (
        (SequenceClassifier, np.ma.masked_greater(X, 5), y),
        (SequenceClassifier, list(np.ma.masked_greater(X, 5)), y),
        (SequenceClassifier, {"a": np.ma.masked_greater(X[:, 0], 5)}, y),
        (SequenceClassifier, X, np.ma.masked_equal(y, 0)),
        (SequenceTagger, X, np.ma.masked_greater(X, 5) > 2),
        (SequenceRegressor, X, np.ma.masked_equal(y, 0)),
    ):
        with pytest.raises(TypeError, match="is a masked array; fill or drop what is masked first"):
            estimator(hidden=2, epochs=1).fit(rows, target)
    with pytest.raises(TypeError, match="sample_weight is a masked array"):
        as_weights("f", np.ma.masked_equal(y, 0), 4)
    with pytest.raises(TypeError, match="f: X is an np.matrix; expected an array"):
        as_sequences("f", np.asmatrix(X))


def test_a_column_of_sequences_of_arrow():
    arrow = pytest.importorskip("pyarrow")
    rows = [[1.0, 2.0], [3.0], [4.0, 5.0, 6.0]]
    for column in (arrow.array(rows), arrow.table({"x": rows})["x"]):
        assert [row.ravel().tolist() for row in as_sequences("owner", column).rows] == rows
