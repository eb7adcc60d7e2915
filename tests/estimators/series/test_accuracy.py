"""Measures against numbers computed by hand, and intervals against how often they hold."""

import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from forecasters import Mean

from xprnn.estimators import AutoRegression, Forecaster, Persistence, backtest
from xprnn.estimators.series import accuracy
from xprnn.estimators.series.conformal import rolling_widths, width

Y = np.array([1.0, 2.0, 4.0, 7.0, 11.0, 16.0, 20.0, 30.0])


def test_errors_by_hand():
    actual, said = np.array([16.0, 20.0, 30.0]), np.array([11.0, 16.0, 20.0])
    train = Y[:5]  # changes 1, 2, 3, 4; over two steps 3, 5, 7
    assert accuracy.mase(actual, said, train) == pytest.approx((19 / 3) / 2.5)
    assert accuracy.mase(actual, said, train, 2) == pytest.approx((19 / 3) / 5.0)
    assert accuracy.rmsse(actual, said, train) == pytest.approx(np.sqrt(47.0 / 7.5))
    assert accuracy.smape(actual, said) == pytest.approx(200 / 3 * (5 / 27 + 4 / 36 + 10 / 50))
    assert accuracy.smape(np.zeros(2), np.array([0.0, 1.0])) == 100.0
    assert np.isnan(accuracy.mase(actual, said, np.ones(4)))


def test_what_is_missing_does_not_count():
    actual, said = np.array([1.0, np.nan, 3.0]), np.array([2.0, 9.0, 3.0])
    assert (accuracy.mae(actual, said), accuracy.rmse(actual, said)) == (0.5, np.sqrt(0.5))
    assert accuracy.mase(actual, said, np.array([0.0, np.nan, 2.0, 3.0])) == 0.5


def test_chances_by_hand():
    assert accuracy.pinball(np.array([5.0]), np.array([[4.0, 7.0]]), [0.1, 0.9]) == pytest.approx((0.1 + 0.2) / 2)
    # |0 - 1|, |3 - 1| and |2 - 1| have the mean 4 / 3; the differences 3, 2 and 1 of nine pairs, twice each, 12 / 9.
    assert accuracy.crps(np.array([1.0]), np.array([[0.0], [3.0], [2.0]])) == pytest.approx(4 / 3 - 2 / 3)
    assert accuracy.crps(np.array([1.0]), np.array([[4.0]])) == 3.0
    bands = np.array([[0.0, 2.0], [0.0, 2.0], [-np.inf, np.inf], [0.0, 1.0]])
    assert accuracy.coverage(np.array([1.0, 3.0, 0.0, np.nan]), bands) == 0.5


def test_scores_have_them():
    (row,) = backtest([Persistence()], Y, test=3).scores(season=2)
    assert row["mase"] == pytest.approx((19 / 3) / 5.0)
    assert row.keys() == {"forecaster", "rmse", "mae", "mase", "rmsse", "smape"}
    with pytest.raises(ValueError, match=r"Backtest.scores: season is 6; expected 1 to 5"):
        backtest([Persistence()], Y, test=3).scores(season=6)


class Certain(Persistence):
    """Says three futures: the last step, one less and one more."""

    name = "certain"

    def futures(self, series, origins, horizon, paths):
        return self.forecast(series, origins, horizon) + np.array([-1.0, 0.0, 1.0]).reshape(3, 1, 1, 1)


def test_scores_of_chances():
    result = backtest([Certain(), Persistence()], np.r_[np.zeros(6), 1.0, 1.0, 5.0], test=3, paths=3, refit=2)
    assert result.futures["certain"].shape == (3, 3, 1, 1)
    told, point = result.scores()
    actual, said = result.actual[..., 0], result.futures["certain"][..., 0]
    assert told["crps"] == pytest.approx(accuracy.crps(actual, said))
    levels = np.linspace(0.05, 0.95, 19)
    quantiles = np.stack([np.quantile(said, level, axis=0) for level in levels], axis=-1)
    assert told["pinball"] == pytest.approx(accuracy.pinball(actual, quantiles, levels))
    assert told["coverage"] == pytest.approx(1 / 3)  # 0.9 wide on both sides: 1 is outside, and 5
    assert [point["mae"], 2 * point["pinball"]] == pytest.approx([point["crps"]] * 2)
    assert np.isnan(point["coverage"])
    assert "crps" not in backtest([Certain()], Y, test=3).scores()[0]
    with pytest.raises(ValueError, match="backtest: paths is -1"):
        backtest([Certain()], Y, test=3, paths=-1)


def test_futures_from_many_places_are_those_that_fit_would_say():
    y = np.random.default_rng(0).normal(size=300)
    model = Forecaster(hidden=2, epochs=1, members=1, transforms="none", window=4)
    result = model.backtest(y, test=100, horizon=2, baselines=[Persistence()], paths=200)
    futures = result.futures[model.name]
    assert futures.shape == (200, 99, 2, 1)
    np.testing.assert_allclose(futures.std(axis=0).mean(), 1.0, rtol=0.15)
    row, naive = result.scores()
    assert row["coverage"] == pytest.approx(0.9, abs=0.05)
    assert row["crps"] < 0.7 * naive["crps"]
    there = model.futures(y, [200], 2, 50)[:, 0]
    assert np.array_equal(model.sample(50, 2, rng=0), there)


def test_split_conformal_by_hand():
    errors = np.array([[3.0], [-1.0], [2.0], [np.nan], [-4.0]])
    assert width(errors, 0.5).tolist() == [3.0]  # the third smallest of four: 0.5 (4 + 1) = 2.5
    assert width(errors, 0.8).tolist() == [4.0]
    assert width(errors, 0.81).tolist() == [np.inf]
    assert width(errors[:0], 0.5).tolist() == [np.inf]


def test_errors_are_used_when_they_are_known_and_not_before():
    errors = np.array([1.0, 2.0, 3.0, 4.0, 5.0])[:, None, None] * np.ones((1, 2, 1))
    found = rolling_widths(errors, np.arange(10, 15), 0.5, before=np.zeros((0, 2, 1)))
    # One step ahead the error of the origin before is known; two steps ahead that of the one before it.
    assert found[:, 0, 0].tolist() == [np.inf, 1.0, 2.0, 2.0, 3.0]
    assert found[:, 1, 0].tolist() == [np.inf, np.inf, 1.0, 2.0, 2.0]


def test_adaptive_intervals_follow_a_change_and_fixed_ones_do_not():
    """Gibbs and Candes: the share inside differs from the nominal one by at most (1 + rate) / (rate steps)."""
    draws = np.random.default_rng(0)
    errors = draws.normal(size=(600, 1, 1)) * np.where(np.arange(600) < 200, 1.0, 3.0)[:, None, None]
    before, origins = draws.normal(size=(100, 1, 1)), np.arange(600)
    inside = {
        rate: np.abs(errors) <= rolling_widths(errors, origins, 0.9, before=before, rate=rate) for rate in (0.0, 0.05)
    }
    assert abs(inside[0.05].mean() - 0.9) < 0.02
    assert inside[0.0].mean() < 0.87


def test_a_backtest_has_intervals_that_hold():
    y = np.random.default_rng(0).normal(size=900).cumsum()
    result = backtest([Persistence()], y, test=600)
    bands = result.intervals("persistence", 0.8)
    assert bands.shape == (600, 1, 1, 2)
    assert np.isinf(bands[0]).all()
    assert accuracy.coverage(result.actual, bands) == pytest.approx(0.8, abs=0.03)
    with pytest.raises(ValueError, match=r"Backtest.intervals: name is 'other'; expected one of 'persistence'"):
        result.intervals("other")


def test_intervals_of_a_forecaster_hold():
    """As often as they say, over several series that go on as they were."""
    options, held = {"hidden": 2, "epochs": 1, "members": 1, "transforms": "none", "window": 2}, []
    for seed in range(6):
        y, draws = np.zeros(1200), np.random.default_rng(seed)
        for t in range(1, len(y)):
            y[t] = 0.8 * y[t - 1] + draws.normal()
        forecaster = Forecaster(**options).fit(y[:800])
        (band,) = forecaster.intervals(1, coverage=0.8)
        assert band.mean() == pytest.approx(forecaster.predict(1)[0])
        bands = forecaster.forecast(y, np.arange(800, 1200), 1)[:, 0] + (band - band.mean())
        held.append(accuracy.coverage(y[800:], bands))
    assert np.mean(held) == pytest.approx(0.8, abs=0.04)
    assert np.diff(forecaster.predict(1, quantiles=[0.1, 0.9])[0]) == pytest.approx(np.diff(band), rel=0.2)


def test_rolling_intervals_adapt():
    """The noise is three times as large as it was in the fit; intervals begin as they are there, and then follow."""
    draws = np.random.default_rng(0)
    y = np.r_[draws.normal(size=500), 3.0 * draws.normal(size=500)]
    forecaster = Forecaster(hidden=2, epochs=1, members=1, transforms="none", window=2).fit(y[:500])
    origins = np.arange(500, 1000)
    bands = forecaster.rolling_intervals(y, origins, 1, rate=0.05)[:, 0, 0]
    np.testing.assert_allclose(bands[0], forecaster.intervals(1)[0], rtol=1e-5)
    assert accuracy.coverage(y[500:], bands) == pytest.approx(0.9, abs=0.02)
    fixed = forecaster.rolling_intervals(y[:700], [500, 700], 2, rate=0.0)
    assert fixed.shape == (2, 2, 1, 2)
    with pytest.raises(ValueError, match=r"origins are \[5, 4\]; expected each after the one before it"):
        forecaster.rolling_intervals(y, [5, 4], 1)


def test_intervals_that_cannot_be_told():
    y = np.sin(np.arange(60.0))
    forecaster = Forecaster(hidden=2, epochs=1, members=1).fit(y)
    with pytest.raises(ValueError, match=r"horizon is 9; errors were measured over at most 3 steps"):
        forecaster.intervals(9)
    with pytest.raises(ValueError, match=r"coverage is 0.99, with as few as \d errors to learn it from"):
        forecaster.intervals(1, coverage=0.99)
    with pytest.raises(ValueError, match=r"coverage is 1; expected a share between 0 and 1"):
        forecaster.intervals(1, coverage=1)
    with pytest.raises(ValueError, match=r"errors were measured nowhere"):
        Forecaster(hidden=2, epochs=1, members=1, validation=0).fit(y).intervals(1)
    for bad in (0.5, [], [0.0], [0.5, 1.0], ["a"]):
        with pytest.raises(ValueError, match=r"quantiles"):
            forecaster.predict(2, quantiles=bad)


def test_a_horizon_is_what_is_said_and_known_of(tmp_path):
    """Step by step as far as one likes, by default as far as was asked for, of which there are intervals."""
    y = np.random.default_rng(0).normal(size=60)
    near, far = (Forecaster(hidden=2, epochs=1, members=1, window=4, horizon=k).fit(y) for k in (1, 6))
    assert far.predict().shape == (6,)
    assert np.array_equal(far.predict(9), near.predict(9))
    assert far.intervals(6, coverage=0.5).shape == (6, 2)
    with pytest.raises(ValueError, match=r"errors were measured over at most \d steps"):
        near.intervals(6, coverage=0.5)
    far.save(tmp_path / "model")
    assert np.array_equal(Forecaster.load(tmp_path / "model").predict(), far.predict())


def test_widths_of_several_levels_at_once():
    errors, levels = np.random.default_rng(0).normal(size=(30, 2)), np.array([[0.1], [0.5], [0.99]])
    errors[3, 1] = np.nan
    found = width(errors, levels)
    np.testing.assert_array_equal(found, [width(errors, level) for level in (0.1, 0.5, 0.99)])
    assert np.isinf(found[2]).all()
    np.testing.assert_array_equal(width(errors[:, 1], levels[:, 0]), found[:, 1])
    assert width(errors[:0], levels).shape == np.broadcast_shapes(levels.shape, (2,))


def test_fitting_again_on_all_that_came_before():
    model = Mean()
    found = lambda refit: backtest([model, Persistence()], Y, test=4, refit=refit).forecasts["mean"]
    means = [Y[:n].mean() for n in range(4, 8)]
    np.testing.assert_allclose(found("always")[:, 0, 0], means)
    np.testing.assert_allclose(found(2)[:, 0, 0], np.repeat(means[::2], 2))
    np.testing.assert_allclose(found("never")[:, 0, 0], means[0])
    assert model.mean == means[0]  # whatever was fitted again was a copy


class Wavering(Mean):
    """Cannot be fitted on six steps. Says how many threads kernels may take where it is fitted on more."""

    def fit(self, series):
        from xprnn.kernels.cpu.threads import workers

        if len(series) == 6:
            raise ValueError("six steps are bad luck")
        self.mean = np.array([workers()])
        return self


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_fitting_again_elsewhere(kind):
    pool = ThreadPoolExecutor(2) if kind == "threads" else ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    models = [Forecaster(hidden=2, epochs=1, members=1, transforms="none"), AutoRegression(2)]
    series = np.random.default_rng(0).normal(size=140).cumsum()
    with pool as executor:
        found, here = (backtest(models, series, test=6, refit=2, executor=e).forecasts for e in (executor, None))
        alone = backtest([Wavering()], Y, test=3, refit=2, executor=executor).forecasts["mean"]
        with pytest.raises(ValueError, match="six steps") as caught:
            backtest([Wavering()], Y, test=3, refit="always", executor=executor)
    for name in here:
        np.testing.assert_array_equal(found[name], here[name])
    assert alone[2, 0, 0] == 1  # a worker's kernels stay in its own thread
    notes = getattr(caught.value, "__notes__", None)  # Python 3.10 has none
    assert notes in (None, ["backtest: this was in the work on the fit of mean before step 6."])


@pytest.mark.parametrize("refit", ["never", "always"])
def test_an_odd_executor(refit):
    with pytest.raises(TypeError, match=r"backtest: executor is a int; expected a concurrent.futures.Executor"):
        backtest([Mean()], Y, test=3, refit=refit, executor=2)


@pytest.mark.parametrize("refit", ["often", 0, -1, 2.5, None])
def test_odd_refits(refit):
    with pytest.raises(ValueError, match="backtest: refit is"):
        backtest([AutoRegression(1)], Y, test=3, refit=refit)


def restless(steps):
    """Noise that is five times as large in every second stretch of ten steps, as a covariate tells."""
    loud = np.arange(steps) // 10 % 2
    return np.random.default_rng(0).standard_t(6, size=steps) * (1.0 + 4.0 * loud), loud.astype(float)


@pytest.mark.parametrize("distribution", ["gaussian", "student"])
def test_a_scale_that_changes_is_learned(distribution, tmp_path):
    y, loud = restless(600)
    options = {"hidden": 4, "epochs": 12, "learning_rate": 3e-2, "members": 1, "transforms": "none", "window": 2}
    forecaster = Forecaster(distribution=distribution, **options).fit(y, future=loud)
    wide, narrow = (np.diff(forecaster.predict(1, future=[told], quantiles=[0.1, 0.9])[0])[0] for told in (1.0, 0.0))
    assert wide > 2.5 * narrow
    blind = Forecaster(**options).fit(y, future=loud)
    same = [np.diff(blind.predict(1, future=[told], quantiles=[0.1, 0.9])[0])[0] for told in (1.0, 0.0)]
    assert same[0] == pytest.approx(same[1], rel=0.1)
    forecaster.save(tmp_path / "model")
    for again in (Forecaster.load(tmp_path / "model"), pickle.loads(pickle.dumps(forecaster))):
        assert np.array_equal(
            again.sample(5, 3, future=np.ones(3), rng=0), forecaster.sample(5, 3, future=np.ones(3), rng=0)
        )


def counted(steps, dispersion):
    """Counts about a level that changes by the half within 25 steps."""
    draws, level = np.random.default_rng(2), 6.0 + 3.0 * np.sin(np.arange(steps) / 4.0)
    return draws.poisson(draws.gamma(1.0 / dispersion, dispersion * level)).astype(float)


def test_counts_have_futures_that_are_counts(tmp_path):
    """As spread as they are: of variance m + a m^2, about means that are above 0."""
    options = {"hidden": 2, "epochs": 3, "members": 1, "window": 4, "periods": (8 * np.pi,)}
    told = []
    for dispersion in (0.02, 1.0):
        y = counted(500, dispersion)
        forecaster = Forecaster(distribution="negative_binomial", **options).fit(
            np.where(np.arange(500) == 9, np.nan, y)
        )
        futures = forecaster.sample(400, 3, rng=0)
        assert (futures == np.maximum(np.round(futures), 0.0)).all()
        mean = futures[:, 0].mean()
        assert forecaster.predict(1)[0] == pytest.approx(mean, rel=0.2)
        told.append((futures[:, 0].var() - mean) / mean**2)
    assert told[0] < 0.2 < 0.6 < told[1] < 1.6
    forecaster.save(tmp_path / "model")
    assert np.array_equal(Forecaster.load(tmp_path / "model").sample(5, 3, rng=0), forecaster.sample(5, 3, rng=0))
    rare = np.zeros(60)
    rare[[7, 20, 41]] = 1.0
    few = Forecaster(distribution="negative_binomial", **options).fit(rare)
    assert (few.predict(9) > 0.0).all()
    assert (few.intervals(1, coverage=0.8) >= 0.0).all()
    with pytest.raises(ValueError, match="Forecaster.futures: paths is .*; expected an integer from 1 to 2"):
        forecaster.futures(y, [40], 2, paths=2**50)
    rare[41] = 1e15  # beside which float32 does not tell 0 from what is below
    futures = Forecaster(distribution="negative_binomial", **options).fit(rare).sample(50, 3, rng=0)
    assert (futures == np.maximum(np.round(futures), 0.0)).all()


def test_what_is_not_a_count():
    options = {"distribution": "negative_binomial", "hidden": 2, "epochs": 1, "members": 1, "window": 4}
    y = counted(60, 0.1)
    for bad in (-1.0, 0.5):
        with pytest.raises(ValueError, match=rf"Forecaster: row 3, column 0 is {bad:g}; expected a count, 0, 1, 2"):
            Forecaster(**options).fit(np.where(np.arange(60) == 3, bad, y))
    with pytest.raises(ValueError, match=r"Forecaster.observe: row 1, column 0 is 2.5; expected a count"):
        Forecaster(**options).fit(y).observe([1.0, 2.5])


@pytest.mark.parametrize("distribution", ["errors", "gaussian", "student", "quantiles"])
@pytest.mark.parametrize("horizon", [1, 3])
def test_futures_spread_as_the_series_does(distribution, horizon):
    """A random walk: the deviation after k steps is that of one step times sqrt(k)."""
    y = np.random.default_rng(0).normal(size=400).cumsum()
    strategy = "direct" if horizon > 1 else "recursive"
    options = {"hidden": 2, "epochs": 1, "members": 2, "strategy": strategy, "horizon": horizon}
    spread = Forecaster(distribution=distribution, **options).fit(y).sample(4000, 3, rng=1).std(axis=0)
    np.testing.assert_allclose(spread, np.sqrt([1.0, 2.0, 3.0]), rtol=0.2)
