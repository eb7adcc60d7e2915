"""Columns of one table by their names, against the same numbers given apart."""

import copy

import numpy as np
import pytest

from xprnn.estimators import Forecaster, Panel
from xprnn.estimators.series.named import Names
from xprnn.train import ModelFileError, read_tensors, write_tensors

TINY = {"hidden": 2, "epochs": 1, "members": 1, "transforms": "none", "window": 4}
STEPS = 60


def columns(seed=0, steps=STEPS + 3):
    draws = np.random.default_rng(seed)
    price, stock = draws.normal(size=steps), draws.normal(size=steps)
    sold = 2.0 * price + np.r_[0.0, stock[:-1]] + 0.1 * draws.normal(size=steps) + 5.0
    return {"price": price, "sold": sold, "note": np.array(["x"] * steps), "stock": stock}


def frame(kind, given, first=0, last=STEPS):
    given = {name: values[first:last] for name, values in given.items()}
    if kind is dict:
        return given
    library = pytest.importorskip(kind)
    days = np.datetime64("2026-01-01") + np.arange(first, first + len(given["sold"]))
    table = {"day": days.astype("datetime64[us]"), **given}
    return library.table(table) if kind == "pyarrow" else library.DataFrame(table)


NAMES = {"target": "sold", "past": ["stock"], "future": ["price"]}


def apart(given, first=0, last=STEPS):
    parts = {name: given[name][first:last] for name in ("sold", "stock", "price")}
    return parts["sold"], {"past": parts["stock"], "future": parts["price"]}


@pytest.mark.parametrize("kind", [dict, "pandas", "polars", "pyarrow"])
def test_a_table_says_what_its_columns_would_say_apart(kind, tmp_path):
    given = columns()
    named = Forecaster(**TINY).fit(frame(kind, given), **NAMES)
    y, known = apart(given)
    plain = Forecaster(**TINY).fit(y, **known)
    wanted = plain.predict(3, future=given["price"][STEPS:])
    said = named.predict(3, future=frame(kind, given, STEPS, STEPS + 3))
    told = said if kind is dict else np.asarray(said["sold"])
    np.testing.assert_array_equal(told, wanted)
    if kind is not dict:
        assert set(getattr(said, "column_names", None) or said.columns) == {"day", "sold"}
    with pytest.raises(ValueError, match="Forecaster: future is missing"):
        named.predict(3)
    y, known = apart(given, STEPS, STEPS + 2)
    named.save(tmp_path / "model")
    for model, step in ((named, "observe"), (Forecaster.load(tmp_path / "model"), "update")):
        getattr(model, step)(frame(kind, given, STEPS, STEPS + 2))
        again = getattr(copy.deepcopy(plain), step)(y, **known)
        last = given["price"][-1:]
        one, other = (m.predict(1, future=last, quantiles=[0.5]) for m in (model, again))
        np.testing.assert_array_equal(np.reshape(one, -1), np.reshape(other, -1))


def test_a_table_is_scored_and_tested_as_its_columns_apart():
    given = columns()
    y, known = apart(given)
    named, plain = Forecaster(**TINY).fit(frame(dict, given), **NAMES), Forecaster(**TINY).fit(y, **known)
    assert named.score(frame(dict, given)) == pytest.approx(
        1 - np.mean((plain.forecast(y, np.arange(4, STEPS), 1, **known)[:, 0, 0] - y[4:]) ** 2) / y[4:].var()
    )
    result = Forecaster(**TINY).backtest(frame(dict, given), **NAMES, test=10)
    np.testing.assert_array_equal(
        result.forecasts["xprnn lstm"], Forecaster(**TINY).backtest(y, **known, test=10).forecasts["xprnn lstm"]
    )


def long(first=0, last=STEPS):
    parts = {key: columns(seed) for seed, key in enumerate("uv")}
    names = ("price", "sold", "note", "stock")
    table = {name: np.concatenate([part[name][first:last] for part in parts.values()]) for name in names}
    count = len(table["sold"]) // 2
    table |= {"shop": np.repeat(["u", "v"], count), "day": np.tile(np.arange(first, first + count), 2)}
    table |= {"size": np.repeat([1.0, 2.0], count)}
    order = np.random.default_rng(0).permutation(len(table["sold"]))
    return parts, {name: values[order] for name, values in table.items()}


def test_a_long_table_says_what_its_series_would_say_apart():
    parts, table = long()
    shops = {"id": "shop", "time": "day", "static": ["size"]}
    named = Forecaster(**TINY).fit(table, **NAMES, **shops)
    cut = {key: apart(part) for key, part in parts.items()}
    panel = Panel({key: y for key, (y, _) in cut.items()}, static={"u": [1.0], "v": [2.0]})
    known = {name: {key: told[name] for key, (_, told) in cut.items()} for name in ("past", "future")}
    order = list(dict.fromkeys(table["shop"]))  # in which series come first
    panel = Panel({key: cut[key][0] for key in order}, static={key: [1.0 + (key == "v")] for key in order})
    plain = Forecaster(**TINY).fit(panel, **known)
    wanted = plain.predict(3, future={key: part["price"][STEPS:] for key, part in parts.items()})
    said = named.predict(3, future=long(STEPS, STEPS + 3)[1])
    for key in "uv":
        np.testing.assert_array_equal(said[key], wanted[key])
    one = named.forecast(columns(1), [30], 2, key="v")
    y, told = apart(columns(1), 0, STEPS + 3)
    np.testing.assert_array_equal(one, plain.forecast(y, [30], 2, key="v", **told))
    named.observe(long(STEPS, STEPS + 2)[1])
    assert named.predict(1, future=long(STEPS + 2, STEPS + 3)[1])["u"].shape == (1,)
    assert Forecaster(**TINY).backtest(table, **NAMES, **shops, test=10).scores()[-1]["mase"] < 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "sale"}, r"Forecaster.fit: there is no column 'sale'; expected one of price, sold, note, stock"),
        ({"target": []}, r"target is \[\]; expected at least one name"),
        ({"target": ["sold", "price"], "future": ["price"]}, "column 'price' is named twice; expected one place"),
        ({"target": "sold", "future": "price"}, "future is 'price'; expected a list of names of columns"),
        ({"target": "sold", "future": np.ones(STEPS)}, "future is array.*; expected a list of names"),
        ({"target": "sold", "id": 3}, "id is 3; expected the name of a column"),
        ({"target": "sold", "static": ["stock"]}, r"static is \['stock'\]; expected none of one series: give id"),
        ({"id": "note"}, "Forecaster.fit: id was given without a target"),
        ({"target": "note"}, "column 'note' is of"),
        (
            {"target": "sold", "time": "note"},
            "column 'note' is of .*, whose order is not that of time: make it numbers",
        ),
        ({"target": "sold", "time": "price"}, "row .* of column 'price' is .*; expected rows in their order"),
    ],
)
def test_odd_names(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Forecaster(**TINY).fit(frame(dict, columns()), **options)


@pytest.mark.filterwarnings("ignore:Determining the column names of a LazyFrame")
def test_a_table_without_its_rows():
    lazy = pytest.importorskip("polars").DataFrame({"y": [1.0, 2.0]}).lazy()
    with pytest.raises(TypeError, match=r"Forecaster.fit: a LazyFrame; expected a table of rows, as collect\(\) makes"):
        Forecaster().fit(lazy, target="y")


def test_what_is_known_by_name_is_in_the_table():
    given = columns()
    model = Forecaster(**TINY).fit(frame(dict, given), **NAMES)
    with pytest.raises(TypeError, match="Forecaster.observe: past was given; expected it in the table"):
        model.observe(frame(dict, given, STEPS, STEPS + 3), past=[1.0] * 3)
    with pytest.raises(TypeError, match="a ndarray; expected a table, as its columns are known by names"):
        Forecaster(**TINY).fit(given["sold"], target="sold")
    gone = {**frame(dict, given), "price": np.r_[np.nan, given["price"][1:STEPS]]}
    with pytest.raises(ValueError, match="Forecaster: future: row 0, column 'price' is nan"):
        Forecaster(**TINY).fit(gone, **NAMES)


def test_files_from_before_there_were_names(tmp_path):
    """They have none, and are files of the same version."""
    path = tmp_path / "saved"
    forecaster = Forecaster("gru", seed=0, **TINY).fit(np.sin(np.arange(60.0)))
    forecaster.save(path)
    arrays, metadata = read_tensors(path)
    for names in ({}, {"names": {}}):
        write_tensors(path, arrays, {k: v for k, v in metadata.items() if k != "names"} | names)
        np.testing.assert_array_equal(Forecaster.load(path).predict(3), forecaster.predict(3))
    for odd in (5, ["sold"], {"one": True}, {"one": 1, "target": ["a"]}):
        write_tensors(path, arrays, metadata | {"names": odd})
        with pytest.raises(ModelFileError, match="cannot load this forecaster"):
            Forecaster.load(path)


@pytest.mark.parametrize("several", [False, True])
def test_columns_are_held_against_those_fitted_in_panels_and_after_loading_too(several, tmp_path):
    rng = np.random.default_rng(0)
    table = {"a": rng.normal(size=40), "b": 50.0 + rng.normal(size=40)}
    known = {"p": rng.normal(size=40), "q": 9.0 + rng.normal(size=40)}

    def given(columns):
        return {"one": columns, "two": columns} if several else columns

    def exchanged(columns, steps):
        return given({name: columns[name][:steps] for name in reversed(columns)})

    forecaster = Forecaster(hidden=2, epochs=1, members=1, transforms="none")
    forecaster.fit(Panel(given(table)) if several else table, future=given(known))
    forecaster.save(tmp_path / "model")
    for each in (forecaster, Forecaster.load(tmp_path / "model")):
        with pytest.raises(ValueError, match="the columns are 'q', 'p'; expected 'p', 'q', as fitted"):
            each.predict(2, future=exchanged(known, 2))
        for steps in (exchanged(table, 3), Panel(exchanged(table, 3)) if several else exchanged(table, 3)):
            with pytest.raises(ValueError, match="the columns are 'b', 'a'; expected 'a', 'b', as fitted"):
                each.observe(steps, future=given(known))


def dated(first, last, index=None, off=0):
    pandas = pytest.importorskip("pandas")
    given = columns()
    days = pandas.date_range("2026-01-01", periods=last)[first:] + pandas.Timedelta(days=off)
    found = pandas.DataFrame({name: given[name][first:last] for name in ("price", "sold")} | {"day": days})
    return found.set_index("day") if index else found


@pytest.mark.parametrize("index", [False, True])
def test_dates_of_what_is_known_beforehand_are_held_against_those_to_come(index, recwarn):
    model = Forecaster(**TINY).fit(dated(0, STEPS, index), target="sold", future=["price"])
    said = model.predict(3, future=dated(STEPS, STEPS + 3, index))
    assert not recwarn.list
    with pytest.warns(UserWarning, match="future: the first row is of 2026-03-07, where 2026-03-02 comes next"):
        assert model.predict(3, future=dated(STEPS, STEPS + 3, index, 5)).equals(said)
    with pytest.raises(ValueError, match="future: the first row is of 2026-03-01; expected one after 2026-03-01"):
        model.predict(3, future=dated(STEPS, STEPS + 3, index, -1))
    with pytest.raises(ValueError, match="future: .* does not come after the row before"):
        model.predict(3, future=dated(STEPS, STEPS + 3, index)[::-1])
    rows = dated(STEPS, STEPS + 3, True).tz_localize("UTC")
    with pytest.raises(ValueError, match=r"of 2026-03-02 \(UTC\); expected a date without a time zone"):
        model.predict(3, future=rows if index else rows.reset_index())
    assert model.predict(3, future=dated(STEPS, STEPS + 3, index)).equals(said)


def test_few_rows_to_come_are_held_against_the_calendar_that_is_known(recwarn):
    pandas = pytest.importorskip("pandas")
    days = pandas.bdate_range("2026-01-01", periods=STEPS + 8)
    values = {"sold": np.sin(np.arange(len(days))), "price": np.cos(np.arange(len(days)))}
    table = pandas.DataFrame(values, index=days)
    model = Forecaster(**TINY).fit(table[:STEPS], target="sold", future=["price"])
    model.observe(table[STEPS : STEPS + 2]).observe(table[STEPS + 2 : STEPS + 5])  # one of these over a weekend
    model.predict(3, future=table[["price"]][STEPS + 5 :])
    assert not recwarn.list
    with pytest.warns(UserWarning, match="row 1 is of .*, where .* comes next"):
        model.observe(table[STEPS + 5 :].drop(index=days[STEPS + 6]))


def test_dates_of_several_series_are_held_against_those_to_come(recwarn):
    pandas = pytest.importorskip("pandas")

    def both(first, last, off=0):
        parts = [dated(first, last, off=off * (shop == "v")).assign(shop=shop) for shop in "uv"]
        return pandas.concat(parts).sample(frac=1.0, random_state=0)

    roles = {"target": "sold", "future": ["price"], "id": "shop", "time": "day"}
    model = Forecaster(**TINY).fit(both(0, STEPS), **roles)
    model.predict(1, future=both(STEPS, STEPS + 1))
    assert not recwarn.list
    with pytest.warns(UserWarning, match="series 'v': future: the first row is of 2026-03-07, where 2026-03-02 comes"):
        model.predict(1, future=both(STEPS, STEPS + 1, 5))
    with pytest.raises(ValueError, match="series 'v': the first row is of 2026-03-01; expected one after"):
        model.observe(both(STEPS, STEPS + 1, -1))
    table = both(0, STEPS)
    with pytest.warns(UserWarning, match="Panel: series '.': 1 of 60 rows are missing .*so it is with 1 more series"):
        Forecaster(**TINY).fit(table[table["day"] != pandas.Timestamp("2026-01-20")], **roles)


def test_rows_beside_a_series_have_its_dates():
    table, late = dated(0, STEPS, True), dated(0, STEPS, True, 3)
    with pytest.raises(ValueError, match="row 0 is of 2026-01-04 .*, where the series has 2026-01-01 .* an array"):
        Forecaster(**TINY).fit(table[["sold"]], future=late[["price"]])
    model = Forecaster(**TINY).fit(table[["sold"]], future=table[["price"]])
    new, late = dated(STEPS, STEPS + 2, True), dated(STEPS, STEPS + 2, True, 1)
    with pytest.raises(ValueError, match="future: row 0 is of 2026-03-03 00:00:00, where the series has 2026-03-02"):
        model.observe(new[["sold"]], future=late[["price"]])
    with pytest.raises(ValueError, match="Forecaster.forecast: future: row 0 is of 2026-01-04"):
        model.forecast(table[["sold"]], [30], 1, future=dated(0, STEPS, True, 3)[["price"]])
    model.observe(new[["sold"]], future=new[["price"]])


def test_what_was_tested_by_names_goes_on_by_names():
    model = Forecaster(**TINY)
    model.backtest(dated(0, STEPS), target="sold", future=["price"], test=5)
    model.observe(dated(STEPS - 5, STEPS))
    said = model.predict(2, future=dated(STEPS, STEPS + 2))
    plain, given = Forecaster(**TINY), columns()
    plain.backtest(given["sold"][:STEPS], future=given["price"][:STEPS], test=5)
    plain.observe(given["sold"][STEPS - 5 : STEPS], future=given["price"][STEPS - 5 : STEPS])
    np.testing.assert_array_equal(np.ravel(said), np.ravel(plain.predict(2, future=given["price"][STEPS : STEPS + 2])))


def test_a_table_that_is_forecast_in_has_the_times_that_it_was_fitted_by():
    """Two columns of dates, of which one is named."""
    days = np.datetime64("2024-01-01") + np.arange(STEPS)
    table = frame(dict, columns()) | {"day": days, "read": days + 400}
    model = Forecaster(**TINY).fit(table, **NAMES, time="day")
    plain = Forecaster(**TINY).fit(frame(dict, columns()), **NAMES)
    for given in (table, frame(dict, columns())):  # times may lack
        np.testing.assert_array_equal(model.forecast(given, [20], 2), plain.forecast(frame(dict, columns()), [20], 2))
        assert model.score(given) == plain.score(frame(dict, columns()))


def test_rows_that_are_missing_by_numbered_times_are_told():
    table = frame(dict, columns()) | {"week": np.delete(np.arange(STEPS + 1), 7), "id": [0] * STEPS}
    told = rf"column 'week': 1 of {STEPS + 1} rows are missing \(steps of 1\): 7; rows are counted as steps"
    with pytest.warns(UserWarning, match=told):
        Names.of("fit", "sold", None, None, None, None, "week").given("fit", table)
    with pytest.warns(UserWarning, match=told):
        Panel.from_table({"v": table["week"] * 0.5, "week": table["week"], "id": table["id"]}, id="id", time="week")


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow", "numbers", "long"])
def test_what_comes_from_a_file_is_answered_as_what_was_observed_since(kind, tmp_path):
    given, by = columns(steps=STEPS + 9), {"target": "sold"}
    if kind == "long":
        table = pytest.importorskip("pandas").concat(
            frame("pandas", given, 0, STEPS + 5).assign(shop=shop) for shop in ("a", "b")
        )
        early = table["day"] < table["day"].iloc[STEPS]
        first, later, by = table[early], table[~early], by | {"id": "shop", "time": "day"}
    elif kind == "numbers":
        table = frame("pandas", given, 0, STEPS + 5)[["sold"]]
        table.index = 7 + 2 * table.index
        first, later, by = table[:STEPS], table[STEPS:], {}
    else:
        first, later = frame(kind, given), frame(kind, given, STEPS, STEPS + 5)
        if kind == "pandas":
            later.index += STEPS
    model = Forecaster(**TINY).fit(first, **by)
    model.save(tmp_path / "model")
    loaded = Forecaster.load(tmp_path / "model")
    found, expected = (each.observe(later).predict(2) for each in (loaded, model))
    if kind != "long":
        found, expected = {"": found}, {"": expected}
    for key, rows in expected.items():
        assert type(found[key]) is type(rows)
        assert found[key].equals(rows), (found[key], rows)


def test_one_of_several_series_is_scored_by_its_key():
    parts, table = long()
    shops = {"id": "shop", "time": "day"}
    model = Forecaster(**TINY).fit(table, **NAMES, **shops)
    y, known = apart(parts["v"])
    origins = np.arange(model.window_, STEPS)
    said = model.forecast(y, origins, 1, key="v", **known)[:, 0, 0]
    right = 1 - np.mean((said - y[origins]) ** 2) / y[origins].var()
    one = {name: column[table["shop"] == "v"] for name, column in table.items()}
    one = {name: column[np.argsort(one["day"])] for name, column in one.items()}
    assert model.score(one, key="v") == pytest.approx(right)
    with pytest.raises(
        ValueError, match=r"Forecaster.score: fitted on several series; expected the key of one of them"
    ):
        model.score(one)


@pytest.mark.parametrize("zone", [None, "Europe/Berlin", "+05:30"])
def test_a_file_keeps_the_dates_that_rows_to_come_are_held_against(zone, tmp_path, recwarn):
    pandas = pytest.importorskip("pandas")
    days = pandas.date_range("2024-01-29", periods=STEPS + 3, tz=zone)  # clocks are set on the last day fitted
    table = pandas.DataFrame({"v": columns()["sold"]}, index=days)
    Forecaster(**TINY).fit(table[:STEPS]).observe(table[STEPS : STEPS + 1]).save(tmp_path / "model")
    Forecaster.load(tmp_path / "model").save(tmp_path / "again")
    for path in (tmp_path / "model", tmp_path / "again"):
        loaded = Forecaster.load(path)
        with pytest.raises(
            ValueError, match=r"observe: the first row is of 2024-03-29.*; expected one after 2024-03-29"
        ):
            loaded.observe(table[STEPS : STEPS + 1])
        loaded.observe(table[STEPS + 1 : STEPS + 2])
        assert not recwarn.list
        with pytest.warns(UserWarning, match="first row is of 2024-04-02.*, where 2024-03-31.* comes next"):
            loaded.update(table[STEPS + 2 :].set_index(days[-1:] + pandas.Timedelta(days=2)))


def test_what_comes_after_rows_that_were_left_out_has_its_own_dates(tmp_path):
    pandas = pytest.importorskip("pandas")
    days = pandas.date_range("2024-01-01", periods=120)
    table = pandas.DataFrame({"v": columns(steps=120)["sold"]}, index=days)
    forecaster = Forecaster(**TINY).fit(table[:60])
    with pytest.warns(UserWarning, match="where 2024-03-01 comes next"):
        forecaster.observe(table[70:75])
    assert list(forecaster.predict(2).index) == list(days[75:77])
    forecaster.update(table[75:76])  # which comes next, so that there is no more warning
    assert list(forecaster.predict(2).index) == list(days[76:78])
    forecaster.save(tmp_path / "model")
    with pytest.raises(ValueError, match="expected one after 2024-03-16"):
        Forecaster.load(tmp_path / "model").observe(table[75:77])


def test_seasons_of_a_part_with_dates_are_those_of_its_dates(tmp_path):
    pandas = pytest.importorskip("pandas")
    wave = 10.0 * np.sin(2 * np.pi * np.arange(400) / 100) + np.random.default_rng(0).normal(size=400)
    table = pandas.DataFrame({"v": wave, "id": "a"}, index=pandas.date_range("2024-01-01", periods=400))
    options = TINY | {"window": 3, "periods": (100,)}
    one = Forecaster(**options).fit(table[["v"]][:300])
    several = Forecaster(**options).fit(table[:300], target="v", id="id")
    one.save(tmp_path / "model")
    loaded = Forecaster.load(tmp_path / "model")
    for forecaster, key, names in ((one, None, ["v"]), (loaded, None, ["v"]), (several, "a", ["v", "id"])):
        for first in (30, 225, 330):
            part = forecaster.forecast(table[names][first:], [350 - first], 2, key=key)
            np.testing.assert_allclose(part, forecaster.forecast(table[names], [350], 2, key=key), rtol=1e-6)
        assert forecaster.score(table[names][340:], key=key) > 0.8
    with pytest.warns(UserWarning, match="comes next"):
        one.observe(table[["v"]][310:320])  # of ten rows less, so that seasons have slid
    slid = one.forecast(table[["v"]][330:], [20], 2)
    np.testing.assert_allclose(slid, one.forecast(np.r_[wave[:320], wave[330:]], [340], 2), rtol=1e-6)


def test_a_file_keeps_the_dates_of_each_of_several_series(tmp_path):
    day = np.datetime64("2024-01-01") + np.arange(80)
    table = {"id": ["a"] * 40 + ["b"] * 40, "day": np.r_[day[:40], day[40:]], "v": columns(steps=80)["sold"]}
    Forecaster(**TINY).fit(table, target="v", id="id", time="day").save(tmp_path / "model")
    loaded = Forecaster.load(tmp_path / "model")
    later = {"id": ["a", "b"], "day": np.array(["2024-02-10", "2024-03-20"], "datetime64[D]"), "v": [5.0, 5.0]}
    with pytest.raises(ValueError, match="series 'b': the first row is of 2024-03-20; expected one after 2024-03-20"):
        loaded.observe({**later, "day": later["day"] + np.array([0, 0])})
    loaded.observe({**later, "day": later["day"] + np.array([0, 1])})
    arrays, metadata = read_tensors(tmp_path / "model")
    for name, odd in (
        ("calendar.of", np.array([0, 2])),
        ("calendar.lengths", np.array([1, 79])),
        ("calendar.dates", arrays["calendar.dates"][::-1].copy()),
        ("calendar.dates", arrays["calendar.dates"] * 10**6),
        ("calendar.firsts", np.zeros(2)),
        ("calendar.firsts", np.array([2**63 - 1, 0])),
    ):
        write_tensors(tmp_path / "odd", arrays | {name: odd}, metadata)
        with pytest.raises(ModelFileError, match="odd: cannot load this forecaster"):
            Forecaster.load(tmp_path / "odd")
    write_tensors(tmp_path / "odd", arrays, metadata | {"zones": ["../etc", 3]})
    with pytest.raises(ModelFileError, match="a zone is 3; expected its name"):
        Forecaster.load(tmp_path / "odd")
