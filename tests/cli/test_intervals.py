"""The intervals of reports: made of what was known, and holding what they say."""

import numpy as np

from xprnn.cli.report.drawing import autocorrelation, thinned
from xprnn.cli.report.intervals import LEAST, LEVELS, intervals_from_errors
from xprnn.estimators import Persistence, backtest


def made(series, horizon=2, test=0.5):
    tested = backtest([Persistence()], series, test=test, horizon=horizon)
    future = Persistence().forecast(series, [len(series)], horizon)[0]
    return tested, intervals_from_errors(tested, "persistence", future, 0)


def test_the_widths_are_those_of_the_errors_known_at_the_origin():
    series = np.random.default_rng(0).normal(size=300).cumsum()
    tested, found = made(series)
    errors = np.abs(tested.actual[..., 0] - tested.forecasts["persistence"][..., 0])
    for ahead in range(2):
        first = LEAST + ahead  # the first origin where so many are known
        assert np.isnan(found.lower[:, :first, ahead]).all()
        for k, level in enumerate(LEVELS):
            width = np.sort(errors[:LEAST, ahead])[int(np.ceil((LEAST + 1) * level)) - 1]
            half = (found.upper[k, first, ahead] - found.lower[k, first, ahead]) / 2
            np.testing.assert_allclose(half, width)
            last = np.sort(errors[:, ahead])[int(np.ceil((len(errors) + 1) * level)) - 1]
            np.testing.assert_allclose(found.future_upper[k, ahead] - series[-1], last)


def test_nothing_that_comes_later_changes_an_interval():
    series = np.random.default_rng(1).normal(size=200)
    other = series.copy()
    other[150:] += 100.0
    (_, before), (_, after) = made(series), made(other)
    known = 150 - 100 - 1  # origins of which everything said is before step 150
    np.testing.assert_array_equal(before.upper[:, :known], after.upper[:, :known])
    assert not np.array_equal(before.upper[:, known + 3 :], after.upper[:, known + 3 :])


def test_as_many_values_are_inside_as_is_said():
    tested, found = made(np.random.default_rng(2).normal(size=4000).cumsum(), horizon=1)
    np.testing.assert_allclose(found.coverage(tested.actual[..., 0]), LEVELS, atol=0.03)


def test_too_short_a_test_part_has_none():
    assert made(np.arange(40.0), test=20)[1] is None


def test_autocorrelation_by_its_formula():
    errors = np.random.default_rng(3).normal(size=50)
    centred = errors - errors.mean()
    expected = [np.dot(centred[k:], centred[: len(centred) - k]) / np.dot(centred, centred) for k in (1, 2, 25)]
    np.testing.assert_allclose(autocorrelation(errors)[[0, 1, 24]], expected)
    assert not autocorrelation(np.ones(20)).any()


def test_a_long_line_keeps_its_peaks():
    y = np.zeros(100_000)
    y[[5, 77_777]] = 1.0, -2.0
    x, shown = thinned(np.arange(len(y)), y)
    assert len(x) < 4000
    assert (x[shown.argmax()], x[shown.argmin()]) == (5, 77_777)
    assert (x[0], x[-1]) == (0, len(y) - 1)
