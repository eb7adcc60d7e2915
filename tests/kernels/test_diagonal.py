"""The kernels of LRU and S5: blocks of time shared among threads, groups of sequences, and what does not fit."""

import numpy as np
import pytest

pytest.importorskip("numba")

from xprnn.kernels.cpu import diagonal, threads
from xprnn.kernels.kinds import Flags


def arguments(steps=23, batch=2, inputs=3, size=5, numbers=19):
    draws = np.random.default_rng(0)
    turn = 0.3 * draws.standard_normal(2 * numbers)
    weights = diagonal.Weights(
        turn, *map(draws.standard_normal, [(2 * numbers, inputs), (size, inputs), (size, 2 * numbers)])
    )
    x, start = draws.standard_normal((steps, batch, inputs)), draws.standard_normal((batch, 2 * numbers))
    flags = Flags(draws.random((steps, batch)) < 0.8, draws.random((steps, batch)) < 0.1)
    dh, dc = draws.standard_normal((steps, batch, size)), draws.standard_normal((steps, batch, 2 * numbers))
    return x, weights, start, flags, dh, dc


def run(x, weights, start, flags, dh, dc):
    h, c, every = diagonal.forward(x, weights, start, flags)
    dx, dstart, found = diagonal.backward(x, weights, every, dh, dc, start, flags, True)
    return h, c, dx, dstart, *found


def test_who_takes_which_block_changes_no_bit(monkeypatch):
    given = arguments(steps=4000, size=32)  # long enough that threads meet
    monkeypatch.setattr(diagonal, "BLOCK", 6)
    whole = run(*given)
    monkeypatch.setattr(threads, "SERIAL_BELOW", 0.0)
    for workers in (2, 5):
        monkeypatch.setattr(threads, "workers", lambda workers=workers: workers)
        for one, other in zip(whole, run(*given), strict=True):
            np.testing.assert_array_equal(one, other)


def test_blocks_and_groups_of_sequences_change_no_bit_of_a_step(monkeypatch):
    """Of the gradients of weights they may change the order of a sum."""
    x, weights, start, flags, dh, dc = given = arguments()
    whole = run(*given)
    for rows in (1, 7):  # a group is then a sequence, and a block one step; or three of both sequences
        monkeypatch.setattr(diagonal, "BLOCK", rows)
        found = run(*given)
        for one, other in zip(whole[:4], found[:4], strict=True):
            np.testing.assert_array_equal(one, other)
        for one, other in zip(whole[4:], found[4:], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    alone = [a[:, 1:] for a in (x, *flags, dh, dc)]
    for one, other in zip(
        whole[:4], run(alone[0], weights, start[1:], Flags(*alone[1:3]), *alone[3:])[:4], strict=True
    ):
        np.testing.assert_array_equal(one[..., 1:, :], other)


def test_what_does_not_fit_is_refused_before_it_is_read():
    x, weights, start, flags, dh, dc = arguments()
    every = diagonal.forward(x, weights, start, flags)[2]
    short = Flags(flags.advance[1:], None)
    calls = [
        lambda: diagonal.forward(x[..., 1:], weights, start, flags),
        lambda: diagonal.forward(x, weights._replace(turn=start[0, 2:]), start, flags),
        lambda: diagonal.forward(x, weights._replace(beside=weights.beside[1:]), start, flags),
        lambda: diagonal.forward(x, weights, start[1:], flags),
        lambda: diagonal.forward(x, weights, start, short),
        lambda: diagonal.backward(x, weights, every[1:], dh, dc, start, flags, True),
        lambda: diagonal.backward(x, weights, every, dh[1:], dc, start, flags, True),
        lambda: diagonal.backward(x, weights, every, dh, dc[..., 1:], start, flags, True),
        lambda: diagonal.backward(x, weights, every, dh, None, start[1:], flags, True),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"an array of a scan has shape .*; expected \("):
            call()
