"""Products of codes, against integers of 64 bits: with every unit that this host has, the same numbers."""

import numpy as np
import pytest

pytest.importorskip("numba")

import numba
from xprnn.kernels.cpu.compiling import PLAIN
from xprnn.kernels.cpu.host import features
from xprnn.kernels.cpu.int8_codes import VECTORS, code_rows, pack, units
from xprnn.kernels.cpu.int8_product import linear_rows, make_tile
from xprnn.kernels.cpu.intrinsics import address
from xprnn.kernels.cpu.product import padded


def codes_of(x):
    """Codes of rows and their scales, in NumPy."""
    top = np.abs(x).max(axis=1, keepdims=True)
    return np.rint(x * (np.float32(127) / top)).astype(np.int64), (top / np.float32(127))[:, 0]


def expected(x, weight, scale, bias):
    q, s = codes_of(x)
    return bias + (q @ weight.astype(np.int64).T).astype("float32") * (s[:, None] * scale)


def draw(rng, rows, inputs, outputs):
    """x, and codes with all of the extremes, -128 too, which only a file can have."""
    x = rng.standard_normal((rows, inputs)).astype("float32")
    weight = rng.choice([-128, -127, -1, 0, 3, 127], (outputs, inputs)).astype("int8")
    return (
        x,
        weight,
        rng.uniform(0.001, 0.01, outputs).astype("float32"),
        rng.standard_normal(outputs).astype("float32"),
    )


def test_every_small_size():
    rng = np.random.default_rng(0)
    for rows in range(1, 10):
        for inputs in (1, 2, 3, 4, 5, 33):
            for outputs in (1, 15, 16, 17, 64, 70, 128, 200):
                x, weight, scale, bias = draw(rng, rows, inputs, outputs)
                packed, y = pack(weight, scale), np.empty((rows, outputs), "float32")
                whole = np.zeros(packed.starts.size, "float32")
                whole[:outputs] = bias
                linear_rows(x, *packed, whole, y, 0, rows)
                np.testing.assert_array_equal(y, expected(x, weight, scale, bias))


@pytest.mark.parametrize("unit", units(features()), ids=lambda unit: unit.instruction or "plain")
def test_units_agree(unit):
    whole, group = padded(1, 4) // unit.lanes, unit.group  # vectors that the narrowest product has
    tile = make_tile(unit, 2, (whole, VECTORS + whole))

    @numba.njit(**PLAIN)
    def product(codes, scales, w, starts, w_scales, c, vectors):
        tile(
            address(codes, 0), address(scales, 0), address(w, 0), address(starts, 0), address(w_scales, 0),
            codes.shape[1] // group, address(c, 0), c.shape[1], vectors,
        )  # fmt: skip

    rng = np.random.default_rng(0)
    for vectors in (whole, VECTORS + whole):
        x, weight, scale, bias = draw(rng, 2, 37, vectors * unit.lanes)
        q, s = codes_of(x)
        codes = np.full((2, unit.width(37)), unit.offset, unit.code)
        codes[:, :37] = q + unit.offset
        c = np.tile(bias, (2, 1))
        packed = pack(weight, scale, unit)
        product(codes, s, *packed, c, vectors)
        np.testing.assert_array_equal(c, expected(x, weight, scale, bias))


def test_codes_of_odd_rows():
    @numba.njit(**PLAIN)
    def coded(x, codes, scales):
        code_rows(
            address(x, 0), x.shape[1], x.shape[1], x.shape[0], address(codes, 0), codes.shape[1], address(scales, 0)
        )

    rows = np.array(
        [[0.5, -2.5, 127.0], [0, 0, 0], [1e-31, 0, 0], [np.nan, 1, 1], [1, -np.inf, 0], [3e38, -1, 0]], "f4"
    )
    codes, scales = np.empty((6, 4), np.int16), np.empty(6, np.float32)
    coded(rows, codes, scales)
    np.testing.assert_array_equal(codes[0], [0, -2, 127, 0])  # ties to even
    np.testing.assert_array_equal(scales[:3], [1, 0, 0])
    assert np.isnan(scales[3:5]).all()
    assert codes[5, 0] == 127
    assert not codes[1:3].any()
