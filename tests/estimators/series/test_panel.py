"""Several series in one fit, values that are missing, and what is known beside them."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
from forecasters import Mean

from xprnn.estimators import Forecaster, Panel, Persistence, backtest_panel
from xprnn.estimators.series import accuracy

TINY = {"hidden": 4, "epochs": 2, "members": 2}


def series(seed, steps, level=1.0):
    t = np.arange(steps) + 3 * seed
    return level * (5.0 + np.sin(t / 3.0) + 0.1 * np.random.default_rng(seed).normal(size=steps))


def panel():
    return Panel({"a": series(0, 90), "b": series(1, 60, 100.0), "c": series(2, 40, 0.01)})


def test_each_is_said_in_its_own_units_and_by_its_name():
    forecaster = Forecaster(**TINY).fit(panel())
    found = forecaster.predict(4)
    assert list(found) == ["a", "b", "c"]
    for key, level in (("a", 1.0), ("b", 100.0), ("c", 0.01)):
        assert found[key].shape == (4,)
        assert 3.5 < found[key].mean() / level < 6.5
    bands = forecaster.intervals(2)
    assert all(
        (bands[key][:, 0] <= found[key][:2]).all() and (found[key][:2] <= bands[key][:, 1]).all() for key in found
    )
    assert forecaster.sample(3, 2)["b"].shape == (3, 2)
    assert forecaster.predict(2, quantiles=[0.5])["c"].shape == (2, 1)
    assert forecaster.n_features_in_ == 1


def test_a_list_is_answered_by_a_list_and_columns_by_columns():
    forecaster = Forecaster(**TINY).fit(Panel([np.stack([series(0, 50), series(1, 50)], 1), np.ones((40, 2))]))
    first, second = forecaster.predict(3)
    assert first.shape == (3, 2)
    np.testing.assert_allclose(second, 1.0)


def test_what_is_observed_moves_predict_on():
    forecaster = Forecaster(**TINY).fit(panel())
    before = forecaster.predict(3)
    after = forecaster.observe({"a": [9.0], "b": [], "c": []}).predict(3)
    np.testing.assert_allclose(after["b"], before["b"], rtol=1e-6)
    assert not np.allclose(after["a"], before["a"])
    with pytest.raises(ValueError, match=r"Forecaster.observe: steps lacks series 'b'"):
        forecaster.observe({"a": [9.0]})
    with pytest.raises(ValueError, match=r"steps has a series 'x', which was not fitted"):
        forecaster.observe({"a": [], "b": [], "c": [], "x": []})
    with pytest.raises(ValueError, match=r"series 'b': shape is|series 'b': the series has 2 columns; fitted on 1"):
        forecaster.observe({"a": [], "b": np.ones((3, 2)), "c": []})


def test_a_series_is_told_apart_by_what_is_static_of_it():
    """Two series of the same past, which go on differently by what is static, in one fit."""
    draws = np.random.default_rng(0)
    rows = {k: np.sign(k % 2 - 0.5) * 0.5 * np.arange(60.0) + draws.normal(size=60) for k in range(6)}
    given = Panel(rows, static={k: [float(k % 2)] for k in rows})
    found = Forecaster(**TINY).fit(given).predict(1)
    assert all(abs(found[k][0] - np.sign(k % 2 - 0.5) * 30.0) < 4.0 for k in rows)


def test_of_many_series_fewer_members_are_combined():
    options = {"hidden": 2, "epochs": 1, "window": 3, "transforms": "none"}
    for count, members in ((9, 4), (10, 2)):
        forecaster = Forecaster(**options).fit(Panel([series(k, 14) for k in range(count)]))
        assert len(forecaster.network.members) == members
    assert len(Forecaster(members=3, **options).fit(Panel([series(k, 14) for k in range(10)])).network.members) == 3


def test_saved_and_loaded(tmp_path):
    forecaster = Forecaster(**TINY).fit(Panel(panel().values, static=[[1.0, 2.0], [2.0, 0.0], [3.0, 1.0]]))
    forecaster.save(tmp_path / "model")
    loaded = Forecaster.load(tmp_path / "model")
    for one, other in zip(loaded.predict(5), forecaster.predict(5), strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(loaded.sample(4, 3, rng=0)[1], forecaster.sample(4, 3, rng=0)[1])
    assert np.array_equal(loaded.intervals(1)[2], forecaster.intervals(1)[2])


def test_a_long_table():
    table = {
        "shop": ["u"] * 30 + ["v"] * 20,
        "day": np.r_[np.arange(30), np.arange(20)][::1],
        "sales": np.r_[np.nan, np.arange(49.0)],
        "size": [1] * 30 + [2] * 20,
    }
    found = Panel.from_table(table, id="shop", time="day", static=["size"])
    assert found.keys == ("u", "v")
    assert found.static.tolist() == [[1.0], [2.0]]
    assert np.isnan(found.values[0][0, 0])
    assert found.values[1][:, 0].tolist() == list(range(29, 49))
    assert Forecaster(**TINY).fit(found).predict(2)["u"].shape == (2,)
    table["size"][3] = 7
    with pytest.raises(ValueError, match="Panel: series 'u' has several values of 'size'"):
        Panel.from_table(table, id="shop", time="day", static=["size"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "there are no series"),
        ([], "there are no series"),
        (np.ones((3, 3)), "series is a ndarray; expected a dict or a list"),
        ({"a": [1.0], 2.5: [1.0]}, "a series is called 2.5; expected a name or a whole number"),
        ({"a": [1.0], "b": [np.inf]}, "series 'b': row 0, column 0 is inf"),
        ({"a": np.ones((5, 2)), "b": np.ones(5)}, "series 'b' has 1 columns; expected 2, as 'a'"),
        ({"a": ["x"]}, "series 'a': dtype is"),
    ],
)
def test_odd_panels(given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Panel(given)


@pytest.mark.parametrize(
    ("static", "message"),
    [
        ({"a": [1]}, "static lacks series 'b'"),
        ({"a": [1], "b": [1, 2]}, "static of series 'b' has 2 numbers; expected 1"),
        ({"a": [1], "b": ["x"]}, "static of series 'b' is"),
        ({"a": [1], "b": [np.nan]}, "expected finite numbers"),
    ],
)
def test_odd_statics(static, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Panel({"a": [1.0, 2.0], "b": [3.0, 4.0]}, static=static)


def test_tables_have_their_columns_in_one_order():
    tables = {"x": {"a": [1.0, 2.0], "b": [3.0, 4.0]}, "y": np.ones((2, 2)), "z": {"b": [3.0, 4.0], "a": [1.0, 2.0]}}
    with pytest.raises(ValueError, match="Panel: series 'z' has columns 'b', 'a'; expected 'a', 'b', as 'x'"):
        Panel(tables)
    assert Panel({"x": {"a": [1.0, 2.0]}, "z": {"b": [3.0, 4.0]}}).values[1][0, 0] == 3.0


def test_tables_of_arrow_with_dates():
    arrow = pytest.importorskip("pyarrow")
    days = np.datetime64("2026-01-01") + np.arange(9)
    assert not Panel({"a": arrow.table({"day": days, "sold": np.arange(9.0)})}).vector


def test_a_series_that_is_too_short_is_named():
    with pytest.raises(ValueError, match=r"Forecaster: series 'b': the series has 2 steps; with .* at least"):
        Forecaster(**TINY).fit(Panel({"a": series(0, 40), "b": [1.0, 2.0]}))
    with pytest.raises(ValueError, match=r"Forecaster: series 'b': column 0 has no value that is known"):
        Forecaster(**TINY).fit(Panel({"a": series(0, 40), "b": np.full(40, np.nan)}))
    with pytest.raises(ValueError, match=r"Forecaster: series 'b': values up to 4e\+200 are too large to be scaled"):
        Forecaster(**TINY).fit(Panel({"a": series(0, 40), "b": np.full(40, -4e200)}))
    with pytest.raises(ValueError, match=r"Forecaster: past: values up to 4e\+200 are too large to be scaled"):
        Forecaster(**TINY).fit(series(0, 40), past=np.full(40, -4e200))
    with pytest.raises(ValueError, match=r"Forecaster.forecast: fitted on several series"):
        Forecaster(**TINY).fit(panel()).forecast(series(0, 90), [80], 1)


def test_missing_values_do_not_spoil_what_is_known():
    """A wave with a fifth of it missing is forecast nearly as well as the whole one."""
    y = np.sin(np.arange(400.0) / 4.0)
    gaps = np.random.default_rng(0).random(400) < 0.2
    torn = np.where(gaps, np.nan, y)
    torn[-1] = y[-1]
    forecaster = Forecaster(hidden=8, epochs=5, members=1, transforms="none").fit(torn)
    error = np.abs(forecaster.predict(10) - np.sin(np.arange(400, 410) / 4.0))
    assert error.max() < 0.35
    assert np.isfinite(forecaster.observe([np.nan, np.nan]).predict(3)).all()
    scores = forecaster.backtest(torn).scores()[0]
    assert np.isfinite(list(scores.values())[1:]).all()


def test_futures_differ_whichever_values_are_missing():
    """At the end, where errors are measured; and of two columns always one."""
    y, tail = series(0, 80), series(0, 80)
    tail[60:] = np.nan
    turns = np.stack([np.where(np.arange(80) % 2 == k, np.nan, y) for k in (0, 1)], axis=1)
    for given in (tail, turns):
        found = Forecaster(**TINY, window=6).fit(given)
        assert (np.diff(found.predict(1, quantiles=[0.1, 0.9])) > 0.05).all()


@pytest.mark.parametrize(("known", "count"), [([0, 1, 2], 0), ([59], 1)])
def test_too_few_known_values_to_tell_of_errors_are_told_of(known, count):
    values = np.c_[np.arange(60.0), np.full(60, np.nan)]
    values[known, 1] = 5.0 + np.arange(len(known))
    told = rf"column 1 has {count} known values in the \d steps on which errors are measured: intervals"
    with pytest.warns(UserWarning, match=told):
        Forecaster(hidden=2, epochs=1, members=1, window=2).fit(values)


def test_what_is_missing_does_not_count_in_scores(recwarn):
    y, x = series(0, 60), np.arange(60.0) % 2
    forecaster = Forecaster(**TINY, window=6).fit(y, future=x)
    torn = np.where(np.arange(60) == 30, np.nan, y)
    origins = np.delete(np.arange(6, 60), 24)
    said, actual = forecaster.forecast(torn, origins, 1, future=x).ravel(), y[origins]
    wanted = 1.0 - np.square(said - actual).sum() / np.square(actual - actual.mean()).sum()
    assert forecaster.score(torn, future=x) == pytest.approx(wanted)
    with pytest.raises(ValueError, match="Forecaster.score: column 0 has 1 steps to forecast that are known"):
        forecaster.score(np.r_[y[:7], [np.nan] * 5], future=x[:12])
    assert np.isnan(accuracy.rmse(np.full(3, np.nan), np.ones(3)))
    assert not recwarn.list


def test_values_missing_are_saved_as_such(tmp_path):
    y = series(0, 60)
    y[[10, 58]] = np.nan
    forecaster = Forecaster(**TINY).fit(y)
    forecaster.save(tmp_path / "model")
    assert np.array_equal(Forecaster.load(tmp_path / "model").predict(3), forecaster.predict(3))


@pytest.mark.parametrize("gap", [4, 30])
def test_what_was_known_before_a_gap_as_long_as_the_window_is_not_forgotten(gap, tmp_path):
    """Whoever goes on from the end of what was fitted and observed says what stands for the whole series."""
    a, b, more = series(0, 80, 100.0), series(1, 60), np.full(3, np.nan)
    a[-gap:] = b[[10, 11]] = np.nan
    forecaster = Forecaster(**TINY, window=4).fit(Panel({"a": a, "b": b}))
    for told in ([], more[:1], more[1:]):
        if len(told):
            forecaster.observe({"a": told, "b": told})
            a, b = np.r_[a, told], np.r_[b, told]
        forecaster.save(tmp_path / "model")
        for each in (forecaster, Forecaster.load(tmp_path / "model")):
            for key, whole in (("a", a), ("b", b)):
                expected = each.forecast(whole, [len(whole)], 2, key=key)[0, :, 0]
                np.testing.assert_allclose(each.predict(2)[key], expected, rtol=1e-5)


def test_baselines_say_that_they_need_every_value():
    with pytest.raises(ValueError, match="Persistence: row 3, column 0 is nan"):
        Forecaster(**TINY).backtest(np.r_[1.0, 2.0, 3.0, np.nan, np.ones(60)], baselines=[Persistence()])


@pytest.mark.parametrize("threads", [False, True])
def test_a_backtest_over_several_series(threads):
    """One model of all of them, beside one of each: a table of each series, and of the means."""
    given, model = panel(), Forecaster(**TINY)
    with ThreadPoolExecutor(2) if threads else nullcontext() as executor:
        result = model.backtest(given, test=10, horizon=2, baselines=[Mean()], paths=20, executor=executor)
    for key, values in zip(given.keys, given.values, strict=True):
        np.testing.assert_allclose(result.tests[key].forecasts["mean"], values[:-10].mean())
    rows = result.scores()
    assert [(row["series"], row["forecaster"]) for row in rows] == [
        (key, name) for key in ("a", "b", "c", None) for name in (model.name, "mean")
    ]
    for k, metric in ((0, "rmse"), (1, "mase"), (0, "crps")):
        assert rows[6 + k][metric] == pytest.approx(np.mean([row[metric] for row in rows[k:6:2]]))
    assert rows[6]["mase"] < 0.6 * rows[7]["mase"]
    assert np.isnan(rows[7]["coverage"])
    alone = Forecaster(**TINY).fit(given.first([len(v) - 10 for v in given.values]))
    there = alone.forecast(given.values[1], np.arange(50, 59), 2, key="b")
    np.testing.assert_array_equal(result.tests["b"].forecasts[model.name], there)
    assert alone.predict(2)["b"] == pytest.approx(there[0, :, 0], rel=1e-6)


class MeanOfAll(Mean):
    """Says the mean of all that it was fitted on, whichever series is asked about."""

    name, several = "mean of all", True

    def fit(self, given):
        return super().fit(np.concatenate(given.values))

    def forecast(self, series, origins, horizon, key):
        return super().forecast(series, origins, horizon)


@pytest.mark.parametrize("refit", ["always", 3, 100])
@pytest.mark.parametrize("threads", [False, True])
def test_what_is_fitted_again_has_seen_all_that_came_before(refit, threads):
    """Of each series as far as the others have come, and of one that has ended all of it."""
    given, both = Panel({"long": np.arange(40.0), "short": 100.0 + np.arange(20.0)}), [MeanOfAll(), Mean()]
    with ThreadPoolExecutor(2) if threads else nullcontext() as executor:
        result = backtest_panel(both, given, test=0.25, horizon=2, refit=refit, executor=executor)
    size = {"always": 1}.get(refit, refit)
    for key, start, steps in (("long", 30, 40), ("short", 15, 20)):
        own = given.values[given.keys.index(key)][:, 0]
        places = np.arange(start, steps - 1)
        assert result.tests[key].origins.tolist() == places.tolist()
        for m in range(len(places)):
            seen = m // size * size
            # The short one has places 15 to 18, and 4 steps after 15 it has been forecast to its end.
            short = 15 + seen if seen < 4 else 20
            parts = given.values[0][: 30 + seen], given.values[1][:short]
            assert result.tests[key].forecasts["mean"][m].tolist() == [[own[: start + seen].mean()]] * 2
            assert result.tests[key].forecasts["mean of all"][m].tolist() == [[np.concatenate(parts).mean()]] * 2
    assert both[0].mean == np.concatenate([given.values[0][:30], given.values[1][:15]]).mean()


def test_one_model_of_all_series_is_fitted_again():
    """As if it had been fitted to what came before, covariates too; and is left as the first part fitted it."""
    parts = {"x": told(70), "y": told(50)}
    given = Panel({key: y for key, (y, _, _) in parts.items()})
    future = {key: f for key, (_, _, f) in parts.items()}
    tiny = {"hidden": 2, "epochs": 1, "members": 1, "window": 2}
    model = Forecaster(**tiny)
    result = model.backtest(given, test=6, refit=4, future=future, paths=3)
    assert result.tests["y"].futures[model.name].shape == (3, 6, 1, 1)
    again = Forecaster(**tiny).fit(given.first([68, 48]), future={"x": future["x"][:68], "y": future["y"][:48]})
    y = parts["y"][0]
    there = again.forecast(y, [48, 49], 1, future=future["y"], key="y")
    np.testing.assert_array_equal(result.tests["y"].forecasts[model.name][4:], there)
    first = model.forecast(y, np.arange(44, 48), 1, future=future["y"], key="y")
    np.testing.assert_array_equal(result.tests["y"].forecasts[model.name][:4], first)


def test_a_refit_that_fails_is_named():
    class Once(MeanOfAll):
        def fit(self, given):
            if len(given.values[0]) > 35:
                raise FloatingPointError("too much")
            return super().fit(given)

    with pytest.raises(FloatingPointError, match="too much") as caught:
        backtest_panel([Once()], Panel({"a": np.arange(40.0), "b": np.arange(20.0)}), test=10, refit=2)
    told = "backtest_panel: this was in the work on the fit of mean of all on 2 series before step 36 of 'a'."
    assert getattr(caught.value, "__notes__", [told]) == [told]  # Python 3.10 has none


def test_two_series_that_differ_by_their_name_alone_are_told_apart():
    """What comes after the same step: of one series its like, of the other its opposite."""

    def walk(sign):
        y, draws = np.zeros(250), np.random.default_rng(0)
        for t in range(1, len(y)):
            y[t] = sign * 0.8 * y[t - 1] + draws.normal()
        return y

    options = {"hidden": 4, "epochs": 10, "learning_rate": 3e-2, "members": 1, "window": 1, "transforms": "none"}
    forecaster = Forecaster(**options).fit(Panel({"same": walk(1.0), "opposite": walk(-1.0)}))
    same, opposite = (forecaster.forecast([2.0, -2.0], [1, 2], 1, key=key)[:, 0, 0] for key in ("same", "opposite"))
    assert same[0] - same[1] > 2.0
    assert opposite[0] - opposite[1] < -2.0
    for call in (
        lambda: forecaster.forecast([2.0], [1], 1, key="other"),
        lambda: forecaster.futures([2.0], [1], 1, key="other"),
        lambda: forecaster.rolling_intervals([2.0], [1], 1, key="other"),
        lambda: forecaster.observe({"same": [1.0], "opposite": [1.0], "other": [1.0]}),
    ):
        with pytest.raises(ValueError, match="'other'"):
            call()


def test_a_backtest_over_several_series_with_what_is_known_of_each():
    parts = {"x": told(), "y": told(150)}
    given = Panel({key: y for key, (y, _, _) in parts.items()})
    known = {"past": {k: p for k, (_, p, _) in parts.items()}, "future": {k: f for k, (_, _, f) in parts.items()}}
    model = Forecaster(**TINY)
    assert model.backtest(given, **known).scores()[-1]["mase"] < 0.1
    bands = model.rolling_intervals(parts["y"][0], [140, 145], 1, key="y", **{n: p["y"] for n, p in known.items()})
    assert bands.shape == (2, 1, 1, 2)


def test_odd_backtests_over_several_series():
    given, model = panel(), Forecaster(**TINY)
    for call, message in (
        (lambda: backtest_panel([model], given, test=70), "backtest_panel: series 'b': test is 70; expected a share"),
        (lambda: backtest_panel([model], given, test=5, horizon=6), "backtest_panel: series 'a': horizon is 6"),
        (lambda: backtest_panel([], given), "backtest_panel: forecasters are"),
        (lambda: backtest_panel([Mean(), Mean()], given), "more than one forecaster is called mean"),
        (lambda: model.backtest(given, refit="often"), "backtest_panel: refit is 'often'; expected"),
        (lambda: backtest_panel([Mean()], given, refit=0), "backtest_panel: refit is 0"),
        (lambda: backtest_panel([model], given.values), "backtest_panel: a tuple; expected a Panel"),
        (lambda: model.fit(given).forecast(series(0, 90), [80], 1), "expected the key of one of them, and not None"),
        (lambda: model.fit(series(0, 90)).forecast(series(0, 90), [80], 1, key="a"), "key is 'a'; expected none"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            call()


def told(steps=203):
    """A series that is driven by what is known before, and by what was known a step ago."""
    draws = np.random.default_rng(3)
    future, past = draws.normal(size=(steps, 1)), draws.normal(size=(steps, 1))
    y = 2.0 * future[:, 0] + 3.0 * np.r_[0.0, past[:-1, 0]] + 0.1 * draws.normal(size=steps)
    return y, past, future


def test_what_is_known_beside_a_series_helps():
    y, past, future = told()
    forecaster = Forecaster(**TINY).fit(y[:200], past=past[:200], future=future[:200])
    assert abs(forecaster.predict(1, future=future[200:201])[0] - y[200]) < 0.5
    with_it = forecaster.backtest(y, past=past, future=future).scores()[0]["rmse"]
    without = Forecaster(**TINY).backtest(y).scores()[0]["rmse"]
    assert with_it < 0.1 * without


def test_of_the_past_nothing_is_seen_ahead_and_of_the_future_what_is_told():
    y, past, future = told()
    forecaster = Forecaster(**TINY).fit(y[:150], past=past[:150], future=future[:150])
    base = forecaster.forecast(y, [180], 3, past=past, future=future)
    other = past.copy()
    other[180:] = 1e3
    np.testing.assert_array_equal(forecaster.forecast(y, [180], 3, past=other, future=future), base)
    other = future.copy()
    other[183:] = 1e3
    np.testing.assert_array_equal(forecaster.forecast(y, [180], 3, past=past, future=other), base)
    other[181] = 5.0
    assert not np.allclose(forecaster.forecast(y, [180], 3, past=past, future=other)[0, 1], base[0, 1])


def test_observing_with_what_is_known_equals_standing_there():
    y, past, future = told()
    forecaster = Forecaster(**TINY).fit(y[:150], past=past[:150], future=future[:150])
    there = forecaster.forecast(y, [180], 3, past=past, future=future)[0, :, 0]
    forecaster.observe(y[150:180], past=past[150:180], future=future[150:180])
    np.testing.assert_allclose(forecaster.predict(3, future=future[180:183]), there, rtol=1e-5)


def test_covariates_that_are_missing_or_too_many_are_told_of():
    y, past, future = told()
    forecaster = Forecaster(**TINY).fit(y, future=future)
    for call, message in (
        (
            lambda: forecaster.predict(3),
            r"Forecaster: future is missing; fitted with 1 column of it, .* each of 3 steps",
        ),
        (lambda: forecaster.predict(3, future=future[:2]), "Forecaster: future has 2 rows; expected 3"),
        (lambda: forecaster.predict(3, future=np.ones((3, 2))), "future has 2 columns; expected 1"),
        (lambda: forecaster.observe([1.0]), "Forecaster.observe: future is missing"),
        (lambda: forecaster.observe([1.0], past=[1.0], future=[1.0]), "past was given, but fitted without it"),
        (lambda: Forecaster(**TINY).fit(y, past=past[:9]), "Forecaster: past has 9 rows; expected 203"),
        (lambda: Forecaster(**TINY).fit(y, past=past * np.nan), "Forecaster: past: row 0, column 0 is nan"),
        (lambda: forecaster.forecast(y, [203], 1, future=future), "future has 203 rows; expected one for each of 204"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.filterwarnings("error")
def test_forecasts_follow_the_scale_of_the_series_or_it_is_refused():
    options = {"hidden": 4, "epochs": 1, "members": 1, "validation": 0.3}
    expected = Forecaster(**options).fit(series(0, 40)).predict(3)
    for scale in (1e-130, 1e-12, 1e140):
        np.testing.assert_allclose(Forecaster(**options).fit(series(0, 40) * scale).predict(3) / scale, expected, 1e-6)
    for scale in (1e-300, 1e-200):
        tiny = series(0, 40) * scale
        with pytest.raises(ValueError, match=r"^Forecaster: column 0 has values up to .*e-.* too small to be scaled"):
            Forecaster(**options).fit(tiny)
        with pytest.raises(ValueError, match="past: column 1 has values up to .* too small to be scaled"):
            Forecaster(**options).fit(series(0, 40), past=np.stack([series(1, 40), tiny], axis=1))
    np.testing.assert_array_equal(Forecaster(**options).fit(np.zeros(40)).predict(2), 0.0)


def test_long_tables_of_several_levels_and_dates_in_the_index():
    pandas = pytest.importorskip("pandas")
    days = pandas.date_range("2024-01-01", periods=6, name="day")
    frame = pandas.DataFrame({"shop": "a", "sold": np.arange(6.0), "size": 2.0}, index=days)
    panel = Panel.from_table(frame.iloc[[2, 0, 1, 5, 3, 4]], id="shop", static=["size"])
    assert (panel.values[0][:, 0].tolist(), panel.dates[0][0]) == ([0, 1, 2, 3, 4, 5], np.datetime64("2024-01-01"))
    with pytest.warns(UserWarning, match="series 'a': 1 of 6 rows are missing .*2024-01-03"):
        Panel.from_table(frame.drop(days[2]), id="shop")
    levels = frame.reset_index().set_index(["shop", "day"])
    with pytest.raises(
        ValueError, match=r"no column 'shop'; it is in the index, and reset_index\(\) makes it a column"
    ):
        Panel.from_table(levels, id="shop", time="day")
    with pytest.raises(ValueError, match="Panel: series 'a' has steps without a value of 'size'"):
        Panel.from_table(frame.assign(size=np.nan), id="shop", static=["size"])
