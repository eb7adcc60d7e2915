"""A long sequence that need not fit into memory, as lanes side by side, for truncated backpropagation through time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import numpy as np

from xprnn.arguments import checked_state, whole_number
from xprnn.data.passes import Passes, length_of, one_ahead, rows_between
from xprnn.data.portions import rows_of


class Lanes(Passes):
    """A sequence of N steps on a disk, cut into B lanes that run side by side, some steps at a time, read ahead.

    >>> tokens = np.arange(13)  # as np.memmap("tokens.bin", "uint16", "r"), an array of zarr or h5py, ArrowRows
    >>> x, y = next(iter(Lanes(tokens, batch_size=2, chunk=4, ahead=1)))
    >>> x.T.tolist(), y.T.tolist()
    ([[0, 1, 2, 3], [6, 7, 8, 9]], [[1, 2, 3, 4], [7, 8, 9, 10]])

    Lane b is steps b T to (b + 1) T, T = (N - ahead) // B; what is left over at the end is not used. A batch is a tuple
    of arrays (k, B, ...), the next k = ``chunk`` steps of each source in all lanes, or fewer at the end of a pass. A
    state goes on from batch to batch: :class:`xprnn.train.Carried`. While some chunks are used, a thread reads as many
    more, so that twice a window is held.

    Each ``iter()`` goes on where the last one stopped, and ``state_dict`` says where that is, in the middle of a pass
    too. Ranks have some of the lanes each, and read no others.

    Parameters
    ----------
    sources
        Of N steps each, (N, ...), as :class:`xprnn.data.Streamed` has them.
    batch_size, chunk
        Lanes; steps of a batch.
    ahead
        0, or by how many steps the first source comes a second time, as what is to be foretold of it.
    window
        Chunks that are read at once. The smallest piece that a store can read should not be larger than these.
    updates
        Batches of one ``iter()``, an epoch of ``fit``; default: those that are left of the pass.

    Raises TypeError or ValueError for no sources, sources that differ in length or are too short, and wrong settings.
    """

    axis = 1

    def __init__(
        self,
        *sources: Any,
        batch_size: int,
        chunk: int,
        ahead: int = 0,
        window: int = 100,
        updates: int | None = None,
    ) -> None:
        super().__init__("Lanes", updates)
        if not sources:
            raise ValueError("Lanes: no sources; expected at least one")
        lengths = [length_of(f"Lanes: source {k}", source) for k, source in enumerate(sources)]
        self.sources, self.ahead = sources, whole_number("Lanes", "ahead", ahead, 0)
        self.batch_size, self.chunk, self.window = (
            whole_number("Lanes", name, number)
            for name, number in (("batch_size", batch_size), ("chunk", chunk), ("window", window))
        )
        self.steps = (lengths[0] - self.ahead) // self.batch_size
        """Steps of each lane."""
        self._batches = -(-self.steps // self.chunk)
        if len(set(lengths)) > 1 or self.steps < 1:
            least = self.batch_size + self.ahead
            raise ValueError(f"Lanes: the sources have lengths {lengths}; expected equal ones of at least {least}")

        for k, source in enumerate(sources):
            if isinstance(rows_between("Lanes", source, 0, 1), list):
                raise TypeError(f"Lanes: source {k} has a sequence a row; expected one long one, of numbers or arrays")

    def parts(self, rank: int, size: int) -> Iterator[tuple[Any, ...]]:
        """The next batches, of each the lanes of one of several ranks. Raises ValueError for fewer lanes than ranks."""
        if self.batch_size < size:
            raise ValueError(f"Lanes: batch_size is {self.batch_size}; expected at least {size}, a lane for each rank")
        return super().parts(rank, size)

    def _rest(self, rank: int, size: int) -> Iterator[tuple[Any, ...]]:
        lanes = range(self.batch_size)[rows_of(rank, size, self.batch_size)]
        places = range(self.position, self._batches, self.window)

        def read(place: int) -> list[Any]:
            return self._read(lanes, place * self.chunk, min((place + self.window) * self.chunk, self.steps))

        with closing(one_ahead(read, places)) as windows:
            for place in places:
                parts = next(windows)
                length = min(self.window * self.chunk, self.steps - place * self.chunk)
                for start in range(0, length, self.chunk):
                    stop = min(start + self.chunk, length)
                    late = [parts[0][start + self.ahead : stop + self.ahead]] if self.ahead else []
                    yield (*(part[start:stop] for part in parts), *late)
                del parts

    def _read(self, lanes: range, start: int, stop: int) -> list[Any]:
        """Steps start to stop of some lanes, (steps, lanes, ...), of the first source those after them too."""
        found = []
        for k, source in enumerate(self.sources):
            more = 0 if k else self.ahead
            rows = [
                rows_between("Lanes", source, lane * self.steps + start, lane * self.steps + stop + more)
                for lane in lanes
            ]
            found.append(np.stack(rows, axis=1))
        return found

    def state_dict(self) -> dict[str, Any]:
        """How many batches of the pass have been given."""
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` gave. Raises ValueError, and changes nothing, for what does not fit."""
        self.position = self._position_in(checked_state("Lanes", state, ("position",)))
