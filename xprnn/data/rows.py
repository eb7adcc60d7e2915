"""Sequences of whole numbers, one after another in one array, four bytes a number, which may lie on disk."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]
SPILL = 1 << 22  # numbers that are held in memory before a file is made of them
AT_ONCE = 1 << 20  # numbers that are worked on at a time


class Rows:
    """Sequences (T_n,) of int64, made when they are asked for, of numbers that lie one after another.

    ``flat`` (M,) int32 holds all numbers, ``starts`` and ``lengths`` (N,) say where each sequence is.
    """

    def __init__(self, flat: Host, starts: Host, lengths: Host) -> None:
        self.flat, self.starts, self.lengths = flat, starts, lengths

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, k: int) -> Host:
        """Sequence k, a copy."""
        start = self.starts[k]
        return np.array(self.flat[start : start + self.lengths[k]], np.int64)

    def __iter__(self) -> Iterator[Host]:
        return (self[k] for k in range(len(self)))

    def taken(self, numbers: Host) -> Rows:
        """Those of these numbers (K,), or where a mask (N,) is True; they share all that is stored."""
        return Rows(self.flat, self.starts[numbers], self.lengths[numbers])

    def any(self, flags: Host) -> Host:
        """Of each sequence whether it holds a number k with ``flags[k]`` (N,)."""
        return np.fromiter((flags[row].any() for row in self), bool, len(self))

    def counts(self, size: int) -> Host:
        """How often each number below ``size`` comes (size,)."""
        found, held, waiting = np.zeros(size, np.int64), 0, []
        for row in self:
            waiting.append(row)
            held += len(row)
            if held >= AT_ONCE:
                found += np.bincount(np.concatenate(waiting), minlength=size)
                held, waiting = 0, []
        return found + np.bincount(np.concatenate(waiting), minlength=size) if waiting else found

    def renumber(self, table: Host) -> None:
        """Put ``table[k]`` in the place of each number k, in all rows that share what is stored."""
        for start in range(0, len(self.flat), AT_ONCE):
            self.flat[start : start + AT_ONCE] = table[self.flat[start : start + AT_ONCE]]


class RowWriter:
    """Takes sequences one by one, and gives them as :class:`Rows`; many of them go to a temporary file."""

    def __init__(self) -> None:
        self._held, self._lengths = array("i"), array("q")
        self._file: Any = None

    def append(self, numbers: Sequence[int]) -> None:
        """One more sequence."""
        self._held.extend(numbers)
        self._lengths.append(len(numbers))
        if len(self._held) >= SPILL:
            self._spill()

    def rows(self) -> Rows:
        """All of them. The file lives as long as its rows do."""
        lengths = np.array(self._lengths, np.int64)
        starts = np.cumsum(lengths) - lengths
        if self._file is None:
            return Rows(np.array(self._held, np.int32), starts, lengths)
        self._spill()
        self._file.flush()
        flat = np.memmap(self._file, np.int32, "r+", shape=(int(lengths.sum()),))
        return Rows(flat, starts, lengths)

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when nobody has it any more
        self._file.write(np.array(self._held, np.int32).tobytes())
        self._held = array("i")
