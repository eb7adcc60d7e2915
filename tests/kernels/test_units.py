"""Streams of one sequence step by ``units.py``: results are those of the loops that the layer runs."""

import numpy as np
import pytest

pytest.importorskip("numba")

from xprnn.kernels import kinds
from xprnn.kernels.cpu import units

from xprnn import nn

SIZES = [1, 3, 8, 17, 33, 100]  # less than a vector, whole ones, all widths of a tile and several tiles


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_one_sequence_alone_is_one_among_others(name, dtype):
    assert {getattr(kinds, name) for name in ("LSTM", "GRU")} == set(units.WIDEST)
    rng, rounding = np.random.default_rng(0), 1e-6 if dtype == "float32" else 1e-14
    for size in SIZES:
        layer = getattr(nn, name)(3, size, dtype=dtype, rng=size)
        x = 10.0 * rng.standard_normal((9, 3)).astype(dtype)
        alone, among = layer.stream(None), layer.stream(3)
        found, expected = alone.block(x), among.block(np.stack([x, -x, x], axis=1))
        np.testing.assert_allclose(found, expected[:, 0], rtol=rounding, atol=rounding)
        np.testing.assert_array_equal(expected[:, 0], expected[:, 2])
        for part, other in zip(*(s.state if name == "LSTM" else [s.state] for s in (alone, among)), strict=True):
            np.testing.assert_allclose(part, other[:, :1], rtol=rounding, atol=rounding)


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_what_is_not_finite_stays_where_it_belongs(name):
    layer = getattr(nn, name)(1, 5, rng=0)
    for odd in (np.inf, -np.inf, np.nan):
        x = np.array([[0.5], [odd], [0.5]], "float32")
        found, expected = layer.stream(None).block(x), layer.stream(2).block(np.stack([x, x], axis=1))
        np.testing.assert_allclose(found, expected[:, 0], rtol=1e-6, atol=1e-6)
        assert np.isnan(found[1:]).all() == np.isnan(odd)
