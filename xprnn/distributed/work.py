"""Pieces of work that know nothing of each other, done by whoever is at hand: this thread, or any executor."""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor, as_completed
from contextvars import copy_context
from typing import Any, TypeVar

from xprnn.flags import several
from xprnn.host_kernels import kernels

Item = TypeVar("Item")
Result = TypeVar("Result")

NAMED_AT_MOST = 4  # pieces of lost work, in an error


def each(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    executor: Executor | None = None,
    *,
    owner: str = "each",
    name: Callable[[Item], str] = reprlib.repr,
    progress: Callable[[int, int], object] | None = None,
) -> list[Result]:
    """``[function(item) for item in items]``, on the workers of an executor where one is given; the same bits.

    >>> each(len, ["a", "bcd"])
    [1, 3]

    Any :class:`concurrent.futures.Executor` serves: threads, processes, joblib's loky, ``client.get_executor()`` of
    Dask, ``mpi4py.futures``. For processes the function must be one that can be imported, and draw from seeds that
    come with its item. Each worker keeps the compiled kernels in its own thread, so that workers do not wait for each
    other. Threads start at once, and kernels do not hold Python's lock; processes of other kinds than "fork" load the
    library first. Threads of a ThreadPoolExecutor work in the caller's blocks, as of ``use_precision``; for other
    workers the function must make such choices itself.

    Parameters
    ----------
    owner
        What errors begin with.
    name
        What errors call an item.
    progress
        ``progress(done, of)`` in the caller's thread, after each piece of work.

    Raises
    ------
    TypeError
        The executor is none, as a Dask client.
    BrokenExecutor
        A worker was lost; the error names the work that was not done.
    Exception
        What the function raises, with a note of the item: of several the first in order that is known.

    After an error, and after Ctrl-C, work that nobody has begun is cancelled.
    """
    check_executor(owner, executor)
    items = several(owner, "items", items)
    if executor is None:
        results = []
        for k, item in enumerate(items):
            try:
                results.append(function(item))
            except Exception as error:
                raise _noted(error, owner, name(item)) from error.__cause__
            if progress is not None:
                progress(k + 1, len(items))
        return results
    futures: list[Future[Result]] = []
    try:
        try:
            futures += (_submitted(executor, function, item) for item in items)
            _watch(futures, progress)
        except BrokenExecutor as error:  # from submit, where an early item has killed its worker
            raise _lost(error, owner, [name(item) for item in _open(items, futures)]) from error
        for future, item in zip(futures, items, strict=True):
            if not future.done() or future.exception() is None:
                continue
            failure = future.exception()
            if isinstance(failure, BrokenExecutor):
                raise _lost(failure, owner, [name(item) for item in _open(items, futures)]) from failure
            raise _noted(failure, owner, name(item))
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()


def check_executor(owner: str, executor: Any) -> None:
    """Raise TypeError for what is neither an executor nor None."""
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(
            f"{owner}: executor is a {type(executor).__name__}; expected a concurrent.futures.Executor, as a "
            "ProcessPoolExecutor or, of a Dask client, client.get_executor()"
        )


def _submitted(executor: Executor, function: Callable[[Item], Result], item: Item) -> Future[Result]:
    """Threads get the caller's context, of which each item needs a copy; no other worker can."""
    if isinstance(executor, ThreadPoolExecutor):
        return executor.submit(copy_context().run, alone, function, item)
    return executor.submit(alone, function, item)


def alone(function: Callable[[Item], Result], item: Item) -> Result:
    """What a worker does: the kernels stay in its thread, where others have the other processors."""
    found = kernels()
    if isinstance(found, str):
        return function(item)
    with found.one_thread():
        return function(item)


def _watch(futures: Sequence[Future[Any]], progress: Callable[[int, int], object] | None) -> None:
    """Wait until all are done or one has failed, and tell of each that is done."""
    for told, future in enumerate(as_completed(futures), 1):
        if future.exception() is not None:
            return
        if progress is not None:
            progress(told, len(futures))


def _open(items: Sequence[Item], futures: Sequence[Future[Any]]) -> list[Item]:
    """The items that have no result. Pools begin with the first ones, so the lost work is among those."""
    done = [future.done() and not future.cancelled() and future.exception() is None for future in futures]
    return [item for k, item in enumerate(items) if k >= len(done) or not done[k]]


def _lost(error: BaseException, owner: str, names: Sequence[str]) -> BrokenExecutor:
    named = ", ".join(names[:NAMED_AT_MOST]) + ", ..." * (len(names) > NAMED_AT_MOST)
    return BrokenExecutor(
        f"{owner}: a worker was lost ({type(error).__name__}), killed perhaps for want of memory; the work that it had "
        f"is among the first of what was not done: {named}"
    )


def _noted(error: Any, owner: str, name: str) -> Any:
    """The error, with a note of the item that it came from."""
    if sys.version_info >= (3, 11):
        error.add_note(f"{owner}: this was in the work on {name}.")
    return error
