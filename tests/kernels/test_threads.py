"""Work shared among threads: every part once, whoever does it, and nothing left running or held."""

import gc
import linecache
import os
import sys
import threading
import time
import weakref

import pytest

pytest.importorskip("numba")

from xprnn.kernels.cpu import threads


@pytest.mark.parametrize("name", ["share", "together"])
def test_an_error_waits_for_the_other_threads(name, monkeypatch):
    begun, done = threading.Event(), []

    def work(first, last=None):
        if first == 0:
            begun.wait()  # else the second part would be withdrawn
            raise KeyError("the first part fails")
        begun.set()
        time.sleep(0.05)
        done.append(first)

    monkeypatch.setattr(threads, "workers", lambda: 2)
    with pytest.raises(KeyError, match="the first part fails"):
        threads.share(work, 2, 1e12) if name == "share" else threads.together(work, 2)
    assert done == [1]


def test_an_error_of_a_helper_is_raised(monkeypatch):
    def work(first, last):
        if first:
            raise KeyError(f"part {first} fails")

    monkeypatch.setattr(threads, "workers", lambda: 3)
    with pytest.raises(KeyError, match="part 1 fails"):
        threads.share(work, 3, 1e12)


def _interrupted(monkeypatch, owner, name, after):
    """Have the first call of a function by this thread end in an interrupt, once ``after`` is set."""
    function, caller, left = getattr(owner, name), threading.get_ident(), [1]

    def interrupt(*arguments):
        if threading.get_ident() == caller and left:
            after.wait()
            left.pop()
            raise KeyboardInterrupt
        return function(*arguments)

    monkeypatch.setattr(owner, name, interrupt)


@pytest.mark.parametrize("name", ["share", "together"])
def test_an_interrupt_while_it_waits_waits_for_all_that_has_begun(name, monkeypatch):
    begun, done = [threading.Event() for _ in range(3)], []

    def work(part, last=None):
        begun[part].set()
        for event in begun:  # else a part would be withdrawn
            event.wait()
        if part:
            time.sleep(0.05 * part)
            done.append(part)

    monkeypatch.setattr(threads, "workers", lambda: 3)
    threads.share(lambda first, last: None, 3, 1e12)  # helpers sleep, or look around, from now on
    _interrupted(monkeypatch, threads.Part, "wait", begun[0])
    with pytest.raises(KeyboardInterrupt):
        threads.share(work, 3, 1e12) if name == "share" else threads.together(work, 3)
    assert sorted(done) == [1, 2]


def test_a_part_is_waited_for_anew_whatever_was_left_of_waiting_before():
    part = threads.Part(lambda: None)
    part.begin()
    part.run()
    part.wait()
    part.done[0] = 0  # as where an interrupt came behind the last of it
    part.wait()


def test_an_interrupt_before_a_part_is_run_leaves_nobody_waiting_for_it(monkeypatch):
    monkeypatch.setattr(threads, "workers", lambda: 2)
    monkeypatch.setattr(threads, "_pool_of", lambda process, helpers: threads.Pool(0))
    at_once = threading.Event()
    at_once.set()
    _interrupted(monkeypatch, threads.Part, "run", at_once)
    with pytest.raises(KeyboardInterrupt):
        threads.share(lambda first, last: None, 2, 1e12)


def test_a_leader_waits_for_no_helper(monkeypatch):
    """Neither for one that is busy, nor when it is interrupted; what nobody has begun by then is not begun later."""
    monkeypatch.setattr(threads, "workers", lambda: 2)
    busy, free, begun = threading.Event(), threading.Event(), []
    keeper = threading.Thread(target=threads.together, args=(lambda part: (busy.set(), free.wait()), 2))
    keeper.start()  # it and the one helper
    busy.wait()
    for _ in range(2):
        threads.led(lambda part, calls: begun.append(part), 2)

    def interrupted(part, calls):
        begun.append(part)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        threads.led(interrupted, 2)
    free.set()
    keeper.join()
    threads.together(lambda part: None, 2)
    assert begun.count(0) == 3
    assert begun.count(1) <= 2  # where the keeper did both parts, the helper was free


def test_parts_that_no_helper_begins_are_done_by_the_caller(monkeypatch):
    """Since all helpers are busy, or no thread could be started."""
    monkeypatch.setattr(threads, "workers", lambda: 4)
    monkeypatch.setattr(threads, "_pool_of", lambda process, helpers: threads.Pool(0))
    done = []
    threads.share(lambda first, last: done.append((first, last)), 8, 1e12)
    assert sorted(done) == [(0, 2), (2, 4), (4, 6), (6, 8)]
    threads.together(done.append, 4)
    assert done[4:] == [0]


def test_without_helpers_nothing_is_queued(monkeypatch):
    """Nobody would ever take it out: each call would leave something behind."""

    def none_left(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    monkeypatch.setattr(threads, "workers", lambda: 3)
    pool = threads.Pool(2)
    monkeypatch.setattr(threads, "_pool_of", lambda process, helpers: pool)
    done = []
    for _ in range(5):
        threads.share(lambda first, last: done.append(first), 3, 1e12)
        threads.together(done.append, 2)
        threads.led(lambda part, calls: done.append(part), 2)
        threads.desk_for(3)
    assert sorted(done) == [0] * 15 + [1] * 5 + [2] * 5
    assert pool._parts.empty()


def _asleep(name):
    """Whether all threads of this name wait for something to do."""
    frames = sys._current_frames()
    waiting = [frames[thread.ident] for thread in threading.enumerate() if thread.name == name]
    return waiting and all("_parts.get()" in linecache.getline(f.f_code.co_filename, f.f_lineno) for f in waiting)


@pytest.mark.usefixtures("small_heap")
def test_what_is_done_keeps_no_arrays(monkeypatch):
    class Held:
        pass

    monkeypatch.setattr(threads, "workers", lambda: 2)
    held = Held()
    alive = weakref.ref(held)
    threads.share(lambda first, last, held=held: None, 2, 1e12)
    del held
    while not _asleep("xprnn"):
        time.sleep(0.001)
    gc.collect()
    assert alive() is None, "a helper still holds what it worked on"


@pytest.mark.usefixtures("small_heap")
@pytest.mark.parametrize("name", ["led", "together"])
def test_what_no_helper_begins_keeps_no_arrays(name, monkeypatch):
    """Though all helpers may be busy for long, and the queue be kept."""

    class Held:
        pass

    pool = threads.Pool(0)
    monkeypatch.setattr(threads, "workers", lambda: 2)
    monkeypatch.setattr(threads, "_pool_of", lambda process, helpers: pool)
    held = Held()
    alive = weakref.ref(held)
    getattr(threads, name)(lambda *arguments, held=held: None, 2)
    del held
    gc.collect()
    assert alive() is None


def test_who_waits_for_a_part_sleeps_when_it_takes_long(monkeypatch):
    monkeypatch.setattr(threads, "LOOKS", 1)
    pool, done = threads.Pool(1), []
    for number in range(3):  # the helper sleeps before each, and so does this thread

        def work(number=number):
            time.sleep(0.01)
            done.append(number)

        part = threads.Part(work)
        pool.hand_out([part])
        part.wait()
    assert done == [0, 1, 2]


def test_many_callers_at_once(monkeypatch):
    monkeypatch.setattr(threads, "workers", lambda: 3)
    found = []

    def call(number):
        for _ in range(200):
            sums = [0] * 30

            def work(first, last, sums=sums):
                for k in range(first, last):
                    sums[k] += number

            threads.share(work, 30, 1e12)
            found.append(sums == [number] * 30)

    callers = [threading.Thread(target=call, args=(k,)) for k in range(1, 9)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == [True] * 1600


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux lets a thread choose its processors")
def test_helpers_keep_off_the_callers_processor(monkeypatch):
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("there is one processor")
    for here in sorted(allowed)[:2]:
        monkeypatch.setattr(threads, "_processor", lambda here=here: here)
        pool, found = threads.Pool(1), []
        for _ in range(2):  # by the second call the helper surely runs
            part = threads.Part(lambda found=found: found.append(os.sched_getaffinity(0)))
            pool.hand_out([part])
            part.wait()
        assert found[1] == allowed - {here}
        assert os.sched_getaffinity(0) == allowed  # the caller is left alone
