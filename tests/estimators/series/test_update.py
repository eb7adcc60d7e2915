"""Learning from what came after a fit: the autoregression of all steps, and networks trained on."""

from pathlib import Path

import numpy as np
import pytest

from xprnn.estimators import Forecaster, Panel
from xprnn.estimators.series.frame import Series
from xprnn.estimators.series.plans import moments_at
from xprnn.train import Callback

SAVED = Path(__file__).parents[1] / "saved" / "forecaster.safetensors"
TINY = {"hidden": 2, "epochs": 1, "members": 1}
Y = np.random.default_rng(0).normal(size=260).cumsum() + 0.1 * np.arange(260)


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_autoregression_is_that_of_all_steps(horizon):
    strategy = "direct" if horizon > 1 else "recursive"
    forecaster = Forecaster(**TINY, strategy=strategy, horizon=horizon).fit(Y[:200])
    for first, last in ((200, 201), (201, 240), (240, 260)):
        forecaster.update(Y[first:last])
    (member,) = forecaster._model.members
    frame = member.common.frame(member.plan, [Series(Y[:, None])], member.scale)
    rows = np.arange(member.plan.reach, 260 - horizon + 1)
    weights, biases = moments_at(frame, member.plan, rows, horizon).solve()
    found = member.network.linear
    np.testing.assert_allclose(found.bias.numpy(), biases.T.reshape(-1), atol=1e-5)
    np.testing.assert_allclose(
        np.sort(found.weight.numpy(), axis=None)[-1], max(0.0, weights.max(initial=0.0)), atol=1e-5
    )
    there = forecaster.forecast(Y, [260], horizon)[0, :, 0]
    np.testing.assert_allclose(forecaster.predict(horizon), there, rtol=1e-5)


def test_networks_that_are_listened_to_are_trained_on(tmp_path):
    wave = np.sin(np.arange(200.0) / 3.0)
    forecaster = Forecaster(**TINY | {"members": 2}, validation=0, window=6).fit(wave[:150])
    forecaster.save(tmp_path / "model")
    loaded = Forecaster.load(tmp_path / "model")
    before = forecaster.network.state_dict()
    for model in (forecaster, loaded):
        model.update(wave[150:], epochs=2)
    after = forecaster.network.state_dict()
    assert not np.array_equal(after["members.1.head.weight"], before["members.1.head.weight"])
    assert np.array_equal(loaded.predict(5), forecaster.predict(5))


def test_an_update_that_fails_changes_nothing():
    class Stop(Callback):
        def on_batch_end(self, run):
            raise KeyboardInterrupt

    forecaster = Forecaster(**TINY, validation=0, window=6).fit(Y[:200])
    before, weights = dict(vars(forecaster)), forecaster.network.state_dict()
    with pytest.raises(KeyboardInterrupt):
        forecaster.update(Y[200:], callbacks=[Stop()])
    with pytest.raises(ValueError, match=r"Forecaster: the series has 2 columns; fitted on 1"):
        forecaster.update(np.ones((5, 2)))
    with pytest.raises(ValueError, match=r"Forecaster.update: epochs is 0"):
        forecaster.update(Y[200:], epochs=0)
    assert all(value is before[name] for name, value in vars(forecaster).items())
    for name, array in forecaster.network.state_dict().items():
        np.testing.assert_array_equal(array, weights[name])
    with pytest.raises(RuntimeError, match="fit it first"):
        Forecaster().update(Y)


def test_steps_that_are_too_far_from_the_others():
    forecaster = Forecaster(**TINY).fit(np.sin(np.arange(80.0) / 3.0))
    before = forecaster.predict(3)
    for far in ([1e30] * 3, [1e40]):
        with pytest.raises(FloatingPointError, match=r"Forecaster: the autoregression diverges, with weights up to"):
            forecaster.update(far)
    assert np.array_equal(forecaster.predict(3), before)


def test_a_step_that_outweighs_all_others_is_told_of(recwarn):
    forecaster = Forecaster(**TINY).fit(Panel({"a": 10.0 + np.sin(Y[:100]), "b": 1e6 * np.sin(Y[:100])}))
    forecaster.update({"a": [12.0, np.nan], "b": [1e7, 0.0]})
    assert not recwarn.list
    told = (
        r"Forecaster.update: series 'a': row 1, column 0 is 1e\+06, .* deviations from .* give NaN where it is a fault"
    )
    with pytest.warns(UserWarning, match=told):
        forecaster.update({"a": [10.0, 1e6], "b": [0.0, 0.0]})


def test_several_series_and_none_of_one():
    forecaster = Forecaster(**TINY).fit(Panel({"a": Y[:80], "b": Y[100:180]}))
    forecaster.update({"a": Y[80:100], "b": []})
    count = forecaster._model.members[0].moments.count[0]
    plan = forecaster._model.members[0].plan
    assert count == 100 + 80 - 2 * plan.reach


@pytest.mark.parametrize("distribution", ["errors", "negative_binomial"])
def test_what_had_been_constant_is_scaled_by_what_came(tmp_path, distribution):
    """A shop that had sold nothing begins to sell, and the one beside it goes on as it did."""
    sold = np.random.default_rng(1).poisson(6.0, 200).astype(float)
    forecaster = Forecaster(**TINY, distribution=distribution).fit(Panel({"new": 0.0 * sold[:120], "old": sold[:120]}))
    np.testing.assert_allclose(forecaster.predict(2)["new"], 0.0, atol=1e-6)
    old = forecaster._model.members[0].scale
    forecaster.update({"new": 1e4 * sold[120:], "old": sold[120:]})
    scale = forecaster._model.members[0].scale
    assert (scale.mean[1], scale.std[1]) == (old.mean[1], old.std[1])
    said = forecaster.predict(3)
    assert (np.abs(said["new"] / 1e4 - 6.0) < 3.0).all(), said
    assert (np.diff(forecaster.intervals(1)["new"]) > 1e4).all()
    assert (np.abs(said["old"] - 6.0) < 3.0).all(), said
    forecaster.save(tmp_path / "model")
    assert np.array_equal(Forecaster.load(tmp_path / "model").predict(3)["new"], said["new"])


@pytest.mark.parametrize("distribution", ["errors", "gaussian", "quantiles"])
def test_of_what_had_been_constant_no_error_is_known_and_futures_differ(distribution):
    forecaster = Forecaster(**TINY, distribution=distribution, window=4).fit(np.c_[np.ones(60), Y[:60]])
    forecaster.update(np.c_[5.0 + np.random.default_rng(0).normal(size=40), Y[60:100]])
    low, high = forecaster.predict(1, quantiles=[0.05, 0.95])[0, 0]
    assert 1.0 < low < high - 2.0 < 8.0
    with pytest.raises(ValueError, match="coverage is 0.5, with as few as 0 errors to learn it from"):
        forecaster.intervals(1, coverage=0.5)


def test_a_file_of_before_keeps_its_persistence():
    forecaster = Forecaster.load(SAVED)
    linear = forecaster.network.members[0].linear.weight.numpy().copy()
    forecaster.update(np.ones((4, forecaster.n_features_in_)))
    np.testing.assert_array_equal(forecaster.network.members[0].linear.weight.numpy(), linear)
