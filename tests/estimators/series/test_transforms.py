"""Transforms: what they say of a series by hand, and that they are taken back."""

import numpy as np
import pytest

from xprnn.estimators.series.frame import Scale, Series
from xprnn.estimators.series.transforms import Transform, held, since_known

Y = np.random.default_rng(0).uniform(1.0, 9.0, size=(40, 2)).cumsum(axis=0)


def test_by_hand():
    y = np.array([[1.0], [4.0], [9.0], [16.0], [36.0]])
    found = Transform(0.5, 1, 2).differenced(Transform(0.5).powered(y))
    w = 2.0 * (np.sqrt(y) - 1.0)
    seasonal = w[2:] - w[:-2]
    np.testing.assert_allclose(found[3:], seasonal[1:] - seasonal[:-1])
    assert not found[:3].any()
    np.testing.assert_allclose(Transform(0.0).powered(y), np.log(y))


@pytest.mark.parametrize("power", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("differences", [0, 1])
@pytest.mark.parametrize("season", [0, 1, 4])
def test_taken_back(power, differences, season):
    transform, origins = Transform(power, differences, season), np.array([7, 20, 34])
    powered = transform.powered(Y)
    np.testing.assert_allclose(transform.unpowered(powered), Y)
    ahead = origins[:, None] + np.arange(6)
    steps = transform.differenced(powered)[ahead]
    # Of the future nothing is known but its differences.
    known = np.where(np.arange(len(Y))[:, None] < origins.max(), powered, np.nan)
    found = transform.unpowered(transform.integrated(steps, known, origins))
    np.testing.assert_allclose(found[-1], Y[ahead[-1]])
    np.testing.assert_allclose(transform.unpowered(transform.integrated(steps, powered, origins)), Y[ahead])


def test_values_below_the_floor_and_beyond_all_bounds_stay_finite():
    logarithm = Transform(0.0)
    assert logarithm.powered(np.array([-3.0, 0.0, 2.0]), 0.5).tolist() == np.log([0.5, 0.5, 2.0]).tolist()
    assert np.isfinite(logarithm.unpowered(np.array([1e9, -1e9]))).all()
    assert Transform(0.5).unpowered(np.array([-1e9]))[0] == 0.0


def test_missing_values_are_held():
    y = np.array([[np.nan, 1.0], [2.0, np.nan], [np.nan, np.nan], [5.0, 4.0]])
    filled, known = held(y)
    assert filled.tolist() == [[2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [5.0, 4.0]]
    assert known.tolist() == [[False, True], [True, False], [False, False], [True, True]]
    np.testing.assert_allclose(np.expm1(since_known(known)), [[1, 0], [0, 1], [1, 2], [0, 0]], atol=1e-12)


def test_scales_are_of_the_first_steps_alone():
    transform, other = Transform(0.0, 1, 0), Y.copy()
    other[25:] = 1e6
    one, two = (Scale.of(transform, [Series(y)], [25]) for y in (Y, other))
    assert all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(two).values(), strict=True))
    changes = np.diff(np.log(Y[:25]), axis=0)
    np.testing.assert_allclose(one.mean[0], changes.mean(axis=0))
    np.testing.assert_allclose(one.std[0], changes.std(axis=0))
    assert one.floor[0].tolist() == (0.5 * Y[:25].min(axis=0)).tolist()
    assert np.isfinite(one.scaled(0, np.array([1e300, -1e300]))).all()
