"""Rows: sequences of numbers in one array, in memory or on disk."""

import numpy as np
import pytest

from xprnn.data import Buckets, rows
from xprnn.data.rows import RowWriter

SEQUENCES = [[3, 1, 3], [], [2], [0, 1]]


@pytest.fixture(params=[1, 4, 1 << 22])
def made(request, monkeypatch):
    monkeypatch.setattr(rows, "SPILL", request.param)
    monkeypatch.setattr(rows, "AT_ONCE", 2)
    writer = RowWriter()
    for sequence in SEQUENCES:
        writer.append(sequence)
    return writer.rows()


def test_what_was_written(made):
    assert [row.tolist() for row in made] == SEQUENCES
    assert (len(made), made.lengths.tolist(), made[3].dtype) == (4, [3, 0, 1, 2], np.int64)
    assert [row.tolist() for row in made.taken(np.array([3, 0]))] == [[0, 1], [3, 1, 3]]
    assert [row.tolist() for row in made.taken(np.array([False, True, True, False]))] == [[], [2]]
    assert made.any(np.array([True, False, True, False])).tolist() == [False, False, True, True]
    assert made.counts(5).tolist() == [1, 2, 1, 2, 0]
    assert made.taken(np.array([1])).counts(2).tolist() == [0, 0]


def test_other_numbers_reach_all_that_share_them(made):
    part = made.taken(np.array([0]))
    made.renumber(np.array([10, 11, 12, 13]))
    assert part[0].tolist() == [13, 11, 13]
    assert made[3].tolist() == [10, 11]


def test_batches_of_them_are_those_of_lists(made):
    other = [np.array(s, np.int64) for s in SEQUENCES]
    batches = (Buckets(source, np.arange(4), batch_size=3, shuffle=True, rng=0) for source in (made, other))
    for one, two in zip(*batches, strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)
