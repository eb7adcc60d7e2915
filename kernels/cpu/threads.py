"""Shares of a batch on several threads.

Compiled loops release the GIL, so plain Python threads serve: they start at once, any number of callers may use them,
and a forked child makes its own. (Numba's thread pools forbid the one or the other.)
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numba import get_num_threads, set_num_threads

from .desk import attend, new_desk
from .waiting import LOOKS, MEANWHILE, watch

Array = np.ndarray[Any, Any]
UNUSED = new_desk()  # for who does all parts alone
SERIAL_BELOW = 2e7  # floating-point operations; waking a thread takes as long as these


class Part:
    """A part of some work, done by whoever begins it first: a helper, or the caller who handed it out."""

    def __init__(self, work: Callable[..., object], *arguments: Any) -> None:
        self._work: Callable[[], object] | None = lambda: work(*arguments)
        self._by, self._over = dict[str, int](), threading.Lock()
        self._over.acquire()
        self.done = np.zeros(1, np.int64)  # what waits looks at first; for a helper that has run it to set
        self.error: BaseException | None = None

    def begin(self) -> bool:
        """Whether nobody else has begun it; the thread that is told so must run it, or nobody will.

        Who it was is known as soon as it is begun: a thread that is interrupted then does not wait for itself.
        """
        here = threading.get_ident()
        return self._by.setdefault("thread", here) == here

    def withdraw(self) -> bool:
        """Keep others from beginning it, if nobody has; it lets go of its arrays then, however long it stays queued."""
        mine = self.begin()
        if mine:
            self._work = None
        return mine

    def run(self) -> None:
        """Do it, and keep what it raises."""
        work, self._work = self._work, None  # a queue may hold this part for long, but not its arrays
        assert work is not None
        try:
            work()
        except BaseException as error:
            self.error = error
        finally:
            self._over.release()

    def wait(self) -> None:
        """Until it is over; for the one who handed it out, also anew after an interrupt."""
        watch(self.done, 0, LOOKS)
        with self._over:  # which tells this thread what the other has written, too
            pass


class Pool:
    """Helping threads that keep off the processor of whoever calls for them.

    Linux wakes a thread that has slept on the processor of its caller as often as not, and leaves both there for many
    calls, one after the other. So before a call the helpers' affinity is set to all processors but the caller's.
    In training one call follows another, and to sleep and be woken each time would take as long as the work of a small
    one: who has nothing to do looks around for a while before sleeping.
    (An executor of the standard library would do the same work, and take three times as long to hand it over.)
    """

    def __init__(self, helpers: int) -> None:
        self._parts: SimpleQueue[Part] = SimpleQueue()
        self.calls = np.zeros(1, np.int64)  # how often parts were handed out, or at least another number each time
        self.desk = new_desk()
        # Compiled before a helper needs it: the process may end while that one is at it.
        attend(self.desk, self.calls, 1, 0, 0, np.zeros(1, np.int64))
        self._threads: list[int] = []
        self._keeping_off: tuple[int, int] | None = None
        self._helpers = 0
        for _ in range(helpers):
            with suppress(RuntimeError):  # no more threads may be had: callers do all parts themselves
                threading.Thread(target=self._help, name="xprnn", daemon=True).start()
                self._helpers += 1

    def _help(self) -> None:
        self._threads.append(threading.get_native_id())
        done = np.zeros(1, np.int64)
        while True:
            part = self._next(done)
            if part.begin():
                part.run()
            done = part.done
            del part  # while this thread sleeps, nothing of it shall stay

    def _next(self, done: Array) -> Part:
        """The next part, once there is one; the one before is ``done``."""
        seen = int(self.calls[0])
        try:
            part = self._parts.get_nowait()
        except Empty:
            attend(self.desk, self.calls, seen, LOOKS, MEANWHILE, done)
            return self._parts.get()
        done[0] = 1
        return part

    def invite(self, helpers: int) -> None:
        """Have so many look at the desk soon: those that sleep, and those that are about to."""
        self._keep_off()
        for _ in range(min(helpers, self._helpers) - self._parts.qsize()):
            self._parts.put(Part(_nothing))

    def hand_out(self, parts: Sequence[Part]) -> None:
        """Let helpers begin them."""
        self.offer(parts)
        self.calls[0] += 1

    def offer(self, parts: Sequence[Part]) -> None:
        """The same for helpers that sleep; others look for parts once ``calls`` is another number."""
        self._keep_off()
        for part in parts if self._helpers > 0 else ():  # nobody else would ever take them out
            self._parts.put(part)

    def _keep_off(self) -> None:
        """Move the helpers away from this thread's processor, where they may run on another."""
        here = _processor()
        if here is None or (here, len(self._threads)) == self._keeping_off:
            return
        self._keeping_off = here, len(self._threads)
        if elsewhere := os.sched_getaffinity(0) - {here}:
            with suppress(OSError):  # a wish, not a need
                for thread in self._threads:
                    os.sched_setaffinity(thread, elsewhere)


def _find_processor() -> Callable[[], int] | None:
    try:
        return ctypes.CDLL(None).sched_getcpu if hasattr(os, "sched_setaffinity") else None
    except (OSError, AttributeError):
        return None


_getcpu = _find_processor()


def _processor() -> int | None:
    """The number of the processor that this thread runs on; None where nobody says."""
    return None if _getcpu is None else _getcpu()


@cache
def _pool_of(process: int, helpers: int) -> Pool:
    """The helpers of a process; a forked child gets its own."""
    return Pool(helpers)


def _nothing() -> None:
    """What a helper is woken for who shall look at the desk."""


def workers() -> int:
    """How many threads there may be, this one among them."""
    return int(get_num_threads())


@contextmanager
def one_thread() -> Iterator[None]:
    """Whatever this thread calls in the block stays in it: for one of many workers, which share the processors."""
    before = workers()
    try:
        set_num_threads(1)
        yield
    finally:
        set_num_threads(before)


def together(work: Callable[[int], object], parts: int) -> None:
    """Call ``work(part)`` on as many threads; returns when those that have begun are done.

    Work must be such that any one thread finishes all of it, since others may be busy for other callers.
    """
    if parts == 1:
        work(0)
    else:
        _beside(lambda: work(0), [Part(work, part) for part in range(1, parts)], workers())


def led(work: Callable[[int, Array], object], parts: int) -> None:
    """Call ``work(0, calls)`` here, and ``work(part, calls)`` on helpers that come while it lasts.

    ``calls`` is a number (1,) to count up as soon as helpers may come: by work that has let go of the GIL, which they
    need first. What helpers do must end by itself with the work here, and this work must not return before they have
    touched anything for the last time: nobody waits for them, however it ends.
    """
    pool = _pool_of(os.getpid(), max(workers() - 1, 1))
    others = [Part(work, part, pool.calls) for part in range(1, parts)]
    try:
        pool.offer(others)
        work(0, pool.calls)
    finally:
        for part in others:
            part.withdraw()


def desk_for(parts: int) -> Array:
    """Where compiled code shares out so many parts (desk.py); helpers look there now, if there is more than one."""
    if parts == 1:
        return UNUSED
    pool = _pool_of(os.getpid(), max(workers() - 1, 1))
    pool.invite(parts - 1)
    return pool.desk


def shares(batch: int, operations: float) -> int:
    """In how many parts a batch is worked at, on as many threads."""
    return min(workers(), batch) if operations >= SERIAL_BELOW else 1


def share(work: Callable[[int, int], object], batch: int, operations: float) -> None:
    """Call ``work(b0, b1)`` for parts of the batch, on as many threads as it pays for; returns when all are done."""
    there = workers() if operations >= SERIAL_BELOW else 1  # to ask takes microseconds
    parts = min(there, batch)
    if parts <= 1:
        work(0, batch)
        return
    ends = [batch * k // parts for k in range(parts + 1)]
    others = [Part(work, ends[k], ends[k + 1]) for k in range(1, parts)]

    def own() -> None:
        work(ends[0], ends[1])
        for part in others:
            if part.begin():
                part.run()

    _beside(own, others, there)


def _beside(own: Callable[[], object], others: Sequence[Part], there: int) -> None:
    """Do one's own work while helpers do the other parts; those that nobody has begun by then are not done.

    With this thread ``there`` may be so many.

    Whatever fails, this waits for what has begun: it writes into arrays that the caller will use for something else.
    So it does when it is interrupted as it waits; whoever interrupts it twice has been warned.
    """
    try:
        _pool_of(os.getpid(), max(there - 1, 1)).hand_out(others)
        own()
        _settle(others)
    except BaseException:
        _settle(others)
        raise
    for part in others:
        if part.error is not None:
            raise part.error


def _settle(parts: Sequence[Part]) -> None:
    """Keep helpers from beginning any more of them, and wait for those that they have begun."""
    for part in parts:
        if not part.withdraw():
            part.wait()
