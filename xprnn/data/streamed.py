"""Batches of data that need not fit into memory, read window by window, one window ahead."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np

from xprnn.arguments import checked_state, true_or_false, whole_number
from xprnn.data.batching import Batches
from xprnn.data.bucketing import Buckets
from xprnn.data.passes import Passes, length_of, one_ahead, rows_between
from xprnn.data.portions import axes_of
from xprnn.randomness import Rng, generator, restore


class Streamed(Passes):
    """Batches of rows that lie on a disk, as of :class:`Batches` or :class:`Buckets`; a window at a time is in memory.

    >>> rows = np.arange(10)  # as np.load("rows.npy", mmap_mode="r"), or an array of zarr or h5py
    >>> batches = Streamed(rows, batch_size=2, window=2, updates=3)
    >>> [x.tolist() for x, in batches], [x.tolist() for x, in batches]
    ([[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [0, 1]])

    A source has a length and gives ``source[a:b]``, rows a to b: an array (b - a, ...), or a list of sequences as
    :class:`Ragged` does. While one window is trained on, a thread reads the next one; so twice a window, and no more,
    is held. With ``shuffle`` the windows come in a new order in each pass over the data, and the rows of each are
    shuffled among themselves. The smallest piece that a store can read, as a chunk of zarr's, should not be larger than
    a window.

    Each ``iter()`` goes on where the last one stopped, and ``state_dict`` says where that is, in the middle of a pass
    too: a run of ``fit`` that is resumed goes on with the next batch. Ranks that share batches read all windows each.

    Parameters
    ----------
    batch_size, shuffle, rng
        As in :class:`Batches`.
    window
        Batches of a window. A batch lies in one window; the last one of all rows may be smaller.
    updates
        Batches of one ``iter()``, an epoch of ``fit``; default: those that are left of the pass.
    options
        Of :class:`Batches`, or where a source has sequences of :class:`Buckets`; ``axis`` is where the rows are in a
        batch, though they are axis 0 of their source.

    Raises
    ------
    TypeError, ValueError
        No source, sources that differ in length, or wrong settings; what :class:`Batches` or :class:`Buckets` raises
        for the first row.
    """

    def __init__(
        self,
        *sources: Any,
        batch_size: int,
        shuffle: bool = False,
        window: int = 100,
        updates: int | None = None,
        rng: Rng = None,
        **options: Any,
    ) -> None:
        owner = "Streamed"
        if not sources:
            raise ValueError(f"{owner}: no sources; expected at least one")
        if "drop_last" in options:
            raise TypeError(f"{owner}: drop_last is given; rows left over make one smaller batch a pass")
        lengths = [length_of(f"{owner}: source {k}", source) for k, source in enumerate(sources)]
        if len(set(lengths)) > 1 or lengths[0] == 0:
            raise ValueError(f"{owner}: the sources have lengths {lengths}; expected equal ones above 0")
        self.sources, self.length, self.options = sources, lengths[0], options
        self.batch_size, self.window = (
            whole_number(owner, name, number) for name, number in (("batch_size", batch_size), ("window", window))
        )
        self.shuffle = true_or_false(owner, "shuffle", shuffle)
        super().__init__(owner, updates)
        self._batches = -(-self.length // self.batch_size)
        self.rng = generator(rng)
        self.axis = self._in_memory([rows_between(owner, source, 0, 1) for source in sources], 0).axis
        self._order: list[tuple[int, int]] | None = None  # of windows, with a seed for each, once they are drawn
        self._began: Any = None  # the state of the generator before that

    def _next_pass(self) -> None:
        self._drawn()  # whose order comes before the next one, used or not
        self._order = None

    def _drawn(self) -> list[tuple[int, int]]:
        """The order of the windows in this pass."""
        if self._order is None:
            self._began = self.rng.bit_generator.state
            windows = np.arange(-(-self._batches // self.window))
            if self.shuffle:
                order, seeds = self.rng.permutation(windows), self.rng.integers(2**63, size=len(windows))
            else:
                order, seeds = windows, np.zeros_like(windows)
            self._order = list(zip(order.tolist(), seeds.tolist(), strict=True))
        return self._order

    def _rest(self, rank: int, size: int) -> Iterator[tuple[Any, ...]]:
        rows, given, ahead = self.window * self.batch_size, self.position, list[tuple[int, int, int]]()
        for number, seed in self._drawn():
            batches = -(-min(rows, self.length - number * rows) // self.batch_size)
            if given < batches:
                ahead.append((number * rows, seed, given))
            given = max(0, given - batches)
        with closing(one_ahead(self._read, [first for first, _, _ in ahead])) as windows:
            for _, seed, given in ahead:
                parts = next(windows)
                yield from islice(self._in_memory(parts, seed).parts(rank, size), given, None)
                del parts  # before the window after the next is read

    def _read(self, first: int) -> list[Any]:
        """The rows of a window."""
        return [
            rows_between("Streamed", source, first, min(first + self.window * self.batch_size, self.length))
            for source in self.sources
        ]

    def state_dict(self) -> dict[str, Any]:
        """The state of the generator at the beginning of the pass, and how many of its batches have been given."""
        generator = self.rng.bit_generator.state if self._order is None else self._began
        return {"generator": generator, "position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` gave. Raises ValueError, and changes nothing, for what does not fit."""
        position = self._position_in(checked_state("Streamed", state, ("generator", "position")))
        try:
            restore(self.rng, state["generator"])
        except ValueError as error:
            raise ValueError(f"Streamed: {error}") from error
        self.position, self._order = position, None

    def _in_memory(self, parts: list[Any], seed: int) -> Batches:
        """The batches of a window."""
        options = {**self.options, "batch_size": self.batch_size, "shuffle": self.shuffle, "rng": seed}
        if any(isinstance(part, list) for part in parts):
            return Buckets(*parts, **{"pool": self.window, **options})
        return _Moved(*parts, **options)


class _Moved(Batches):
    """Batches whose arrays have their rows first, and in the batches where ``axis`` says.

    Rows are taken from where they lie together: along another axis NumPy would copy all of a window for each batch.
    """

    def __init__(self, *arrays: Any, axis: int | Sequence[int] = 0, **options: Any) -> None:
        super().__init__(*arrays, **options)
        axes = axes_of("Streamed", axis)
        self.places = axes if isinstance(axes, tuple) else (axes,) * len(arrays)
        shapes = [array.shape for array in arrays]
        if len(self.places) != len(arrays) or any(len(s) <= a for s, a in zip(shapes, self.places, strict=True)):
            raise ValueError(
                f"Streamed: axis is {axis!r}, and the sources have shapes {shapes} a row; expected one axis that all "
                "have, or one for each"
            )
        self.axis = self.places[0]

    def parts(self, rank: int, size: int) -> Iterator[tuple[Any, ...]]:
        for arrays in super().parts(rank, size):
            yield tuple(np.moveaxis(array, 0, place) for array, place in zip(arrays, self.places, strict=True))


class Ragged:
    """Sequences that lie one after the other, as a source of :class:`Streamed`: the k-th is ends[k - 1] to ends[k].

    >>> Ragged(np.arange(5.0), [2, 3, 5])[1:3]
    [array([2.]), array([3., 4.])]

    ``steps`` is what Streamed takes as a source, (total, ...), and stays where it is; ``ends`` (N,) is in memory, eight
    bytes a sequence. Raises ValueError for ends that fall, or that do not end where the steps do.
    """

    def __init__(self, steps: Any, ends: Any) -> None:
        given, total = np.asarray(ends), length_of("Ragged: steps", steps)
        if given.ndim != 1 or (given.dtype.kind not in "iu" and given.size):
            raise ValueError(f"Ragged: ends are {reprlib.repr(ends)}; expected a list of whole numbers")
        self.steps, self.ends = steps, np.concatenate([[0], given.astype(np.int64)])
        if (np.diff(self.ends) < 0).any() or int(self.ends[-1]) != total:
            raise ValueError(
                f"Ragged: ends go to {self.ends[-1]}, or fall on the way; expected rising ones up to {total}, "
                "the number of steps"
            )

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, rows: slice) -> list[np.ndarray[Any, Any]]:
        first, stop, _ = rows.indices(len(self))
        if first >= stop:
            return []
        ends = self.ends[first : stop + 1]
        return np.split(rows_between("Ragged", self.steps, int(ends[0]), int(ends[-1])), ends[1:-1] - ends[0])
