import math

import numpy as np
import pytest
from helpers import host
from hypothesis import given
from hypothesis import strategies as st

import xprnn
from xprnn import ops
from xprnn.beyond_standard import erf, scatter_add

EDGES = [0.0, -0.0, 0.5, 4.0, 5.0, 30.0, 1e-30, 1e30, math.inf]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_few_units_in_the_last_place(home, dtype):
    x = np.concatenate([np.linspace(-7, 7, 4001), EDGES, [-e for e in EDGES]]).astype(dtype)
    found = host(erf(home.asarray(x)))
    expected = np.array([math.erf(v) for v in x], dtype)
    assert found.dtype == expected.dtype
    np.testing.assert_array_max_ulp(found, expected, maxulp=4)


@given(st.floats(allow_nan=True))
def test_any_number(x):
    found = erf(np.array([x]))[0]
    np.testing.assert_allclose(found, math.erf(x), rtol=1e-14)
    assert math.isnan(x) or math.copysign(1, found) == math.copysign(1, x)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_large_arrays_on_the_kernels(dtype):
    pytest.importorskip("numba")
    x = np.concatenate([np.linspace(-7, 7, 2**18), EDGES, [-e for e in EDGES], [math.nan] * 2]).astype(dtype)
    for array in (x, x.reshape(4, -1).T, x[::-2]):
        found = ops.erf(array).data
        assert found.dtype == dtype
        np.testing.assert_array_max_ulp(found, erf(array), maxulp=4)
        with xprnn.use_kernels("reference"):
            np.testing.assert_array_equal(ops.erf(array).data, erf(array))


def test_scatter_add_sums_rows(home, rng):
    index, values = np.array([2, 0, 2, 3]), rng.standard_normal((4, 2))
    expected = np.zeros((5, 2))
    np.add.at(expected, index, values)
    found = scatter_add(home.asarray(index), home.asarray(values), 5)
    np.testing.assert_allclose(host(found), expected, rtol=1e-15)
