"""Sums of outer products of bfloat16 against float64 products of the same rounded numbers."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("numba")

from xprnn.kernels.cpu import host, threads
from xprnn.kernels.cpu.product import PAIRED
from xprnn.kernels.cpu.sums import outer_sum


def bf16(a):
    """Rounded to the nearest bfloat16, ties to even, by another way than the kernels'."""
    scale = np.exp2(np.floor(np.log2(np.abs(a, where=a != 0, out=np.ones_like(a)))) - 7)
    return np.round(a.astype("float64") / scale) * scale


def draw(rows, n, k):
    rng = np.random.default_rng(rows)
    return rng.standard_normal((rows, n)).astype("float32"), rng.standard_normal((rows, k)).astype("float32")


def check_every_size():
    for rows, n, k in [(0, 3, 4), (1, 1, 1), (2, 7, 3), (3, 13, 16), (255, 70, 65), (257, 20, 130), (600, 6, 17)]:
        dz, x = draw(rows, n, k)
        found, exact = outer_sum([(dz, x)], PAIRED), bf16(dz).T @ bf16(x)
        # no more than one rounding of a sum for each term, of no more than 2^-24 of the sum of all magnitudes
        assert (np.abs(found - exact) <= rows * 2.0**-24 * (np.abs(bf16(dz)).T @ np.abs(bf16(x)))).all()
        two = outer_sum([(dz[: rows // 3], x[: rows // 3]), (dz[rows // 3 :], x[rows // 3 :])], PAIRED)
        np.testing.assert_allclose(two, exact, rtol=0, atol=1e-6 * max(rows, 1))


def test_every_size():
    check_every_size()


def test_without_the_instruction():
    """In a process of its own, compiled for AVX2 where there is more than that; else no size above had it."""
    if "+avx512f" not in host.features():
        assert PAIRED.group == 1
        return
    features = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+sse4.2,+avx,+avx2,+fma"}
    program = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_bf16_sums as t\n"
    program += "assert t.PAIRED.group == 1; t.check_every_size()"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | features, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_same_bits_on_however_many_threads(monkeypatch):
    dz, x = draw(301, 50, 20)
    monkeypatch.setattr(threads, "SERIAL_BELOW", 0.0)
    found = []
    for workers in (1, 2, 3):
        monkeypatch.setattr(threads, "workers", lambda workers=workers: workers)
        found.append(outer_sum([(dz, x)], PAIRED).tobytes())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rows", [1, 4, 131])
def test_what_is_not_finite_stays_so_and_in_its_row(bad, rows):
    for row in (0, rows - 1):
        dz, x = draw(rows, 9, 19)
        dz[row, 4] = bad
        found = outer_sum([(dz, x)], PAIRED)
        assert not np.isfinite(found[4]).any()
        assert np.isfinite(np.delete(found, 4, axis=0)).all()
        found = outer_sum([(x, dz)], PAIRED)
        assert not np.isfinite(found[:, 4]).any()
        assert np.isfinite(np.delete(found, 4, axis=1)).all()
