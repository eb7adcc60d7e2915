"""Ranks that are threads of one process: to try out a script, and for tests."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from xprnn.arguments import one_of
from xprnn.arguments import size as checked_size
from xprnn.backend import Array, backend_of, dtype_name, to_numpy
from xprnn.train.communicator import Communicator
from xprnn.train.wire import WIRES

T = TypeVar("T")


class RankError(RuntimeError):
    """Another rank has ended, and this one with it."""


class Meeting:
    """Where the threads leave what they give, and wait until all have."""

    def __init__(self, size: int) -> None:
        self.size, self.failure = size, ""
        self._changed = threading.Condition()
        self._left: dict[Any, dict[int, Any]] = {}
        self._taken: Counter[Any] = Counter()

    def leave(self, rank: int, place: Any, value: Any) -> None:
        """Leave a value for all."""
        with self._changed:
            self._left.setdefault(place, {})[rank] = value
            self._changed.notify_all()

    def take(self, place: Any) -> list[Any]:
        """What all ranks have left at a place, in order; each takes it once."""
        with self._changed:
            left = self._left[place]
            self._changed.wait_for(lambda: len(left) == self.size or self.failure)
            if len(left) < self.size:
                raise RankError(self.failure)
            self._taken[place] += 1
            if self._taken[place] == self.size:
                del self._left[place], self._taken[place]
            return [left[k] for k in range(self.size)]

    def fail(self, who: str, error: BaseException) -> None:
        """Let nobody wait any more for what will not be left."""
        with self._changed:
            self.failure = self.failure or f"{who} has raised {type(error).__name__}: {error}"
            self._changed.notify_all()


class Threads:
    """A communicator of one of several threads. Sums are taken in the order of ranks."""

    def __init__(self, meeting: Meeting, rank: int, wire: str) -> None:
        self.rank, self.size, self.wire = rank, meeting.size, wire
        self._meeting, self._rounds, self._begun = meeting, 0, 0

    def gather(self, value: Any) -> list[Any]:
        """What all ranks gave."""
        self._rounds += 1
        place = "round", self._rounds
        self._meeting.leave(self.rank, place, value)
        return self._meeting.take(place)

    def broadcast(self, value: Any) -> Any:
        """What rank 0 gave."""
        return self.gather(value)[0]

    def sum(self, array: Array) -> Array:
        """The sum of all arrays, a new one."""
        return _added(array, self.gather(to_numpy(array).copy()))

    def begin_sum(self, array: Array) -> Callable[[], Array]:
        """Leave the array for the others, whom nobody waits for yet."""
        take = self._begin(to_numpy(array).copy())
        return lambda: _added(array, take())

    def begin_swap(self, array: Array) -> Callable[[], Array]:
        """The same with rows for each."""
        take = self._begin(to_numpy(array).copy())
        return lambda: np.stack([each[self.rank] for each in take()])

    def _begin(self, value: Any) -> Callable[[], list[Any]]:
        self._begun += 1
        place = "begun", self._begun
        self._meeting.leave(self.rank, place, value)
        return lambda: self._meeting.take(place)

    def abort(self, error: BaseException) -> None:
        """End the waiting of the others, who raise RankError."""
        self._meeting.fail(f"rank {self.rank}", error)


def _added(like: Array, arrays: Sequence[np.ndarray[Any, Any]]) -> Array:
    """The sum of arrays of the host, where another is."""
    total, *others = arrays
    for other in others:
        total = total + other
    return backend_of(like).asarray(total, dtype_name(like))


def in_threads(function: Callable[[Communicator], T], size: int, *, wire: str = "float32") -> list[T]:
    """``function(communicator)`` in so many threads at once; what they return, in the order of ranks.

    >>> in_threads(lambda ranks: ranks.gather(ranks.rank * 10), 2)
    [[0, 10], [0, 10]]

    Models, optimizers and batches must be made inside the function, so that each thread has its own. ``wire`` is as for
    :func:`world`. Raises the error that ended the first rank, and not those that followed from it. After Ctrl-C all
    ranks end where they next meet.
    """
    meeting = Meeting(checked_size("in_threads", "size", size))
    wire = one_of("in_threads", "wire", wire, WIRES)
    results: list[Any] = [None] * size
    errors: list[BaseException | None] = [None] * size

    def run(rank: int) -> None:
        communicator = Threads(meeting, rank, wire)
        try:
            results[rank] = function(communicator)
        except BaseException as error:
            errors[rank] = error
            communicator.abort(error)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException as error:
        meeting.fail("the caller", error)
        for thread in threads:
            if thread.is_alive():
                thread.join()
        raise
    raised = [each for each in errors if each is not None]
    for each in sorted(raised, key=lambda each: isinstance(each, RankError)):
        raise each
    return results
