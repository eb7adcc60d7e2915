"""The autoregression in closed form, and the plans that are chosen by it."""

from types import SimpleNamespace

import numpy as np
import pytest

from xprnn.estimators import AutoRegression, Forecaster, Persistence, SeasonalNaive, backtest
from xprnn.estimators.series import learning, model
from xprnn.estimators.series.frame import Scale, Series
from xprnn.estimators.series.held_out import HeldOut
from xprnn.estimators.series.linear import PENALTIES, Moments, flat, lagged, said
from xprnn.estimators.series.member import Common, Member
from xprnn.estimators.series.plans import Plan, candidates, choose
from xprnn.estimators.series.transforms import Transform

COMMON = Common((12.0,), (np.zeros(0), np.zeros(0)), np.zeros((1, 0)), False)


def frame_of(plan, series, lengths):
    return COMMON.frame(plan, series, Scale.of(plan.transform, series, lengths))


def monthly(years=12, seed=0):
    """A trend, seasons that grow with it, and a little noise: what passengers of an airline do."""
    t = np.arange(12 * years)
    season = np.random.default_rng(seed).normal(0, 0.15, size=12)[t % 12]
    return 100.0 * np.exp(0.01 * t + season + np.random.default_rng(seed + 1).normal(0, 0.03, size=len(t)).cumsum() / 3)


def test_the_solution_is_that_of_ridge_regression_with_the_least_generalised_cross_validation():
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(2, 30, 5)), draws.normal(size=(2, 30, 3))
    known = draws.random((2, 30)) < 0.8
    weights, biases = Moments.of(x, y, known).solve()
    for f in range(2):
        rows, targets = x[f][known[f]], y[f][known[f]]
        centred, wanted = rows - rows.mean(axis=0), targets - targets.mean(axis=0)
        found = []
        for penalty in PENALTIES * np.sqrt(len(rows)):
            inverse = np.linalg.inv(centred.T @ centred + penalty * np.eye(5))
            hat = centred @ inverse @ centred.T + 1.0 / len(rows)
            left = np.square(wanted - centred @ inverse @ centred.T @ wanted).sum()
            found.append((left / (1.0 - np.trace(hat) / len(rows)) ** 2, inverse @ centred.T @ wanted))
        best = min(found, key=lambda each: each[0])[1]
        np.testing.assert_allclose(weights[f], best, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(biases[f], targets.mean(axis=0) - rows.mean(axis=0) @ best, atol=1e-12)


def test_moments_of_two_parts_add_up():
    draws = np.random.default_rng(1)
    x, y, known = draws.normal(size=(1, 20, 3)), draws.normal(size=(1, 20, 1)), np.ones((1, 20), dtype=bool)
    parts = [Moments.of(x[:, s], y[:, s], known[:, s]) for s in (slice(0, 7), slice(7, 20))]
    for one, other in zip((parts[0] + parts[1]).solve(), Moments.of(x, y, known).solve(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("joint", [False, True])
def test_weights_as_one_map(joint):
    draws = np.random.default_rng(2)
    z, extras, origins = draws.normal(size=(30, 3)), draws.normal(size=(30, 2)), np.arange(4, 29)
    x = lagged(z, extras, origins, 4, joint)
    weights, biases = draws.normal(size=(3, x.shape[2], 2)), draws.normal(size=(3, 2))
    whole = np.stack([np.concatenate([z[o - 4 : o].reshape(-1), extras[o - 1]]) for o in origins])
    found = (whole @ flat(weights, 4, joint).T).reshape(-1, 2, 3) + biases.T
    np.testing.assert_allclose(found, said(weights, biases, x))


def test_fewer_rows_than_unknowns_are_fine():
    weights, _ = Moments.of(np.ones((1, 2, 9)), np.ones((1, 2, 1)), np.ones((1, 2), dtype=bool)).solve()
    assert np.isfinite(weights).all()


def test_a_season_that_grows_is_seen_through_logarithms_and_differences():
    series = (Series(monthly()[:, None]),)
    tried = list(candidates(1, 144, 60, (12.0,), True, "auto"))[::4]
    chosen = choose(frame_of, series, iter(tried), Plan(Transform(), 1), 4, 1)
    assert chosen[0].transform.power == 0.0
    assert len({(p.transform.differences, p.transform.season) for p in chosen}) > 1


@pytest.mark.parametrize(
    ("steps", "options"),
    [(60, {"window": 1}), (60, {"window": 7, "periods": (7,)}), (48, {"periods": (12,)}), (28, {"periods": (7,)})],
)
def test_differences_leave_the_network_a_step_to_read(steps, options):
    """Also where the window, or a series of four seasons, has no more steps than differences take."""
    period = options.get("periods", (1,))[0]
    y = np.arange(steps) // period + np.tile(np.random.default_rng(0).normal(size=period), -(-steps // period))[:steps]
    forecaster = Forecaster(hidden=2, epochs=1, members=2, **options).fit(y)
    assert all(member.steps >= 1 for member in forecaster._model.members)
    assert np.isfinite(forecaster.predict(2)).all()


def test_folds_in_which_no_forecast_ends_say_nothing_of_a_plan():
    """Of several columns too, where a horizon is longer than the folds."""
    y = np.random.default_rng(0).normal(size=(60, 2)).cumsum(axis=0)
    options = {"strategy": "direct", "horizon": 7, "window": 9, "transforms": "none"}
    assert Forecaster(hidden=1, epochs=1, members=1, **options).fit(y).predict().shape == (7, 2)


def test_nothing_is_tried_that_needs_what_is_not_there():
    plans = list(candidates(1, 30, 9, (12.0,), False, "auto"))
    assert {plan.transform.power for plan in plans} == {1.0}
    assert max(plan.reach for plan in plans) <= 9
    assert {plan.transform for plan in candidates(2, 200, 90, (12.0,), True, "none")} == {Transform()}
    assert (
        choose(frame_of, (Series(np.ones((4, 1))),), iter(plans), Plan(Transform(), 1), 2, 1)
        == [Plan(Transform(), 1)] * 2
    )


def test_what_comes_later_does_not_choose():
    """A plan is tried on the past alone: the last part may be anything without changing what was chosen before."""
    tried = lambda: iter(list(candidates(1, 100, 40, (12.0,), True, "auto"))[::8])
    y = monthly(10)
    one = choose(frame_of, (Series(y[:100, None]),), tried(), Plan(Transform(), 1), 4, 1)
    y[100:] = 1.0
    assert one == choose(frame_of, (Series(y[:100, None]),), tried(), Plan(Transform(), 1), 4, 1)


def test_the_default_does_not_lose_to_its_baselines():
    baselines = [AutoRegression(7), AutoRegression(29), SeasonalNaive(12), Persistence()]
    model, *others = backtest([Forecaster(periods=(12,), hidden=8, epochs=10), *baselines], monthly(), test=24).scores()
    assert model["rmse"] < min(row["rmse"] for row in others)


def test_a_network_that_does_not_help_is_not_listened_to():
    """A random walk has nothing to learn; the forecasts are those of the autoregressions."""
    walk = np.random.default_rng(5).normal(size=200).cumsum()
    forecaster = Forecaster(hidden=4, epochs=4, members=2).fit(walk)
    heads = [member.head.weight.numpy() for member in forecaster.network.members]
    assert not any(head.any() for head in heads)


def test_a_member_that_is_surely_worse_is_left_out(monkeypatch, tmp_path):
    """Of many steps that is known, of few it may be luck, and the mean of all is said."""
    wave = np.sin(np.arange(400.0)) + 0.3 * np.random.default_rng(0).normal(size=400)
    good, bad = Plan(Transform(), 3), Plan(Transform(differences=1), 0)
    monkeypatch.setattr(model, "choose", lambda *_: [bad, good])
    of_many, of_few = (Forecaster(hidden=2, epochs=1, members=2, window=8).fit(wave[:n]) for n in (400, 60))
    assert [member.plan for member in of_many._model.members] == [good]
    assert [member.plan for member in of_few._model.members] == [bad, good]
    of_many.save(tmp_path / "model")
    again = Forecaster.load(tmp_path / "model")
    assert np.array_equal(again.predict(3, quantiles=[0.5]), of_many.predict(3, quantiles=[0.5]))
    assert np.array_equal(again.update(wave[:9]).predict(3), of_many.update(wave[:9]).predict(3))


@pytest.mark.parametrize(
    ("said", "kept"),
    [((0.0, 0.0), [0, 1]), ((9.0, 0.0), [1]), ((np.inf, 0.0), [1]), ((0.0, np.nan), [0]), ((np.nan, np.inf), [0, 1])],
    ids=str,
)
def test_a_member_whose_forecasts_are_no_numbers_is_left_out_where_another_has_some(said, kept):
    series = Series(np.random.default_rng(0).normal(size=(30, 1)), np.zeros((30, 0)), np.zeros((30, 0)))
    task, origins = SimpleNamespace(options={"horizon": 1}, series=[series]), np.arange(20, 30)
    members = [
        SimpleNamespace(forecast=lambda *_, value=value: np.full((10, 1, 1), value, dtype=np.float64)) for value in said
    ]
    found = HeldOut(task, tuple(members), np.zeros(10, dtype=int), origins, series.values[origins][:, None])
    assert found.kept() == kept


@pytest.mark.parametrize(("options", "expected"), [({"strategy": "direct"}, [3, 3]), ({}, [1, 1, 4, 4])], ids=str)
def test_what_a_network_says_at_once_is_asked_once_of_the_held_out_steps(monkeypatch, options, expected):
    asked, forecast = [], Member.forecast
    monkeypatch.setattr(Member, "forecast", lambda *given: asked.append(given[4]) or forecast(*given))
    Forecaster(hidden=2, epochs=1, members=2, horizon=3, window=8, **options).fit(np.sin(np.arange(60.0)))
    assert asked == expected


def test_several_columns_may_tell_of_each_other():
    """The second column is the first, a step later."""
    first = np.random.default_rng(0).normal(size=301)
    series = np.stack([first[1:], first[:-1]], axis=1)
    found = Forecaster(hidden=4, epochs=1, members=1, transforms="none").backtest(series).scores(1)[0]["rmse"]
    assert found < 0.1


def test_of_many_steps_an_epoch_sees_some(monkeypatch):
    """Which ones, the seed says; a series as long as that is seen whole."""
    monkeypatch.setattr(learning, "MOST_AN_EPOCH", 64)
    y = np.sin(np.arange(200.0) / 3.0)
    options = {"hidden": 2, "epochs": 3, "members": 1, "transforms": "none", "batch_size": 16, "validation": 0}
    one, other = (Forecaster(**options).fit(y) for _ in range(2))
    assert np.array_equal(one.predict(3), other.predict(3))
    assert len(one.training) == 3
    monkeypatch.setattr(learning, "MOST_AN_EPOCH", 4096)
    assert not np.array_equal(Forecaster(**options).fit(y).predict(3), one.predict(3))
