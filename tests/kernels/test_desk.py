"""Parts that compiled code shares out: each done once, by whoever comes, and none left behind."""

import threading

import numpy as np
import pytest

pytest.importorskip("numba")

import numba
from xprnn.kernels.cpu import threads
from xprnn.kernels.cpu.desk import TAKEN, attend, new_desk, share_out
from xprnn.kernels.cpu.intrinsics import address, breathe, job_of, lying, publish, read_count


@numba.njit(nogil=True)
def _mark(marks, awaited, fails, part):
    """Count a part; part 0 first waits until another one has been done."""
    while part == 0 and awaited > 0 and read_count(address(marks, awaited)) == 0:
        breathe()
    publish(address(marks, part), marks[part] + 1)
    if part == fails:
        raise ValueError


@numba.njit(nogil=True)
def _share(desk, parts, marks, awaited, fails):
    arguments = marks, awaited, fails
    return share_out(desk, job_of(_mark, arguments), lying(arguments), parts)


def _done(desk, parts=4, awaited=0, fails=-1):
    """How often each part was done, and whether all is well."""
    marks = np.zeros(parts, np.int64)
    well = _share(desk, parts, marks, awaited, fails)
    return marks.tolist(), well


def test_a_caller_alone_does_all_parts():
    desk = new_desk()
    assert _done(desk, 1) == ([1], True)
    assert _done(desk) == ([1] * 4, True)
    desk[TAKEN] = 1  # somebody else is at it
    assert _done(desk) == ([1] * 4, True)
    assert desk[TAKEN] == 1


@pytest.mark.parametrize("taken", [0, 1])
def test_a_part_that_fails_is_told_of_when_the_others_are_done(taken):
    desk = new_desk()
    desk[TAKEN] = taken
    for part in range(4):
        assert _done(desk, fails=part) == ([1] * 4, False)
    assert _done(desk) == ([1] * 4, True)


def test_a_sleeping_helper_comes(monkeypatch):
    monkeypatch.setattr(threads, "LOOKS", 1)
    pool = threads.Pool(1)
    monkeypatch.setattr(threads, "_pool_of", lambda process, helpers: pool)
    for _ in range(20):
        assert _done(threads.desk_for(2), 2, awaited=1) == ([1, 1], True)
    assert _done(pool.desk, 2, awaited=0, fails=1) == ([1, 1], False)


def test_callers_and_helpers_at_once():
    desk, calls, found = new_desk(), np.zeros(1, np.int64), []

    def call():
        found.extend(_done(desk, parts) == ([1] * parts, True) for _ in range(100) for parts in (2, 3, 5))

    looks = 0, 1 << 60, 0, np.zeros(1, np.int64)
    helpers = [threading.Thread(target=attend, args=(desk, calls, *looks)) for _ in range(2)]
    callers = [threading.Thread(target=call) for _ in range(3)]
    for thread in helpers + callers:
        thread.start()
    for caller in callers:
        caller.join()
    calls[0] = 1
    for helper in helpers:
        helper.join()
    assert found == [True] * 900
