"""Shares of a batch on several threads.

Compiled loops release the GIL, so plain Python threads serve: they start at once, any number of callers may use them,
and a forked child makes its own. (Numba's thread pools forbid the one or the other.)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

from numba import get_num_threads

SERIAL_BELOW = 2e7  # floating-point operations; waking a thread takes as long as these


@cache
def _pool(process: int, workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="xprnn")


def workers() -> int:
    """How many threads there may be, this one among them."""
    return int(get_num_threads())


def together(work: Callable[[int], object], parts: int) -> None:
    """Call ``work(part)`` on as many threads; returns when those that have begun are done.

    Work must be such that any one thread finishes all of it, since others may be busy for other callers.
    """
    pool = _pool(os.getpid(), workers())
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
    pool = _pool(os.getpid(), workers())
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
