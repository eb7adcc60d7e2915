"""Tables as series: numbers are columns, dates are the index, and everything else is an error that names the column."""

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal

import numpy as np
import pytest

from xprnn.data.numbered_times import holes
from xprnn.data.series import as_series
from xprnn.data.tables import columns_of
from xprnn.estimators import Forecaster, Panel, Persistence, backtest

N = 6
X, K = np.arange(N) * 1.5, np.arange(N)
DATES = np.datetime64("2020-01-01") + np.arange(N)
DAYS = DATES.tolist()


def pandas():
    return pytest.importorskip("pandas")


def polars():
    return pytest.importorskip("polars")


def struct(**columns):
    return np.rec.fromarrays(list(columns.values()), names=list(columns)).view(np.ndarray)


class ArrowTable:
    """What a table of Arrow offers."""

    def __init__(self, **columns):
        self.column_names, self.columns = list(columns), list(columns.values())


def test_columns_of_one_name_are_told_apart():
    twice = ArrowTable(a=X, b=K, c=X)
    twice.column_names = ["a", "b", "a"]
    for table in (twice, {"a": X, 1: K, "1": X}, pandas().DataFrame({"a": X, 1: K, "1": X})):
        names = columns_of(table, "here").names
        assert names == (("a (0)", "b", "a (2)") if table is twice else ("a", "1 (1)", "1 (2)"))


GOOD = {
    "dict": lambda: {"x": X, "i": list(K)},
    "dict of dates": lambda: {"d": DAYS, "x": X, "i": K},
    "dict of times": lambda: {"d": [datetime(2020, 1, 1, n, tzinfo=timezone.utc) for n in range(N)], "x": X, "i": K},
    "dict of datetime64": lambda: {"x": X, "d": DATES, "i": K.astype("u1")},
    "dict of numbers as names": lambda: {1: X, "1": K},
    "structured": lambda: struct(x=X, i=K),
    "structured with dates": lambda: struct(d=DATES, x=X, i=K),
    "Arrow": lambda: ArrowTable(d=DATES, x=X, i=K),
    "pandas": lambda: pandas().DataFrame({"x": X, "i": K}),
    "pandas, dates as index": lambda: pandas().DataFrame({"x": X, "i": K}, index=pandas().DatetimeIndex(DATES)),
    "pandas, Python's dates as index": lambda: pandas().DataFrame({"x": X, "i": K}, index=DAYS),
    "pandas, dates as column": lambda: pandas().DataFrame({"x": X, "d": DATES, "i": K}),
    "pandas, a zone": lambda: pandas().DataFrame({"x": X, "i": K}, index=pandas().DatetimeIndex(DATES, tz="UTC")),
    "pandas, a zone's column": lambda: pandas().DataFrame(
        {"d": pandas().DatetimeIndex(DATES, tz="UTC"), "x": X, "i": K}
    ),
    "pandas, periods": lambda: pandas().DataFrame(
        {"x": X, "i": K}, index=pandas().period_range("2020", periods=N, freq="M")
    ),
    "pandas, words as index": lambda: pandas().DataFrame({"x": X, "i": K}, index=list("fedcba")),
    "pandas, numbers as index": lambda: pandas().DataFrame({"x": X, "i": K}, index=K[::-1]),
    "pandas, nullable": lambda: pandas().DataFrame(
        {"x": pandas().array(X, "Float64"), "i": pandas().array(K, "Int64")}
    ),
    "pandas, sparse": lambda: pandas().DataFrame({"x": pandas().arrays.SparseArray(X), "i": K}),
    "pandas, one name twice": lambda: pandas().DataFrame(np.stack([X, K], axis=1), columns=["a", "a"]),
    "polars": lambda: polars().DataFrame({"x": X, "i": K}),
    "polars, dates": lambda: polars().DataFrame({"d": DAYS, "x": X, "i": K}),
    "polars, times": lambda: polars().DataFrame({"d": DATES.astype("M8[us]"), "x": X, "i": K.astype("u2")}),
    "narwhals": lambda: pytest.importorskip("narwhals").from_native(polars().DataFrame({"d": DAYS, "x": X, "i": K})),
    "polars, a zone": lambda: (
        polars()
        .DataFrame({"d": DATES.astype("M8[us]"), "x": X, "i": K})
        .with_columns(polars().col("d").dt.replace_time_zone("UTC"))
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_numbers_are_columns_and_dates_the_index(name, recwarn):
    np.testing.assert_array_equal(as_series(GOOD[name]()), np.stack([X, K], axis=1))
    assert not recwarn


@pytest.mark.parametrize(
    "make",
    [
        lambda: pandas().Series(X),
        lambda: pandas().Series(X, index=pandas().DatetimeIndex(DATES)),
        lambda: pandas().Series(pandas().array(X, "Float64")),
        lambda: polars().Series(X),
        lambda: {"d": DAYS, "x": X},
    ],
)
def test_one_column(make):
    np.testing.assert_array_equal(as_series(make()), X[:, None])


def test_a_table_may_have_no_rows_or_one():
    for rows in (0, 1):
        assert as_series({"d": DATES[:rows], "x": X[:rows]}).shape == (rows, 1)


BAD_COLUMNS = {
    "bool": X > 2,
    "words": list("abcdef"),
    "numbers as words": ["1"] * N,
    "spans": (DATES - DATES[0]).astype("m8[us]"),
    "complex": X * 1j,
    "decimals": [Decimal("1.5")] * N,
    "clock times": [time(hour) for hour in range(N)],
    "nothing": [None] * N,
    "a word among numbers": [1.0, "b", 2.0, 3.0, 4.0, 5.0],
    "a word among dates": [*DAYS[:5], "later"],
    "no date": [*DAYS[:5], None],
    "matrix": np.ones((N, 2)),
    "scalar": 3,
}


@pytest.mark.parametrize("kind", BAD_COLUMNS)
def test_other_columns_of_a_dict_are_errors_that_name_them(kind):
    with pytest.raises((TypeError, ValueError), match=r"^demand: .*column 'odd'"):
        as_series({"x": X, "odd": BAD_COLUMNS[kind]}, "demand")


LIBRARY_COLUMNS = [kind for kind in BAD_COLUMNS if kind not in ("matrix", "scalar")]


@pytest.mark.parametrize("kind", LIBRARY_COLUMNS)
def test_other_columns_of_pandas_are_errors_that_name_them(kind):
    frame = pandas().DataFrame({"x": X, "odd": BAD_COLUMNS[kind]})
    with pytest.raises((TypeError, ValueError), match=r"^demand: .*column 'odd'"):
        as_series(frame, "demand")


@pytest.mark.parametrize("kind", [kind for kind in LIBRARY_COLUMNS if "among" not in kind and kind != "complex"])
def test_other_columns_of_polars_are_errors_that_name_them(kind):
    frame = polars().DataFrame({"x": X, "odd": BAD_COLUMNS[kind]})
    with pytest.raises((TypeError, ValueError), match=r"^demand: .*column 'odd'"):
        as_series(frame, "demand")


def test_categories_are_no_numbers_even_where_they_are_called_so():
    with pytest.raises(TypeError, match=r"column 'c' is of category; expected numbers"):
        as_series(pandas().DataFrame({"c": pandas().Categorical([1, 2, 3])}))
    with pytest.raises(TypeError, match=r"column 'c' is of Categorical"):
        as_series(polars().DataFrame({"c": polars().Series(["1", "2"], dtype=polars().Categorical)}))


def test_missing_numbers_are_named():
    for make in (
        lambda: pandas().DataFrame({"a": X, "b": pandas().array([1, 2, 3, None, 5, 6], "Int64")}),
        lambda: pandas().DataFrame({"a": X, "b": pandas().array([1, 2, 3, None, 5, 6], "Float64")}),
        lambda: polars().DataFrame({"a": X, "b": [1, 2, 3, None, 5, 6]}),
        lambda: {"a": X, "b": [1, 2, 3, np.nan, 5, 6]},
    ):
        with pytest.raises(ValueError, match=r"demand: row 3, column 'b' is nan \(1 values are not finite\)"):
            as_series(make(), "demand")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "no column of numbers"),
        ({"d": DAYS}, "no column of numbers"),
        ({"d": DAYS, "e": DATES, "x": X}, "column 'd' and column 'e' hold dates; leave out all but one"),
        ({"x": X, "y": X[1:]}, "column 'x' has 6, column 'y' has 5 rows; expected as many"),
        ({"d": DAYS[::-1], "x": X}, "2020-01-05 00:00:00, does not come after the row before, .*: sort the rows"),
        ({"d": [DAYS[0], *DAYS[:5]], "x": X}, "2020-01-01 00:00:00, is there twice"),
        ({"d": [np.datetime64("NaT"), *DATES[1:]], "x": X}, "row 0 of column 'd' is N.*; expected a date"),
        (
            {"d": np.datetime64("2020", "us") + np.arange(N) * 10**18, "x": X},
            "column 'd' has dates outside the years 1 to",
        ),
        ({"d": np.datetime64("2020", "ns") + np.arange(N), "x": X}, "column 'd' has dates finer than microseconds"),
        (DATES, r"dtype is datetime64\[D\]; expected numbers"),
        (DAYS, "dtype is object; expected numbers"),
        ([[1, 2], [3]], "rows of several lengths; expected .* a Panel"),
        ([True, False], "dtype is bool; expected numbers"),
        (None, "a NoneType; expected numbers in an array, a list or a table"),
        ("123", "a str; expected numbers"),
        ({1, 2}, "a set; expected numbers"),
        ((n for n in range(3)), "a generator; expected numbers"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(table, message):
    with pytest.raises((TypeError, ValueError), match=f"^demand: .*{message}"):
        as_series(table, "demand")


def test_missing_dates_of_a_table_are_told():
    table = {"d": [*DAYS[:3], *DAYS[4:]], "x": X[1:]}
    with pytest.warns(
        UserWarning, match=r"Forecaster: 1 of 6 rows are missing \(one row every day\): 2020-01-04"
    ) as told:
        Forecaster(window=2, hidden=2, epochs=1, validation=0).fit(table)
    assert told[0].filename == __file__
    with pytest.warns(UserWarning, match="backtest: 1 of 6 rows are missing"):
        backtest([Persistence()], table, test=2)


def test_a_polars_frame_with_dates_forecasts_its_numbers():
    frame = polars().DataFrame(
        {"when": [date(2020, 1, 1) + timedelta(days=n) for n in range(60)], "y": np.sin(np.arange(60.0))}
    )
    forecaster = Forecaster(window=4, hidden=4, epochs=1)
    result = forecaster.backtest(frame, test=10, baselines=[Persistence()])
    assert result.series.shape == (60, 1)
    found = forecaster.fit(frame).predict(3)
    assert found["when"].to_list() == [date(2020, 3, 1) + timedelta(days=n) for n in range(3)]
    assert found["y"].abs().max() < 10


def test_two_numbers_of_a_structured_array_are_two_columns():
    assert Forecaster(window=2, hidden=2, epochs=1).fit(struct(a=np.arange(20.0), b=np.ones(20))).predict(3).shape == (
        3,
        2,
    )


def test_an_index_that_nobody_would_see_out_of_order_is_named():
    for text in ("01/31/2020", "2020 Jan", "2020M01"):
        with pytest.raises(TypeError, match=r"o: the index holds dates as text"):
            as_series(pandas().Series([1.0, 2.0], index=[text, text]), "o")
    days = pandas().Index([str(day) for day in DAYS])
    with pytest.raises(TypeError, match=r"o: the index holds dates as text: .*to_datetime"):
        as_series(pandas().Series(X, index=days), "o")
    levels = pandas().MultiIndex.from_product([["a", "b"], range(N // 2)])
    with pytest.raises(TypeError, match=r"o: the index has 2 levels; expected one row after another: .*Panel"):
        as_series(pandas().DataFrame({"x": X}, index=levels), "o")


def test_an_index_of_time_spans_is_no_calendar():
    pandas = pytest.importorskip("pandas")
    spans = pandas.timedelta_range("0h", periods=4, freq="h")
    with pytest.raises(TypeError, match=r"f: the index holds time spans: add .* a date.* reset_index\(drop=True\)"):
        as_series(pandas.Series(np.arange(4.0), index=spans), "f")


@pytest.mark.parametrize(
    ("name", "numbers", "told"),
    [
        ("ts", 1672531200 + 3600 * K, r"column 'ts' seems to hold Unix times in s, .*to_datetime\(column, unit='s'\)"),
        ("a", (1672531200 + 3600 * K) * 10**9, "Unix times in ns"),
        ("date", 45231 + K / 4, "days of a spreadsheet, .*unit='D', origin='1899-12-30'"),
        ("year", 1990 + K, "years, .*format='%Y'"),
        ("counter", 1672531200 + K**3, None),
        ("age", 1990 + K, None),
    ],
)
def test_numbers_that_seem_to_be_times_are_told_of(recwarn, name, numbers, told):
    found = as_series({name: numbers, "v": X})
    assert found.shape == (N, 2)
    assert len(recwarn.list) == (told is not None)
    as_series({name: numbers, "v": X, "day": DATES})  # there are dates
    assert len(recwarn.list) == (told is not None)
    if told:
        with pytest.warns(UserWarning, match=told):
            as_series({name: numbers, "v": X})
        with pytest.warns(UserWarning, match=f"Panel: .*{told}"):
            Panel.from_table({name: numbers, "v": X, "id": [0] * N}, id="id", time=name)


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ([0, 1, 2, 4], "1 of 5 rows are missing (steps of 1): 3"),
        ([0.1, 0.2, 0.3, 0.5, 0.6, 1.1], "5 of 11 rows are missing (steps of 0.1): 0.4, 0.7, 0.8, ..."),
        ([1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 15, 16], None),  # weekends
        ([202311, 202312, 202401, 202402], None),
        ([1, 3, 6, 10, 15], None),
        ([0, 1, 2.5, 3.5], None),
        ([1, 2, 2, 4], None),
        ([1, 2, 4, np.nan], None),
    ],
)
def test_rows_that_are_missing_by_their_numbers(numbers, told):
    assert holes(np.array(numbers)) == told


@pytest.mark.parametrize("kind", ["array", "list", "dict", "pandas", "boolean", "polars", "names"])
def test_true_and_false_are_numbers_of_what_is_known_beside_a_series(kind):
    days, sold = np.arange(40) % 7 == 0, 5.0 + 3.0 * (np.arange(40) % 7 == 0)

    def known(flags):
        if kind in ("pandas", "boolean"):
            return pandas().DataFrame({"holiday": flags}).astype("boolean" if kind == "boolean" else bool)
        if kind == "polars":
            return polars().DataFrame({"holiday": flags})
        return {"array": flags[:, None], "list": flags.tolist()}.get(kind, {"holiday": flags})

    tiny = {"hidden": 2, "epochs": 1, "members": 1, "window": 3}
    if kind == "names":
        model = Forecaster(**tiny).fit({"sold": sold, "holiday": days}, target="sold", future=["holiday"])
    else:
        model = Forecaster(**tiny).fit(sold, future=known(days))
    plain = Forecaster(**tiny).fit(sold, future=days.astype(float)).predict(2, future=[0.0, 1.0])
    np.testing.assert_array_equal(model.predict(2, future=known(np.array([False, True]))), plain)
