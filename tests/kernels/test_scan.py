"""Scans on the host's kernels: shared among threads, and given what does not fit."""

import numpy as np
import pytest

pytest.importorskip("numba")

from xprnn.kernels import kinds
from xprnn.kernels.cpu import gated_scan, scan, threads


def arguments(kind, steps=9, rows=3, size=37):
    draws = np.random.default_rng(0)
    gates = kinds.LINEAR[kind].gates
    z = draws.standard_normal((steps, rows, gates * size))
    start, c = draws.standard_normal((rows, size)), draws.standard_normal((steps, rows, size))
    flags = kinds.Flags(draws.random((steps, rows)) < 0.7, draws.random((steps, rows)) < 0.2)
    return z, start, c, flags


def everything(kind, z, start, c, flags):
    output = kinds.LINEAR[kind].output
    back = gated_scan.backward(kind, z, start, c, (c, start) if output else None, (c, start), flags)
    pairs, a = kind % 2 == 1, np.ascontiguousarray(0.5 * start[:, :36])
    c, start = np.ascontiguousarray(c[..., :36]), np.ascontiguousarray(start[:, :36])
    return [
        *gated_scan.forward(
            kind, z, np.concatenate([start, start[:, :1]], axis=1), z[0, :, :37] if output else None, flags
        ),
        *back,
        scan.scan(pairs, a, c, start, flags),
        *scan.scan_back(pairs, a[0], c, start, flags),
        scan.factor_back(pairs, start, c, c, flags),
    ]


@pytest.mark.parametrize("kind", range(len(kinds.LINEAR)))
def test_shares_of_columns_change_no_bit(kind, monkeypatch):
    given = arguments(kind)
    whole = everything(kind, *given)
    for workers in (2, 3, 5):
        monkeypatch.setattr(threads, "SERIAL_BELOW", 0.0)
        monkeypatch.setattr(threads, "workers", lambda workers=workers: workers)
        for one, other in zip(whole, everything(kind, *given), strict=True):
            assert (one is None and other is None) or np.array_equal(one, other)
        monkeypatch.undo()


def test_what_does_not_fit_is_refused_before_it_is_read():
    z, start, c, flags = arguments(kinds.MINGRU)
    short = kinds.Flags(flags.advance[1:], None)
    half = np.ascontiguousarray(start[:, :18])
    for call in (
        lambda: gated_scan.forward(kinds.MINGRU, z[..., 1:], start, None, flags),
        lambda: gated_scan.forward(kinds.MINGRU, z[:, 1:], start, None, kinds.Flags(None, None)),
        lambda: gated_scan.forward(kinds.SRU, np.tile(z, 2), start, half, flags),
        lambda: gated_scan.forward(kinds.MINGRU, z, start, None, short),
        lambda: gated_scan.backward(kinds.MINLSTM, z, start, c, None, (c, start), flags),
        lambda: gated_scan.backward(kinds.MINGRU, z, start, c[1:], None, (c, start), flags),
        lambda: gated_scan.backward(kinds.MINGRU, z, start, c, None, (c[1:], start), flags),
        lambda: gated_scan.backward(kinds.MINGRU, z, start, c, None, (c, half), flags),
        lambda: scan.scan(False, start, c, half, flags),
        lambda: scan.scan(False, half, c, start, flags),
        lambda: scan.scan(False, start, c, start, short),
        lambda: scan.scan_back(False, start, c, half, flags),
        lambda: scan.factor_back(False, start, c, c[1:], flags),
        lambda: scan.factor_back(False, half, c, c, flags),
    ):
        with pytest.raises(ValueError, match=r"scan ha(s|ve) shape .*; expected \("):
            call()
