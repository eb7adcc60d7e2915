"""Parts of batches: of each batch of a source the rows that one of several ranks computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from xprnn.arguments import several, whole_number


class Source(Protocol):
    """A source of batches that can give a part of each: ``parts(rank, size)`` is an epoch of those."""

    axis: int

    def __len__(self) -> int: ...

    def parts(self, rank: int, size: int) -> Iterator[Any]:
        """One epoch of the parts of one rank."""


class Portion:
    """The rows n rank // size to n (rank + 1) // size of each batch of n rows; each ``iter()`` is an epoch.

    The source draws the same order in all ranks, so that their parts are those of the same batch. A batch of fewer rows
    than ranks leaves some of them without any.
    """

    def __init__(self, source: Source, rank: int, size: int) -> None:
        self.source, self.rank, self.size, self.axis = source, rank, size, source.axis

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Any]:
        return self.source.parts(self.rank, self.size)


class Divisible:
    """A source whose ``parts`` ranks can share."""

    def portion(self: Any, rank: int, size: int) -> Portion:
        """Of each batch the part of one rank, as ``fit`` asks for it; both count from the state of this source."""
        return Portion(self, rank, size)


def rows_of(rank: int, size: int, rows: int) -> slice:
    """Which of a batch's rows are one rank's."""
    return slice(rows * rank // size, rows * (rank + 1) // size)


def cut(owner: str, batch: Any, axes: int | Sequence[int], rank: int, size: int) -> Any:
    """One rank's part of a batch: an array, or a tuple or list of arrays, each cut along its axis.

    Raises TypeError for a batch of something else, ValueError where arrays lack their axis or differ along it.
    """
    arrays = list(batch) if isinstance(batch, (tuple, list)) else [batch]
    each = [axes] * len(arrays) if isinstance(axes, int) else list(axes)
    if wrong := [type(array).__name__ for array in arrays if not hasattr(array, "shape")]:
        raise TypeError(f"{owner}: a batch has a {wrong[0]} in it; expected arrays only, to be cut among ranks")
    shapes = [tuple(array.shape) for array in arrays]
    if len(each) != len(arrays) or any(len(shape) <= axis for shape, axis in zip(shapes, each, strict=True)):
        raise ValueError(f"{owner}: a batch has shapes {shapes}; expected an array with each of the axes {each}")
    lengths = [shape[axis] for shape, axis in zip(shapes, each, strict=True)]
    if len(set(lengths)) > 1:
        raise ValueError(f"{owner}: a batch has lengths {lengths} along axes {each}; expected equal ones")
    part = rows_of(rank, size, lengths[0])
    parts = [array[(*[slice(None)] * axis, part, ...)] for array, axis in zip(arrays, each, strict=True)]
    return type(batch)(parts) if type(batch) in (tuple, list) else tuple(parts) if len(parts) > 1 else parts[0]


def axes_of(owner: str, axis: int | Sequence[int]) -> int | tuple[int, ...]:
    """An axis for all arrays, or one for each, checked."""
    if isinstance(axis, Sequence):
        return tuple(whole_number(owner, "axis", number, 0) for number in axis)
    return whole_number(owner, "axis", axis, 0)


class Divided(Divisible):
    """A list of batches that ranks can share: ``fit(model, Divided(batches, axis=(1, 0)), ..., communicator=world())``.

    >>> import numpy as np
    >>> batches = Divided([np.arange(5), np.arange(3)])
    >>> [part.tolist() for part in batches.portion(0, 2)]
    [[0, 1], [0]]

    ``axis`` is where batches are cut, in all of their arrays, or in each its own. Raises ValueError for an axis below
    0; while iterated, what :func:`cut` raises.
    """

    def __init__(self, batches: Iterable[Any], axis: int | Sequence[int] = 0) -> None:
        self.batches, self.axes = several("Divided", "batches", batches), axes_of("Divided", axis)
        self.axis = self.axes if isinstance(self.axes, int) else self.axes[0]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def parts(self, rank: int, size: int) -> Iterator[Any]:
        """One epoch of the parts of one rank."""
        return (cut("Divided", batch, self.axes, rank, size) for batch in self.batches)
