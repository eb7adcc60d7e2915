"""Scaling, windows and seasonal features of series."""

from functools import partial

import numpy as np
import pytest

from xprnn.data.series import StandardScaler, as_series, harmonics, windows


def test_scaler_inverts_and_survives_constant_columns():
    series = np.random.default_rng(0).normal(5, 3, (50, 2))
    series[:, 1] = 0.1  # its computed deviation is rounding, not zero
    scaler = StandardScaler().fit(series)
    scaled = scaler.transform(series)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(axis=0), [1, 0], atol=1e-12)
    np.testing.assert_allclose(scaler.inverse(scaled), series)
    np.testing.assert_array_equal(scaler.inverse(scaled + 5.0)[:, 1], series[:, 1])


@pytest.mark.parametrize("scale", [1e-150, 1e-12, 1.0, 1e12, 1e150])
def test_scaler_takes_any_scale(scale):
    series = scale * np.random.default_rng(0).normal(size=(50, 1))
    scaler = StandardScaler().fit(series)
    np.testing.assert_allclose(scaler.transform(series).std(), 1.0)


def test_scaler_says_what_is_too_large():
    with pytest.raises(ValueError, match="values up to 1e\\+308 are too large"):
        StandardScaler().fit(np.array([[1e308], [-1e308], [1e308]]))


def test_a_scaler_says_what_it_cannot_scale():
    for series, message in [
        (np.zeros((0, 2)), r"has shape \(0, 2\); expected \(N, F\) with N at least 1"),
        (np.float64(3.0), r"has shape \(\); expected \(N, F\)"),
        ([[1.0], [np.nan]], "holds NaN or infinity; expected finite numbers"),
    ]:
        with pytest.raises(ValueError, match=f"StandardScaler: the series {message}"):
            StandardScaler().fit(series)
    scaler = StandardScaler().fit([[1.0], [3.0]])
    for wrong in (scaler.transform, scaler.inverse):
        with pytest.raises(ValueError, match=r"StandardScaler: the series has shape \(4, 2\); expected \(..., 1\)"):
            wrong(np.zeros((4, 2)))
    assert scaler.transform(np.full((2, 5, 1), 3.0)).tolist() == [[[1.0]] * 5] * 2


def test_windows_end_before_their_origin():
    series = np.arange(10.0)[:, None]
    found = windows(series, np.array([3, 10]), 3)
    assert found.shape == (3, 2, 1)
    np.testing.assert_array_equal(found[:, :, 0].T, [[0, 1, 2], [7, 8, 9]])


@pytest.mark.parametrize("origin", [2, 11])
def test_windows_outside_the_series_are_refused(origin):
    with pytest.raises(ValueError, match=f"origin {origin} does not have 3 steps before it in a series of 10"):
        windows(np.zeros((10, 1)), np.array([5, origin]), 3)


@pytest.mark.parametrize("length", [2.0, 0, True, "2"])
def test_windows_have_a_whole_number_of_steps(length):
    with pytest.raises(ValueError, match="windows: length is"):
        windows(np.zeros((10, 1)), np.array([5]), length)


def test_harmonics_repeat_with_their_periods():
    t = np.arange(40)
    features = harmonics(t, [4.0, 10.0])
    assert features.shape == (40, 4)
    np.testing.assert_allclose(features[:20], features[20:], atol=1e-12)
    np.testing.assert_allclose(features[1], [1, 0, np.sin(0.2 * np.pi), np.cos(0.2 * np.pi)], atol=1e-12)
    assert harmonics(t, []).shape == (40, 0)


def test_as_series_takes_vectors_lists_and_other_libraries():
    assert as_series([1, 2, 3]).shape == (3, 1)
    assert as_series(np.zeros((3, 2), dtype="int32")).dtype == np.float64
    strict = pytest.importorskip("array_api_strict")
    assert as_series(strict.ones((4,), device=strict.Device("device1"))).shape == (4, 1)


def test_as_series_names_the_first_bad_row():
    values = np.zeros((5, 2))
    values[3, 1] = np.nan
    values[4, 0] = np.inf
    with pytest.raises(ValueError, match=r"demand: row 3, column 1 is nan \(2 values are not finite\)"):
        as_series(values, "demand")
    with pytest.raises(TypeError, match="a masked array; fill or drop what is masked first"):
        as_series(np.ma.array([1.0, 2.0], mask=[0, 1]))
    with pytest.raises(TypeError, match="expected numbers"):
        as_series(["a", "b"])
    with pytest.raises(ValueError, match=r"shape is \(2, 2, 2\); expected \(N,\) or \(N, F\)"):
        as_series(np.zeros((2, 2, 2)))


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**-500, 1.0, 2.0**500])
def test_a_scaler_takes_any_scale(scale):
    series = np.random.default_rng(0).normal(3.0, 1.0, (20, 2))
    z = StandardScaler().fit(series * scale).transform(series * scale)
    np.testing.assert_array_equal(z, StandardScaler().fit(series).transform(series))


def test_columns_that_vary_by_little_beside_their_size_are_no_constants():
    series = 1e15 + np.arange(60.0)[:, None]
    np.testing.assert_allclose(StandardScaler().fit(series).transform(series).std(), 1.0)
    flat = 1e15 * np.full((60, 3), [0.1, 0.7, 1.1])
    np.testing.assert_array_equal(StandardScaler().fit(flat).std, 0.0)


@pytest.mark.parametrize("kind", [np.array, list, lambda v: {"v": v}, "pandas"])
def test_integers_that_float64_does_not_tell_apart_are_refused(kind):
    if kind == "pandas":
        kind = partial(pytest.importorskip("pandas").Series, dtype="Int64")
    with pytest.raises(ValueError, match="has 1152921504606846976 and 1152921504606846977, which float64 does not"):
        as_series(kind(2**60 + np.arange(60)))
    assert as_series(kind(2**60 + 1024 * np.arange(60))).shape == (60, 1)


def test_masks_are_not_lost_in_silence():
    masked = np.ma.masked_greater(np.arange(4.0), 2)
    for given in (masked, {"a": masked}):
        with pytest.raises(TypeError, match="is a masked array; fill or drop what is masked first"):
            as_series(given)
    with pytest.raises(TypeError, match="StandardScaler: the series is a masked array"):
        StandardScaler().fit(masked[:, None])
    with pytest.raises(TypeError, match="series: the series is an np.matrix"):
        as_series(np.asmatrix(np.arange(4.0)))
