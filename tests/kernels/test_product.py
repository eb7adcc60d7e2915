"""The register-tile product against float64, at every small size."""

import numpy as np
import pytest

pytest.importorskip("numba")

from xprnn.kernels.cpu.compiling import kernel
from xprnn.kernels.cpu.host import TILE, best_tile
from xprnn.kernels.cpu.intrinsics import address
from xprnn.kernels.cpu.product import (
    BFLOAT16,
    EXACT,
    PAIRED,
    PANELS,
    add_rows,
    multiply,
    multiply_transposed,
    pack,
    padded,
    turn,
)


@kernel
def grouped(a, w, c):
    """C (G, R, N) += A (G, R, K) W, in one call."""
    groups, rows, k = a.shape
    ldc = c.shape[2]
    multiply(address(a, 0), groups, rows * k, rows, k, address(w, 0), k, w.shape[0], address(c, 0), rows * ldc, ldc)


def draw(*shape, dtype, rng):
    return rng.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", range(1, 15))
def test_every_small_size(rows, dtype):
    rng, width = np.random.default_rng(rows), TILE.columns(np.dtype(dtype).itemsize)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    for k in (0, 1, 2, 7):
        for n in (1, width // 2, width - 1, width, width + 1, 3 * width - 1, 4 * width, 5 * width + 3):
            for groups in (1, 3):
                a, w = draw(groups, rows, k, dtype=dtype, rng=rng), draw(k, n, dtype=dtype, rng=rng)
                c = draw(groups, rows, padded(n, a.itemsize), dtype=dtype, rng=rng)
                expected = c[..., :n] + a.astype("float64") @ w.astype("float64")
                beyond = c[..., n:].copy()
                grouped(a, pack(w), c)
                np.testing.assert_allclose(c[..., :n], expected, rtol=tolerance, atol=tolerance)
                np.testing.assert_array_equal(c[..., n:], beyond)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_has_the_same_bits_among_any_others(dtype):
    rng, k, n = np.random.default_rng(0), 9, 3 * TILE.columns(np.dtype(dtype).itemsize)
    a, w = draw(1, 14, k, dtype=dtype, rng=rng), draw(k, n, dtype=dtype, rng=rng)
    packed, c = pack(w), np.zeros((1, 14, n), dtype)
    for row in range(14):
        grouped(a[:, row : row + 1].copy(), packed, c[:, row : row + 1])
    for rows in range(2, 15):
        together = np.zeros((1, rows, n), dtype)
        grouped(a[:, :rows].copy(), packed, together)
        np.testing.assert_array_equal(together, c[:, :rows])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("together", [1, 2, 3])
def test_more_panels_than_a_tile_passes_over_at_a_time(together, dtype):
    rng, width = np.random.default_rng(0), TILE.columns(np.dtype(dtype).itemsize)
    k, n = PANELS // together // (TILE.vectors * TILE.vector_bytes), 7 * width + 3
    a, w = draw(2, 9, k, dtype=dtype, rng=rng), draw(k, n, dtype=dtype, rng=rng)
    c = np.zeros((2, 9, padded(n, a.itemsize)), dtype)
    grouped(a, pack(w), c)
    for start in range(0, n, width):
        alone = np.zeros_like(c[..., start : start + width])
        grouped(a, pack(w[:, start : start + width]), alone)
        np.testing.assert_array_equal(c[..., start : start + width], alone)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("k", "m", "n"),
    [
        (0, 3, 4), (1, 1, 1), (5, 7, 3), (127, 13, 65), (128, 6, 64), (300, 20, 130), (130, 260, 32), (129, 300, 67),
        (5, 266, 3), (3, 270, 5),
    ],
)  # fmt: skip
def test_transposed_product_in_parts(k, m, n, dtype):
    rng = np.random.default_rng(0)
    a, b = draw(k, m, dtype=dtype, rng=rng), draw(k, n, dtype=dtype, rng=rng)
    c = np.zeros((m, padded(n, a.itemsize)), dtype)
    for first, last in ((0, m // 2), (m // 2, m)):
        multiply_transposed(a, b, c, first, last)
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(c[:, :n], a.T.astype("float64") @ b.astype("float64"), rtol=tolerance, atol=tolerance)
    sums = np.zeros(m, dtype)
    add_rows(a, sums, 0, m // 2)
    add_rows(a, sums, m // 2, m)
    np.testing.assert_allclose(sums, a.sum(axis=0, dtype="float64"), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (17, 3), (64, 32), (300, 33), (40, 16)])
def test_the_transpose_of_a_sum(n, k, dtype):
    total = np.random.default_rng(0).standard_normal((k, padded(n, np.dtype(dtype).itemsize))).astype(dtype)
    out = np.empty((n, k), dtype)
    for first, last in ((0, n // 2), (n // 2, n)):
        turn(total, out, first, last)
    np.testing.assert_array_equal(out, total[:, :n].T)


def test_long_sums_keep_their_digits():
    ones, terms = np.ones((200_000, 1), "float32"), np.full((200_000, 3), 0.1, "float32")
    total, product = np.zeros(3, "float32"), np.zeros((1, padded(3, 4)), "float32")
    add_rows(terms, total, 0, 3)
    multiply_transposed(ones, terms, product, 0, 1)
    np.testing.assert_allclose(total, 20_000.0, rtol=1e-5)
    np.testing.assert_allclose(product[0, :3], 20_000.0, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "bf16"), [("float32", False), ("float64", False), ("float32", True)])
def test_panels_of_every_size_and_layout(dtype, bf16):
    """Each panel holds its columns row by row, zeros behind the last; blocks of vectors are turned in registers."""
    rng, lanes = np.random.default_rng(0), TILE.lanes(np.dtype(dtype).itemsize)
    width = TILE.columns(np.dtype(dtype).itemsize)
    for k in (0, 1, lanes - 1, lanes, 2 * lanes + 1):
        for n in (0, 1, lanes, lanes + 1, width, width + lanes - 1, 2 * width + 2 * lanes):
            w = rng.integers(-99, 99, (k, n)).astype(dtype)  # which a bfloat16 holds
            wide = np.zeros((k, padded(n, w.itemsize)), dtype)
            wide[:, :n] = w
            panels = [wide[:, start : start + width].ravel() for start in range(0, wide.shape[1], width)]
            expected = np.concatenate([*panels, np.zeros(0, dtype)])
            for array in (w, np.asfortranarray(w), np.repeat(w, 2, axis=1)[:, ::2], w[::-1][::-1]):
                packed = (BFLOAT16 if bf16 else EXACT).pack(array)
                assert packed.shape == (wide.shape[1], k)
                found = (packed.astype(np.uint32) << 16).view(np.float32) if bf16 else packed
                np.testing.assert_array_equal(found.ravel(), expected)


def test_pairs_are_the_same_from_every_layout():
    """Neighbours of K lie beside each other for each column; where there is but one, a zero is beside it."""
    rng, lanes, group = np.random.default_rng(0), TILE.lanes(4), PAIRED.group
    for k in (0, 1, 2, lanes + 1, 2 * lanes, 2 * lanes + 3):
        for n in (1, lanes, TILE.columns(4), 2 * TILE.columns(4) + lanes + 1):
            w = rng.integers(-99, 99, (k, n)).astype("float32")  # which a bfloat16 holds
            wide = np.zeros((PAIRED.depth(k), padded(n, 4)), "float32")
            wide[:k, :n] = w
            starts = range(0, wide.shape[1], TILE.columns(4))
            panels = [wide[:, start : start + TILE.columns(4)] for start in starts]
            grouped = [panel.reshape(-1, group, panel.shape[1]).swapaxes(1, 2).ravel() for panel in panels]
            expected = np.concatenate([*grouped, np.zeros(0, "float32")])
            for array in (w, np.asfortranarray(w), w[::-1][::-1]):
                packed = PAIRED.pack(array)
                assert packed.shape == (padded(n, 4), PAIRED.depth(k))
                bits = packed.view(np.uint16).ravel().astype(np.uint32)
                np.testing.assert_array_equal((bits << 16).view(np.float32), expected)


def test_bf16_rounds_to_nearest_even_and_keeps_nan_and_infinity():
    bits = np.array(
        [0x3F800000, 0x3F808000, 0x3F818000, 0x3F808001, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x7F800001], np.uint32
    )
    packed = BFLOAT16.pack(bits.view(np.float32)[None]).reshape(-1)[: len(bits)]
    values = (packed.astype(np.uint32) << 16).view(np.float32)
    expected = [1.0, 1.0, 1.015625, 1.0078125, np.inf, -np.inf, np.inf, np.nan]
    np.testing.assert_array_equal(values, np.array(expected, np.float32))


def test_nan_stays_in_its_row():
    a, w = np.ones((1, 8, 3)), np.ones((3, 9))
    a[0, 2, 1] = np.nan
    c = np.zeros((1, 8, padded(9, 8)))
    grouped(a, pack(w), c)
    assert np.isnan(c[0, 2, :9]).all()
    assert np.isfinite(np.delete(c[0], 2, axis=0)).all()


@pytest.mark.parametrize(
    ("features", "columns", "registers"),
    [("+avx512f,+avx2,+fma", 64, 32), ("+avx2,+fma", 16, 16), ("+avx2,-fma", 8, 16), ("+neon", 16, 32), ("", 8, 16)],
)
def test_tiles_fit_the_registers(features, columns, registers):
    tile = best_tile(features)
    assert tile.columns(4) == columns
    assert tile.rows * tile.vectors + tile.vectors + 1 <= registers
