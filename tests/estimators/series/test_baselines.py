"""Baselines against their definitions, and the rolling origin against what it may see."""

import numpy as np
import pytest

from xprnn.estimators import AutoRegression, Borrowed, Drift, Persistence, SeasonalNaive, backtest

SERIES = np.random.default_rng(0).normal(size=(60, 2)).cumsum(axis=0)
ORIGINS = np.array([40, 59, 60])


def test_persistence():
    found = Persistence().fit(SERIES).forecast(SERIES, ORIGINS, 3)
    assert found.shape == (3, 3, 2)
    np.testing.assert_array_equal(found, np.stack([SERIES[[39] * 3], SERIES[[58] * 3], SERIES[[59] * 3]]))


def test_seasonal_naive_goes_back_whole_periods():
    found = SeasonalNaive(4).fit(SERIES).forecast(SERIES, ORIGINS, 6)
    np.testing.assert_array_equal(found[0], SERIES[[36, 37, 38, 39, 36, 37]])
    with pytest.raises(ValueError, match="at least one period, 100"):
        SeasonalNaive(100).fit(SERIES)
    with pytest.raises(ValueError, match="period is 0"):
        SeasonalNaive(0)


def test_drift_carries_the_line_on():
    found = Drift().fit(SERIES).forecast(SERIES, ORIGINS, 2)
    slope = (SERIES[39] - SERIES[0]) / 39
    np.testing.assert_allclose(found[0], [SERIES[39] + slope, SERIES[39] + 2 * slope])


class Theirs:
    """The interface of statsforecast's models: here the mean of what it was fitted on, plus the last value."""

    def fit(self, y):
        self.mean = y.mean()
        return self

    def forecast(self, y, h):
        return self.fit(y).forward(y, h)

    def forward(self, y, h):
        return {"mean": np.full(h, self.mean + y[-1])}


def test_a_model_of_somebody_else():
    model = Theirs()
    found = backtest([Borrowed(model)], SERIES, test=20, horizon=2).forecasts["Theirs"]
    np.testing.assert_allclose(found[3, 1], SERIES[:40].mean(axis=0) + SERIES[42])
    assert not hasattr(model, "mean")  # each column has a copy
    for bad in (Theirs, 3, None):
        with pytest.raises(TypeError, match=r"Borrowed: model is .*; expected an object with forecast\(y=, h=\)"):
            Borrowed(bad)
    with pytest.raises(RuntimeError, match="fit it first"):
        Borrowed(model).forecast(SERIES, ORIGINS, 1)
    with pytest.raises(ValueError, match="Theirs: the series has 1 columns; fitted on 2"):
        Borrowed(model).fit(SERIES).forecast(SERIES[:, :1], ORIGINS, 1)


class Refitting:
    """One that only fits and says at once."""

    def forecast(self, y, h):
        return {"mean": np.full(h, y.mean())}


def test_one_that_cannot_go_on_is_fitted_at_each_origin():
    found = Borrowed(Refitting()).fit(SERIES).forecast(SERIES, ORIGINS, 1)
    np.testing.assert_allclose(found[:, 0], [SERIES[:o].mean(axis=0) for o in ORIGINS])


def test_autoregression_finds_the_coefficients_of_its_process():
    draws, y = np.random.default_rng(0), np.zeros(4000)
    for t in range(2, len(y)):
        y[t] = 1.0 + 0.5 * y[t - 1] - 0.3 * y[t - 2] + draws.normal()
    model = AutoRegression(2).fit(y[:, None])
    np.testing.assert_allclose(model.coefficients[:, 0], [-0.3, 0.5, 1.0], atol=0.1)
    one, two = model.forecast(y[:, None], np.array([100]), 2)[0, :, 0]
    older, newer, intercept = model.coefficients[:, 0]
    assert one == pytest.approx(intercept + newer * y[99] + older * y[98])
    assert two == pytest.approx(intercept + newer * one + older * y[99])


def test_autoregression_says_when_it_cannot():
    with pytest.raises(ValueError, match="AR\\(29\\): a series of 60 steps gives 31 equations for 59 coefficients"):
        AutoRegression(29).fit(SERIES)
    with pytest.raises(RuntimeError, match="fit it first"):
        AutoRegression(2).forecast(SERIES, ORIGINS, 1)


def test_backtest_scores_against_a_hand_computation():
    y = np.array([1.0, 2.0, 4.0, 7.0, 11.0, 16.0, 20.0, 30.0])
    result = backtest([Persistence()], y, test=3)
    assert result.train_size == 5
    np.testing.assert_array_equal(result.actual[:, 0, 0], [16, 20, 30])
    (score,) = result.scores()
    errors, scale = np.array([5.0, 4.0, 10.0]), np.mean([1.0, 2.0, 3.0, 4.0])
    assert score["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert score["mae"] == pytest.approx(errors.mean())
    assert score["mase"] == pytest.approx(errors.mean() / scale)


class Spy(Persistence):
    """A forecaster that looks up what it is given."""

    def fit(self, series):
        self.seen = len(series)
        return self


def test_backtest_fits_on_the_training_part_only():
    spy = Spy()
    result = backtest([spy], SERIES, test=0.25, horizon=3)
    assert spy.seen == 45
    assert (result.origins[0], result.origins[-1]) == (45, 57)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": 0.0}, "test is 0.0"),
        ({"test": 1.5}, "test is 1.5"),
        ({"test": float("nan")}, "test is nan"),
        ({"test": float("inf")}, "test is inf"),
        ({"test": -3}, "test is -3"),
        ({"test": 60}, "test is 60"),
        ({"test": 0.001}, "test is 0.001"),
        ({"test": 10, "horizon": 11}, "horizon is 11; expected 1 to 10"),
        ({"test": 10, "horizon": 0}, "horizon is 0"),
    ],
)
def test_backtest_refuses_empty_parts(options, message):
    with pytest.raises(ValueError, match=message):
        backtest([Persistence()], SERIES, **options)


def test_no_forecaster_reads_the_future():
    for forecaster, first in ((Persistence(), 0), (SeasonalNaive(10), 9), (AutoRegression(2), 1)):
        with pytest.raises(ValueError, match=f"origin {first} does not have {first + 1} steps before it"):
            forecaster.fit(SERIES).forecast(SERIES, [first], 1)


def test_two_forecasters_of_one_name_are_refused():
    with pytest.raises(ValueError, match="more than one forecaster is called persistence"):
        backtest([Persistence(), Persistence()], SERIES)


def test_a_number_of_steps_may_come_from_numpy():
    assert backtest([Persistence()], SERIES, test=np.int64(12)).train_size == 48
    assert backtest([Persistence()], SERIES, test=12.0).train_size == 48
