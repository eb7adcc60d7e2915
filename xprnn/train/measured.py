"""What is measured of batches: known at once on the host, and brought from a device for many batches at a time."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from xprnn.backend import Array, Backend, backend_of, namespace, to_numpy
from xprnn.postponed import Check, look_at, postponed

AT_MOST = 64  # batches that wait: an error may come so many batches late

Undo = Callable[[], None]


def drawn(batches: Iterable[Any]) -> Iterator[tuple[Any, list[Check]]]:
    """Each batch, and the checks postponed while it was made."""
    iterator, end = iter(batches), object()
    while True:
        with postponed() as checks:
            batch = next(iterator, end)
        if batch is end:
            look_at(checks)
            return
        yield batch, checks


class Waiting(NamedTuple):
    """A batch whose numbers are on a device.

    ``row`` has them, then those weights that are there too (None in ``weights``), and 1.0 for each check that found
    something.
    """

    place: str
    weights: Sequence[float | None]
    row: Array
    checks: Sequence[Check]
    undo: Undo


class Measured:
    """Numbers of each batch, and their means over the batches; nothing waits for a device before :meth:`settle`.

    That is called for every ``AT_MOST`` batches and at the end of a ``with`` block, whatever ended it. Where there are
    several devices, all is brought to the first.

    Attributes
    ----------
    allowed
        A boolean without axes on the device: False from the first batch in which a check found something. None on the
        host, where such a batch raises an error at once.
    last
        The numbers of the last batch that has settled; at first what the constructor is given.
    """

    def __init__(self, last: Sequence[float]) -> None:
        self.last = last
        self.allowed: Array | None = None
        self._home: Backend | None = None
        self._sums, self._weights = [0.0] * len(last), [0.0] * len(last)
        self._waiting: list[Waiting] = []
        self._failed: tuple[Exception, Undo] | None = None

    def add(
        self,
        place: str,
        numbers: Sequence[Any],
        weights: Sequence[Any],
        checks: Sequence[Check],
        mark: Callable[[], Undo] = lambda: _nothing_to_undo,
    ) -> None:
        """Take the numbers of a batch and what they weigh in the means: floats or arrays of one element.

        A batch may have fewer numbers than others: the last ones are then not measured.
        ``mark()`` gives what undoes all that happened since, should the batch turn out to be wrong.
        """
        arrays = [array for array in (*numbers, *weights, *(check.wrong for check in checks)) if not _on_host(array)]
        if not arrays:
            self.settle()  # in the order of the batches
            self._take([float(np.reshape(number, ())) for number in numbers], [float(weight) for weight in weights])
            return
        home = self._home = self._home or backend_of(arrays[0])
        xp = home.xp
        there = [weight for weight in weights if not _on_host(weight)]
        row = xp.stack([xp.reshape(home.asarray(number, "float64"), ()) for number in (*numbers, *there)])
        if checks:
            wrong = xp.stack([home.asarray(check.wrong) for check in checks])
            fine = ~xp.any(wrong)
            self.allowed = fine if self.allowed is None else self.allowed & fine
            row = xp.concat([row, xp.astype(wrong, row.dtype)])
        known = [float(weight) if _on_host(weight) else None for weight in weights]
        self._waiting.append(Waiting(place, known, row, checks, mark()))
        if len(self._waiting) >= AT_MOST:
            self.settle()

    @property
    def settled(self) -> bool:
        """Whether everything is known."""
        return not self._waiting

    def settle(self) -> None:
        """Bring everything to the host, in one copy.

        Raises the error of the first check that found something, after the ``undo`` of its batch.
        """
        self._raise()  # an error stays until the block ends
        if not self._waiting:
            return
        rows = [batch.row for batch in self._waiting]
        numbers = iter(to_numpy(namespace(rows[0]).concat(rows)).tolist())
        while self._waiting:  # one by one: Ctrl-C may end this anywhere, and what was wrong must not be lost
            batch = self._waiting[0]
            found = list(islice(numbers, len(batch.weights)))
            weights = [next(numbers) if weight is None else weight for weight in batch.weights]
            flags = list(islice(numbers, len(batch.checks)))
            for check, wrong in zip(batch.checks, flags, strict=True):
                if wrong:
                    self._failed = _at(batch.place, check.error()), batch.undo
                    self._waiting.clear()
                    self._raise()
            self._take(found, weights)
            del self._waiting[0]

    def _raise(self) -> None:
        if self._failed is not None:
            error, undo = self._failed
            undo()
            raise error

    def __getstate__(self) -> dict[str, Any]:
        """For a copy, in which nothing waits."""
        self.settle()
        return {**vars(self), "_home": None}

    def means(self, add_up: Callable[[Sequence[float]], Sequence[float]] = list) -> list[float]:
        """The weighted mean of each number, NaN where all that was taken weighs nothing.

        ``add_up`` sums what several have taken.
        """
        total = add_up([*self._sums, *self._weights])
        sums, weights = total[: len(self._sums)], total[len(self._sums) :]
        return [each / weight if weight else math.nan for each, weight in zip(sums, weights, strict=True)]

    def _take(self, numbers: Sequence[float], weights: Sequence[float]) -> None:
        self.last = [*numbers, *self.last[len(numbers) :]]
        for k, (number, weight) in enumerate(zip(numbers, weights, strict=True)):
            self._sums[k] += number * weight
            self._weights[k] += weight

    def __enter__(self) -> Measured:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.settle()  # after an error too: an earlier batch may be what was wrong
        except KeyboardInterrupt:
            self.settle()
            raise
        finally:
            self._waiting, self._failed = [], None


def _nothing_to_undo() -> None:
    """For batches after which nothing has to be taken back."""


def _on_host(number: Any) -> bool:
    return isinstance(number, (int, float, np.ndarray, np.generic))


def _at(place: str, error: Exception) -> Exception:
    """The error, with a note of the batch that it came from, which the traceback of a late error does not show."""
    if sys.version_info >= (3, 11):
        error.add_note(f"This was in {place}, whose numbers came from the device later.")
    return error
