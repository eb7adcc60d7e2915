"""Shares of a batch on several threads.

Compiled loops release the GIL, so plain Python threads serve: they start at once, any number of callers may use them,
and a forked child makes its own. (Numba's thread pools forbid the one or the other.)
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache

from numba import get_num_threads

SERIAL_BELOW = 2e7  # floating-point operations; waking a thread takes as long as these


class Pool:
    """Helping threads that keep off the processor of whoever calls for them.

    Linux wakes a thread that has slept on the processor of its caller as often as not, and leaves both there for many
    calls, one after the other. So before a call the helpers' affinity is set to all processors but the caller's.
    """

    def __init__(self, helpers: int) -> None:
        self._threads: list[int] = []
        self._executor = ThreadPoolExecutor(helpers, "xprnn", lambda: self._threads.append(threading.get_native_id()))
        self._keeping_off: tuple[int, int] | None = None

    def submit(self, work: Callable[..., object], *args: int) -> Future[object]:
        """Have a helper call ``work(*args)``."""
        return self._executor.submit(work, *args)

    def keep_off(self) -> None:
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
    return Pool(helpers)


def _pool() -> Pool:
    """The helpers of this process, off the processor of this thread."""
    pool = _pool_of(os.getpid(), max(workers() - 1, 1))
    pool.keep_off()
    return pool


def workers() -> int:
    """How many threads there may be, this one among them."""
    return int(get_num_threads())


def together(work: Callable[[int], object], parts: int) -> None:
    """Call ``work(part)`` on as many threads; returns when those that have begun are done.

    Work must be such that any one thread finishes all of it, since others may be busy for other callers.
    """
    pool = _pool()
    waiting = [pool.submit(work, part) for part in range(1, parts)]
    try:
        work(0)
    finally:
        _wait(waiting := [part for part in waiting if not part.cancel()])
    for part in waiting:
        part.result()


def share(work: Callable[[int, int], object], batch: int, operations: float) -> None:
    """Call ``work(b0, b1)`` for parts of the batch, on as many threads as it pays for; returns when all are done."""
    parts = min(workers(), batch) if operations >= SERIAL_BELOW else 1
    if parts <= 1:
        work(0, batch)
        return
    ends = [batch * k // parts for k in range(parts + 1)]
    pool = _pool()
    waiting = [pool.submit(work, ends[k], ends[k + 1]) for k in range(1, parts)]
    try:
        work(ends[0], ends[1])
    finally:
        _wait(waiting)
    for part in waiting:
        part.result()


def _wait(parts: list[Future[object]]) -> None:
    """Until all are done, whatever fails: they write into arrays that the caller will use for something else."""
    for part in parts:
        part.exception()
