"""What is said of a frame comes back as such a frame, with the dates that come next."""

from datetime import date, datetime, timedelta, timezone
from functools import partial

import numpy as np
import pytest

from xprnn.data.table_form import TableForm
from xprnn.estimators import Forecaster, Panel

N = 40
Y = 5.0 + np.sin(np.arange(N) / 2.0)
DAYS = [date(2020, 1, 1) + timedelta(days=k) for k in range(N + 5)]
VALUES = np.array([[1.5, 2.5], [3.0, 4.0]])
TINY = {"hidden": 2, "epochs": 1, "members": 1, "transforms": "none", "window": 4}


def test_pandas():
    pandas = pytest.importorskip("pandas")
    index = pandas.date_range("2020-01-31", periods=N, freq="ME", name="month")
    made = TableForm.of(pandas.DataFrame({"a": Y, "b": Y}, index=index), "owner").made(VALUES, N)
    pandas.testing.assert_frame_equal(
        made,
        pandas.DataFrame(VALUES, columns=["a", "b"], index=pandas.date_range(index[-1], periods=3, freq="ME")[1:]),
        check_names=False,
        check_freq=False,
        check_index_type=False,
    )
    assert made.index.name == "month"
    series = TableForm.of(pandas.Series(Y, index=index.to_period("M"), name="y"), "owner").made(VALUES, N + 1)
    assert (series.name, list(series), str(series.index[0])) == ("y", [1.5, 3.0], "2023-06")
    plain = TableForm.of(pandas.DataFrame({"a": Y, "b": Y}), "owner").made(VALUES, N)
    assert plain.index.tolist() == [N, N + 1]
    aware = pandas.DataFrame({"a": Y, "when": index.tz_localize("Europe/Berlin"), "b": Y})
    made = TableForm.of(aware, "owner").made(VALUES, N)
    assert list(made.columns) == ["a", "when", "b"]
    assert made["when"].dtype == aware["when"].dtype
    assert made["when"][N].date() == date(2023, 5, 31)


@pytest.mark.parametrize(
    ("first", "step", "name"), [(0, 1, "row"), (100, 1, None), (1960, 1, "year"), (0, 2, None), (40, -1, None)]
)
@pytest.mark.parametrize("kind", ["RangeIndex", "Index"])
def test_rows_that_are_numbered_go_on_from_the_last_number(kind, first, step, name):
    pandas = pytest.importorskip("pandas")
    rows = range(first, first + N * step, step)
    index = pandas.RangeIndex(rows, name=name) if kind == "RangeIndex" else pandas.Index(list(rows), name=name)
    for table in (pandas.Series(Y, index=index), pandas.DataFrame({"day": DAYS[:N], "y": Y}, index=index)):
        made = TableForm.of(table, "owner").made(VALUES[:, :1], N + 1)
        assert made.index.tolist() == [first + (N + 1) * step, first + (N + 2) * step]
        assert (made.index.name, made.index.dtype) == (name, index.dtype)
    other = TableForm.of(pandas.Series(Y[:3], index=[3, 1, 2]), "owner").made(VALUES[:, :1], 3)
    assert other.index.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("kind", "first", "step"), [("int8", 124, 1), ("Int8", 124, 1), ("uint8", 3, -1), ("int64", 2**63 - 4, 1)]
)
def test_rows_that_are_numbered_go_on_beyond_what_their_type_holds(kind, first, step):
    pandas = pytest.importorskip("pandas")
    rows = pandas.Index([first + step * k for k in range(4)], dtype=kind)
    made = TableForm.of(pandas.Series(Y[:4], index=rows), "owner").made(VALUES[:, :1], 4)
    assert made.index.tolist() == [first + step * 4, first + step * 5]


def test_columns_and_dates_stay_of_their_kind():
    pandas = pytest.importorskip("pandas")
    moments = pandas.date_range("2020-01-01", periods=N).as_unit("s")
    columns = pandas.MultiIndex.from_tuples([("a", 1), ("a", 2)], names=["who", "what"])
    made = TableForm.of(pandas.DataFrame(np.stack([Y, Y], 1), index=moments, columns=columns), "owner").made(VALUES, N)
    assert made.columns.equals(columns)
    assert (made.columns.names, made.index.dtype) == (columns.names, moments.dtype)
    twice = pandas.concat([pandas.Series(moments, name="a"), pandas.Series(Y, name="a")], axis=1)
    made = TableForm.of(twice, "owner").made(VALUES[:, :1], N)
    assert made.dtypes.tolist() == twice.dtypes.tolist()
    assert made.iloc[1].tolist() == [pandas.Timestamp(DAYS[N + 1]), 3.0]
    for table in (pandas.Series(Y, index=DAYS[:N]), pandas.DataFrame({"d": DAYS[:N], "y": Y})):
        made = TableForm.of(table, "owner").made(VALUES[:, :1], N)
        assert list(made["d"] if "d" in table else made.index) == DAYS[N : N + 2]


def test_a_column_of_periods_goes_on_as_periods():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"m": pandas.period_range("2001-01", periods=N, freq="M"), "a": Y})
    made = TableForm.of(frame, "owner").made(VALUES[:, :1], N)
    assert made["m"].tolist() == [frame["m"].iloc[-1] + 1, frame["m"].iloc[-1] + 2]


def test_polars():
    polars = pytest.importorskip("polars")
    made = TableForm.of(polars.DataFrame({"a": Y, "day": DAYS[:N], "b": Y}), "owner").made(VALUES, N)
    assert made.equals(polars.DataFrame({"a": [1.5, 3.0], "day": DAYS[N : N + 2], "b": [2.5, 4.0]}))
    hours = [datetime(2020, 1, 1, tzinfo=timezone.utc) + timedelta(hours=k) for k in range(N + 2)]
    frame = polars.DataFrame({"when": hours[:N], "a": Y}, schema_overrides={"when": polars.Datetime("ms", "UTC")})
    made = TableForm.of(frame, "owner").made(VALUES[:, :1], N)
    assert made.schema == frame.schema
    assert made["when"].to_list() == hours[N:]
    column = TableForm.of(polars.Series("y", Y), "owner").made(VALUES[:, :1], N)
    assert (column.name, column.to_list()) == ("y", [1.5, 3.0])


def test_arrow():
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"day": arrow.array(DAYS[:N], arrow.date32()), "a": Y, "b": Y})
    made = TableForm.of(table, "owner").made(VALUES, N)
    assert made.schema == table.schema
    assert made.to_pydict() == {"day": DAYS[N : N + 2], "a": [1.5, 3.0], "b": [2.5, 4.0]}
    twice = table.rename_columns(["day", "a", "a"])
    assert TableForm.of(twice, "owner").made(VALUES, N).columns == made.columns


def test_narwhals_is_put_around_again():
    polars, narwhals = pytest.importorskip("polars"), pytest.importorskip("narwhals")
    made = TableForm.of(narwhals.from_native(polars.DataFrame({"a": Y, "b": Y})), "owner").made(VALUES, N)
    assert isinstance(made, narwhals.DataFrame)
    assert made["a"].to_list() == [1.5, 3.0]


def test_dates_without_a_rule_are_numbers_or_nothing():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    odd = [DAYS[k] for k in (0, 1, 3, 7, 8, 13, 21, 22, 30, 44)]
    with pytest.warns(UserWarning, match="follow no rule"):
        forecaster = Forecaster(**TINY | {"window": 2}).fit(pandas.Series(Y[:10], index=pandas.DatetimeIndex(odd)))
    assert forecaster.predict(2).index.tolist() == [10, 11]
    made = TableForm.of(polars.DataFrame({"day": odd, "a": Y[:10]}), "owner").made(VALUES[:, :1], 10)
    assert made["day"].to_list() == [None, None]


@pytest.mark.parametrize("given", [Y, Y.tolist(), {"a": Y}, np.rec.fromarrays([Y], names="a").view(np.ndarray)])
def test_all_else_is_answered_by_arrays(given):
    assert TableForm.of(given, "owner") is None


def test_a_forecaster_answers_as_it_was_asked():
    pandas = pytest.importorskip("pandas")
    index = pandas.date_range("2020-01-01", periods=N, freq="D")
    forecaster = Forecaster(**TINY).fit(pandas.DataFrame({"y": Y}, index=index))
    expected = Forecaster(**TINY).fit(Y[:, None]).predict(3)
    found = forecaster.predict(3)
    np.testing.assert_array_equal(found.to_numpy(), expected)
    assert found.index[0] == index[-1] + pandas.Timedelta(days=1)
    forecaster.observe(Y[:2, None])
    assert forecaster.predict(1).index[0] == index[-1] + pandas.Timedelta(days=3)


@pytest.mark.parametrize("table", [dict, lambda columns: np.rec.fromarrays([*columns.values()], names=[*columns])])
def test_columns_come_in_the_order_in_which_they_were_fitted(table):
    a, b = Y, np.cos(Y)
    beside = {"p": a, "q": b}
    forecaster = Forecaster(**TINY).fit(table({"a": a, "b": b}), past=table(beside))
    before = forecaster.predict(2)
    for call in (forecaster.observe, forecaster.update, partial(forecaster.forecast, origins=[6], horizon=1)):
        with pytest.raises(ValueError, match="the columns are 'b', 'a'; expected 'a', 'b', as fitted"):
            call(table({"b": b, "a": a}), past=table(beside))
        with pytest.raises(ValueError, match="past: the columns are 'q', 'p'; expected 'p', 'q', as fitted"):
            call(table({"a": a, "b": b}), past=table({"q": b, "p": a}))
    np.testing.assert_array_equal(forecaster.predict(2), before)
    forecaster.observe(np.stack([a, b], axis=1), past=table(beside))  # without names


def test_rows_that_do_not_belong_behind_the_fitted_ones():
    polars = pytest.importorskip("polars")

    def frame(first, last, *names):
        return polars.DataFrame({"day": DAYS[first:last], **dict.fromkeys(names, Y[: last - first])})

    forecaster = Forecaster(**TINY).fit(frame(0, N, "a", "b"))
    before = forecaster.predict(2)
    for call in (forecaster.observe, forecaster.update, forecaster.score, lambda x: forecaster.forecast(x, [6], 1)):
        with pytest.raises(ValueError, match="the columns are 'b', 'a'; expected 'a', 'b', as fitted"):
            call(frame(0, N, "b", "a"))
    for call in (forecaster.observe, forecaster.update):
        with pytest.raises(ValueError, match="the first row is of 2020-02-09; expected one after 2020-02-09"):
            call(frame(N - 1, N + 3, "a", "b"))
    assert forecaster.predict(2).equals(before)
    forecaster.observe(frame(N, N + 2, "a", "b"))
    with pytest.warns(UserWarning, match="the first row is of 2020-02-14, where 2020-02-12 comes next"):
        forecaster.observe(frame(N + 4, N + 5, "a", "b"))
    with pytest.raises(ValueError, match=r"of 2020-02-10 \(UTC\); expected a date without a time zone, as 2020-02-14"):
        forecaster.observe(frame(N, N + 1, "a", "b").with_columns(polars.col("day").cast(polars.Datetime("us", "UTC"))))


def test_each_of_several_series_is_answered_as_it_was_given():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    days = pandas.date_range("2020-01-01", periods=N + 5, name="day")
    shops = {
        "a": pandas.DataFrame({"sold": Y}, index=days[:N]),
        "b": polars.DataFrame({"when": DAYS[2:N], "sold": Y[2:]}),
        "c": Y[:, None],
    }
    forecaster = Forecaster(**TINY).fit(Panel(shops))
    said = forecaster.predict(2)
    assert said["a"].index.tolist() == days[N : N + 2].tolist()
    assert said["b"]["when"].to_list() == DAYS[N : N + 2]
    assert said["c"].shape == (2, 1)
    plain = Forecaster(**TINY).fit(Panel({"a": Y, "b": Y[2:], "c": Y})).predict(2)
    for key, expected in plain.items():
        found = said[key] if key == "c" else said[key]["sold"].to_numpy()
        np.testing.assert_array_equal(np.ravel(found), expected)
    forecaster.observe({"a": shops["a"][-3:].set_axis(days[N : N + 3]), "b": shops["b"][:0], "c": Y[:0, None]})
    assert forecaster.predict(1)["a"].index[0] == days[N + 3]
    columns = Forecaster(**TINY).fit(Panel([pandas.Series(Y, index=days[:N], name="y")])).predict(1)
    assert (columns[0].name, columns[0].index[0]) == ("y", days[N])


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow", "index", "numbers", "dict"])
def test_each_series_of_a_long_table_is_answered_with_its_dates(kind):
    count = {"a": N, "b": N - 9}
    columns = {
        "shop": [key for key, length in count.items() for _ in range(length)],
        "day": [day for length in count.values() for day in DAYS[:length]],
        "price": np.zeros(2 * N - 9),
        "sold": np.concatenate([Y[:length] for length in count.values()]),
    }
    if kind == "numbers":
        columns["day"] = np.arange(2 * N - 9)
    library = {"index": "pandas", "numbers": "polars", "dict": "numpy"}.get(kind, kind)
    module = pytest.importorskip(library)
    table = columns
    if library != "numpy":
        table = module.table(columns) if library == "pyarrow" else module.DataFrame(columns)
    if kind == "index":
        table = table.set_index("day")
    time = None if kind == "index" else "day"
    one = Forecaster(**TINY).fit(table, target="sold", id="shop", time=time)
    other = Forecaster(**TINY).fit(Panel.from_table(table, id="shop", time=time))
    for model in (one, other):
        for key, found in model.predict(2).items():
            dates = DAYS[count[key] : count[key] + 2]
            if kind == "dict":
                assert found.shape == ((2,) if model is one else (2, 2))
                continue
            names = ["day"] * (kind not in ("index", "numbers")) + ["price"] * (model is other) + ["sold"]
            assert list(getattr(found, "column_names", found.columns)) == names
            if kind in ("polars", "pyarrow"):
                assert list(found["day"].to_pylist() if kind == "pyarrow" else found["day"]) == dates
            elif kind != "numbers":
                assert [*(found.index if kind == "index" else found["day"])] == dates


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_columns_of_a_long_table_stay_with_their_names_in_whatever_order_they_are_named(kind):
    module = pytest.importorskip(kind)
    table = module.DataFrame({"shop": ["a"] * N, "day": DAYS[:N], "low": Y, "high": Y + 1000.0})
    said = Forecaster(**TINY).fit(table, target=["high", "low"], id="shop", time="day").predict(2)["a"]
    assert (said["high"] > 900.0).all()
    assert (said["low"] < 100.0).all()
