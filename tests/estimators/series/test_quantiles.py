"""Networks that say quantiles: what lies between and beyond those that are learned, and how many steps stay below."""

import pickle

import numpy as np
import pytest

from xprnn.estimators import Forecaster
from xprnn.estimators.series.accuracy import pinball
from xprnn.estimators.series.distributions import DISTRIBUTIONS, LADDER, LEVELS, Zero, quantile_at

TINY = {"distribution": "quantiles", "hidden": 4, "members": 1, "transforms": "none", "window": 2}
LEARNED = np.array(LEVELS)


def test_between_and_beyond_the_quantiles_by_hand():
    """The tails of an exponential and of a Laplace distribution are what they are."""
    above = -np.log(1.0 - LEARNED)
    both = np.where(LEARNED < 0.5, np.log(2.0 * LEARNED), -np.log(2.0 * (1.0 - LEARNED)))
    for chances, quantiles, wanted in (
        (LEARNED, above, above),
        (np.array([0.75]), above, [0.5 * (above[8] + above[9])]),
        (np.array([0.999, 1.0 - 1e-9]), above, -np.log([1e-3, 1e-9])),
        (np.array([1e-9, 0.004]), both, np.log([2e-9, 0.008])),
    ):
        found = quantile_at(chances, np.broadcast_to(quantiles, (*chances.shape, len(quantiles))))
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    ends = quantile_at(np.array([0.0, 1.0]), np.stack([both, both]))
    assert np.isfinite(ends).all()
    assert ends[0] < both[0] < both[-1] < ends[1]


def test_no_quantile_crosses_another_and_the_loss_is_that_of_all(home):
    draws = np.random.default_rng(0)
    median, steps = draws.normal(size=(2, 5, 2, 3)).astype(np.float32)
    widths = np.exp(draws.uniform(-6.0, 6.0, size=(5, 2, 3, len(LEVELS) - 1))).astype(np.float32)
    quantiles = median[..., None] + widths @ LADDER
    assert (np.diff(quantiles) >= 0.0).all()
    np.testing.assert_array_equal(quantiles[..., LEVELS.index(0.5)], median)
    np.testing.assert_allclose(np.diff(quantiles), widths, rtol=1e-3, atol=1e-6)
    learned = DISTRIBUTIONS["quantiles"]
    mask = np.ones(steps.shape, dtype=bool)
    mask[1, 0, 2] = False
    told = *(home.asarray(each) for each in (median, steps, widths, mask)), Zero(0.0, 1.0)
    each = learned.loss(*told, "none").numpy()
    assert each.shape == steps.shape
    assert each[1, 0, 2] == 0.0
    assert each[0, 1, 2] == pytest.approx(pinball(steps[0, 1, 2], quantiles[0, 1, 2], LEVELS), rel=1e-5)
    whole = learned.loss(*told, "mean").item()
    assert whole == pytest.approx(pinball(steps[mask], quantiles[mask], LEVELS), rel=1e-5)


def skewed(steps):
    """Exponential errors, four times as large in every second stretch of ten steps, as a covariate tells."""
    loud = (np.arange(steps) // 10 % 2).astype(float)
    return np.random.default_rng(0).exponential(size=steps) * (1.0 + 3.0 * loud), loud


def test_as_many_steps_stay_below_as_is_said(tmp_path):
    """Of a scale that changes, and of errors that are not as large below as above."""
    y, loud = skewed(1600)
    forecaster = Forecaster(epochs=8, learning_rate=2e-2, **TINY).fit(y[:1000], future=loud[:1000])
    origins, levels = np.arange(1000, 1600), np.array([0.1, 0.5, 0.9])
    futures = forecaster.futures(y, origins, 1, 300, future=loud)[:, :, 0, 0]
    said = np.quantile(futures, levels, axis=0)
    for state in (0.0, 1.0):
        mine = loud[origins] == state
        below = (y[origins][mine] <= said[:, mine]).mean(axis=1)
        np.testing.assert_allclose(below, levels, atol=0.06)
        np.testing.assert_allclose(
            said[:, mine].mean(axis=1), -np.log(1.0 - levels) * (1.0 + 3.0 * state), rtol=0.3, atol=0.25
        )
    median = forecaster.forecast(y, origins, 1, future=loud)[:, 0, 0]
    np.testing.assert_allclose(np.median(futures, axis=0), median, atol=0.8)
    assert (np.diff(forecaster.predict(3, future=np.ones(3), quantiles=[0.001, 0.1, 0.5, 0.9, 0.999])) > 0.0).all()
    assert np.isfinite(forecaster.intervals(1, future=[1.0])).all()
    forecaster.save(tmp_path / "model")
    for again in (Forecaster.load(tmp_path / "model"), pickle.loads(pickle.dumps(forecaster))):
        known = {"future": np.ones(3)}
        assert np.array_equal(again.sample(5, 3, rng=0, **known), forecaster.sample(5, 3, rng=0, **known))


def test_what_begins_is_the_quantiles_of_the_autoregression():
    """Where the network has learned nothing, the median is in the middle of skewed errors all the same."""
    y = np.random.default_rng(0).exponential(size=800)
    forecaster = Forecaster(epochs=1, learning_rate=1e-30, **TINY).fit(y)
    assert not forecaster.network.members[0].listened
    said = forecaster.predict(1, quantiles=[0.1, 0.5, 0.9])[0]
    np.testing.assert_allclose(said, np.quantile(y, [0.1, 0.5, 0.9]), atol=0.2)
    assert forecaster.predict(1)[0] == pytest.approx(np.median(y), abs=0.1)
    assert forecaster.update(y[:50]).predict(1)[0] == pytest.approx(np.median(y), abs=0.1)


def test_of_several_columns_and_steps_each_has_its_own(tmp_path):
    draws = np.random.default_rng(1)
    y = np.stack([draws.normal(size=1000), draws.exponential(size=1000)], axis=1)
    y[7, 1] = np.nan
    options = {**TINY, "epochs": 2, "strategy": "direct", "horizon": 3}
    forecaster = Forecaster(**options).fit(y)
    said = forecaster.predict(quantiles=[0.1, 0.9])
    assert said.shape == (3, 2, 2)
    np.testing.assert_allclose(said, [np.nanquantile(y, [0.1, 0.9], axis=0).T] * 3, atol=0.4)
    forecaster.save(tmp_path / "model")
    assert np.array_equal(Forecaster.load(tmp_path / "model").predict(quantiles=[0.1, 0.9]), said)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 1.1, float("nan"), "0.5", None, True])
def test_odd_levels(level):
    forecaster = Forecaster(epochs=1, **TINY).fit(skewed(60)[0])
    with pytest.raises((ValueError, TypeError), match=r"Forecaster: quantiles\[1\]"):
        forecaster.predict(1, quantiles=[0.5, level])
