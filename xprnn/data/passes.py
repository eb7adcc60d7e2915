"""Passes over data that lie on a disk: where one stands, and pieces of it read one ahead of their use."""

from __future__ import annotations

import mmap
import reprlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from xprnn.arguments import whole_number
from xprnn.data.portions import Divisible

T = TypeVar("T")
P = TypeVar("P")


class Passes(Divisible):
    """Batches of one pass over data after the other; each ``iter()`` goes on where the last one stopped."""

    _batches: int
    """How many a pass has."""

    def __init__(self, owner: str, updates: int | None) -> None:
        self._owner = owner
        self.updates = None if updates is None else whole_number(owner, "updates", updates)
        self.position = 0
        """How many batches of the pass have been given."""

    def __len__(self) -> int:
        """The number of batches of one ``iter()`` or, where ``updates`` is None, of a pass."""
        return self.updates or self._batches

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self.parts(0, 1)

    def parts(self, rank: int, size: int) -> Iterator[tuple[Any, ...]]:
        """The next batches, of each the part of one of several ranks."""
        left = self.updates
        while left != 0:
            if self.position == self._batches:
                self._next_pass()
                self.position = 0
            left = self._batches - self.position if left is None else left
            for batch in islice(self._rest(rank, size), left):
                self.position += 1
                left -= 1
                yield batch

    def _next_pass(self) -> None:
        """Another pass begins."""

    def _rest(self, rank: int, size: int) -> Iterator[tuple[Any, ...]]:
        """The batches of the pass from the position on."""
        raise NotImplementedError

    def _position_in(self, state: Mapping[str, Any]) -> int:
        """The position of a state. Raises ValueError for one that no pass has."""
        position = whole_number(self._owner, "position", state["position"], 0)
        if position > self._batches:
            raise ValueError(
                f"{self._owner}: the state's position is {position}; expected at most {self._batches}, a pass"
            )
        return position


def one_ahead(read: Callable[[P], T], places: Sequence[P]) -> Generator[T]:
    """``read(place)`` for each place, at least one; while one is used, a thread reads the next."""
    with ThreadPoolExecutor(1, "xprnn-reader") as reader:
        coming = reader.submit(read, places[0])
        for following in places[1:]:
            found, coming = coming.result(), reader.submit(read, following)
            yield found
            del found  # before the piece after the next is read
        yield coming.result()


def length_of(name: str, source: Any) -> int:
    """The number of rows; arrays of zarr have a shape and no ``len``. Raises TypeError for what has no rows."""
    try:
        return int(source.shape[0]) if hasattr(source, "shape") else len(source)
    except (TypeError, IndexError):
        raise TypeError(f"{name} is {reprlib.repr(source)}; expected rows, as of an array") from None


def rows_between(owner: str, source: Any, first: int, stop: int) -> Any:
    """Rows of a source, in memory of their own; of a memory map, or a view of one, no pages are kept."""
    part = source[first:stop]
    if len(part) != stop - first:
        raise ValueError(f"{owner}: rows {first} to {stop} of a source are {len(part)}; expected {stop - first}")
    if isinstance(part, list):
        return part
    if map_of(source) is not None:
        part = np.array(part)
        let_pages_go(source)
    return np.asarray(part)


def map_of(source: Any) -> Any:
    """The memory map that an array is, or is a view of; None for anything else."""
    while source is not None and not isinstance(source, np.memmap):
        source = getattr(source, "base", None)
    return source


def let_pages_go(source: Any) -> None:
    """Keep nothing of a mapped file resident.

    Its pages would count as this process's memory until the system wants them back. Those that were written to are the
    file's, but where the map is a private copy.
    """
    mapped = map_of(source)
    if mapped is not None and mapped.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        mapped._mmap.madvise(mmap.MADV_DONTNEED)
