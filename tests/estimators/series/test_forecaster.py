"""The Forecaster: what it learns, what it may not see, and what it survives."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xprnn import use_backend
from xprnn.estimators import AutoRegression, Forecaster, Persistence, backtest
from xprnn.estimators.series.frame import Series
from xprnn.estimators.series.transforms import Transform
from xprnn.train import write_tensors

QUICK = {"hidden": 8, "window": 8, "epochs": 3, "seed": 1, "members": 1, "transforms": "none"}
PLAIN = {"members": 1, "transforms": "none"}


def wave(steps=300, noise=0.1):
    t = np.arange(steps)
    return np.sin(2 * np.pi * t / 12.5) + np.random.default_rng(0).normal(0, noise, steps)


def test_it_learns_what_persistence_cannot_know():
    result = Forecaster("gru", hidden=16, window=15, epochs=30, learning_rate=1e-2).backtest(
        wave(), test=0.2, baselines=[Persistence()]
    )
    model, persistence = result.scores()
    assert model["rmse"] < 0.5 * persistence["rmse"]
    assert model["rmse"] < 0.2  # the noise alone is 0.1


def test_beats_the_season_when_told_of_it():
    """With noise only around a season that the window is too short to show, the seasonal features are all there is."""
    t = np.arange(600)
    series = 5 * np.sin(2 * np.pi * t / 100) + np.random.default_rng(0).normal(0, 1, 600)
    options = {"hidden": 16, "window": 4, "epochs": 10, "learning_rate": 1e-2}
    told = Forecaster(periods=(100,), **options).backtest(series).scores()[0]["rmse"]
    untold = Forecaster(**options).backtest(series).scores()[0]["rmse"]
    assert told < untold


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_same_seed_same_bits(cell):
    options = QUICK | {"validation": 0, "members": 2}  # so that the networks are listened to, whatever they are worth
    first = Forecaster(cell, **options).fit(wave()).predict(5)
    second = Forecaster(cell, **options).fit(wave()).predict(5)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, Forecaster(cell, **options | {"seed": 2}).fit(wave()).predict(5))


def test_the_future_never_reaches_the_past():
    """Changing everything after a step changes no forecast made at it: neither scaling nor training looks ahead."""
    series = wave()
    other = series.copy()
    other[240:] = 1000.0
    one, two = (Forecaster(**QUICK).backtest(s, test=60) for s in (series, other))
    assert np.array_equal(one.forecasts["xprnn lstm"][0], two.forecasts["xprnn lstm"][0])


@pytest.mark.parametrize("transform", [Transform(), Transform(0.0, 1, 4), Transform(0.5, 0, 3), Transform(1.0, 1, 0)])
def test_recursive_forecasts_equal_a_walk_by_hand(transform):
    """The second step, from the first: windows that end with the forecast, and the season of the right step."""
    series = np.column_stack([wave(), wave()[::-1]]) + 5.0
    forecaster = Forecaster(periods=(12.5,), **QUICK | {"validation": 0}).fit(series)
    (member,) = forecaster._model.members
    member = replace(member, plan=replace(member.plan, transform=transform))
    steps = lambda member, values, origin, ahead: member.forecast(
        [Series(values)], np.array([0]), np.array([origin]), ahead
    )[0]
    (first,) = steps(member, series, 200, 1)
    extended = np.concatenate([series[:200], first[None]])
    # One step from a window that is one longer, begun at the same place: what carrying the state on must equal.
    (second,) = steps(replace(member, window=member.window + 1), extended, 201, 1)
    np.testing.assert_allclose(steps(member, series, 200, 2), [first, second], rtol=1e-4)


def test_observing_moves_predict_on():
    series = wave()
    forecaster = Forecaster(periods=(12.5,), **QUICK).fit(series[:200])
    at_end = forecaster.forecast(series, [260], 4)[0, :, 0]
    assert not np.allclose(forecaster.predict(4), at_end)
    np.testing.assert_allclose(forecaster.observe(series[200:260]).predict(4), at_end, rtol=1e-5)
    np.testing.assert_allclose(forecaster.observe([]).predict(4), at_end, rtol=1e-5)


def test_direct_strategy_says_several_steps_at_once():
    forecaster = Forecaster(strategy="direct", horizon=4, **QUICK).fit(wave())
    assert forecaster.predict().shape == (4,)
    np.testing.assert_array_equal(forecaster.predict(2), forecaster.predict()[:2])
    with pytest.raises(ValueError, match="horizon is 5; expected 1 to 4"):
        forecaster.predict(5)


def test_several_columns():
    series = np.column_stack([wave(), 100 + 10 * wave(noise=0.2)])
    forecaster = Forecaster(**QUICK)
    result = forecaster.backtest(series, horizon=2, baselines=[AutoRegression(3)])
    assert result.forecasts["xprnn lstm"].shape == (59, 2, 2)
    assert forecaster.predict(3).shape == (3, 2)
    assert forecaster.predict(3)[:, 1].min() > 50  # in the units of the second column


def test_save_and_load(tmp_path):
    forecaster = Forecaster("gru", periods=(12.5,), **QUICK).fit(wave())
    forecaster.save(tmp_path / "model.safetensors")
    loaded = Forecaster.load(tmp_path / "model.safetensors")
    assert np.array_equal(loaded.predict(7), forecaster.predict(7))
    assert loaded.settings == forecaster.settings


def test_loading_something_else_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    write_tensors(path, {"a": np.zeros(3)}, {"kind": "checkpoint"})
    with pytest.raises(ValueError, match='not a forecaster of version 2, but "checkpoint"'):
        Forecaster.load(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="truncated, corrupt"):
        Forecaster.load(path)


def test_a_failed_fit_leaves_the_forecaster_as_it_was():
    forecaster = Forecaster(**QUICK).fit(wave())
    before = forecaster.predict(3)
    for bad in (np.full(300, np.nan), np.full(300, np.inf), wave(10), np.array(["a"] * 300)):
        with pytest.raises((ValueError, TypeError)):
            forecaster.fit(bad)
    assert np.array_equal(forecaster.predict(3), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "lstmm"}, "cell is 'lstmm'; expected one of 'rnn', 'lstm', 'gru'"),
        ({"strategy": "both"}, "strategy is 'both'"),
        ({"transforms": "log"}, "transforms is 'log'; expected one of 'auto', 'none'"),
        ({"members": 0}, "members is 0; expected an integer of at least 1"),
        ({"window": 0}, "window is 0; expected an integer of at least 1"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"horizon": 0}, "horizon is 0"),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"periods": (7, 1.0)}, r"periods\[1\] is 1.0; expected a length above 1 step"),
        ({"periods": 5.0}, "periods are 5.0; expected a list"),
        ({"periods": [float("inf")]}, r"periods\[0\] is inf; expected a length above 1 step"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0; expected a number above 0"),
        ({"clip_norm": 0}, "clip_norm is 0; expected a number above 0"),
        ({"seed": -1}, "seed is -1; expected an integer of at least 0"),
        ({"seed": "a"}, "seed is 'a'"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"backend": "torch"}, "backend 'torch' is unknown"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        Forecaster(**options)


def test_too_short_a_series_says_what_it_needs():
    with pytest.raises(ValueError, match="the series has 9 steps; with window=8, horizon=1 and validation=0.15 it"):
        Forecaster(**QUICK).fit(wave(9))


@settings(max_examples=40, deadline=None)
@given(
    window=st.integers(1, 12),
    horizon=st.integers(1, 9),
    validation=st.one_of(st.just(0.0), st.floats(0.0, 0.95)),
    steps=st.integers(0, 2),
)
def test_the_least_length_that_is_named_is_enough_and_no_less_is(window, horizon, validation, steps):
    strategy = "direct" if horizon > 1 else "recursive"
    options = {"window": window, "horizon": horizon, "strategy": strategy, "validation": validation}
    forecaster = Forecaster(**options, hidden=1, epochs=1, **PLAIN)
    with pytest.raises(ValueError, match="it needs at least") as error:
        forecaster.fit(np.zeros(steps))
    least = int(str(error.value).rsplit(" ", 1)[-1])
    assert np.isfinite(forecaster.fit(wave(least)).predict(1)).all()
    with pytest.raises(ValueError, match=f"the series has {least - 1} steps; .* it needs at least {least}$"):
        forecaster.fit(wave(least - 1))


@pytest.mark.parametrize(("validation", "least"), [(0.9, 19), (0.999, 1003), (1 - 2**-30, 2**29 + 1)])
def test_a_large_validation_part_needs_a_long_series(validation, least):
    with pytest.raises(ValueError) as error:
        Forecaster(window=3, validation=validation).fit(wave(8))
    assert int(str(error.value).rsplit(" ", 1)[-1]) == pytest.approx(least, rel=3)


def test_not_fitted():
    with pytest.raises(RuntimeError, match="fit it first"):
        Forecaster().predict(3)


def test_another_number_of_columns():
    forecaster = Forecaster(**QUICK).fit(wave())
    with pytest.raises(ValueError, match="the series has 2 columns; fitted on 1"):
        forecaster.forecast(np.zeros((50, 2)), [40], 1)
    with pytest.raises(ValueError, match="the series has 2 columns; fitted on 1"):
        forecaster.observe(np.zeros((5, 2)))


def test_constant_and_linear_series_are_fine():
    both = np.column_stack([np.full(100, 7.0), wave(100)])
    np.testing.assert_array_equal(Forecaster(**QUICK).fit(both).predict(3)[:, 0], 7.0)
    result = backtest([Forecaster(**QUICK)], np.full(100, 7.0))
    assert np.isnan(result.scores()[0]["mase"])  # nothing to scale by


def test_numbers_may_come_from_numpy(tmp_path):
    options = {"seed": np.int64(3), "hidden": np.int32(4), "clip_norm": np.float32(1), "validation": np.float32(0.2)}
    forecaster = Forecaster(**QUICK | options).fit(wave(60))
    forecaster.save(tmp_path / "model.safetensors")
    assert forecaster.predict(np.int64(2)).shape == (2,)


def test_it_can_be_pickled_and_copied():
    forecaster = Forecaster(backend="numpy", **QUICK).fit(wave(60))
    for other in (pickle.loads(pickle.dumps(forecaster)), copy.deepcopy(forecaster)):
        assert np.array_equal(other.predict(3), forecaster.predict(3))


def test_it_stays_on_the_backend_it_was_fitted_on():
    pytest.importorskip("array_api_strict")
    with use_backend("array_api_strict"):
        forecaster = Forecaster(**QUICK).fit(wave(60))
    assert np.isfinite(forecaster.predict(3)).all()


def test_runs_on_array_api_strict():
    pytest.importorskip("array_api_strict")
    here = Forecaster(**QUICK | {"epochs": 1}).fit(wave(60)).predict(3)
    there = Forecaster(backend="array_api_strict", **QUICK | {"epochs": 1}).fit(wave(60)).predict(3)
    np.testing.assert_allclose(here, there, rtol=1e-4)


def test_a_horizon_beyond_the_series():
    with pytest.raises(ValueError, match="horizon is 61, and the series has 60 steps; expected at most as many"):
        Forecaster("gru", hidden=2, epochs=1, members=1, window=4, horizon=61).fit(np.sin(np.arange(60.0)))
