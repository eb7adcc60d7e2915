"""Batches: arrays, cut into equal parts along one axis, in order or shuffled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xprnn.arguments import each_true_or_false, whole_number
from xprnn.backend import Array, backend_of, namespace
from xprnn.data.generator_state import GeneratorState
from xprnn.data.portions import Divisible, rows_of
from xprnn.randomness import Rng, generator
from xprnn.tensor import Tensor


class Batches(Divisible, GeneratorState):
    """Parts of arrays that belong together; each ``iter()`` is an epoch, in a new order with ``shuffle``.

    >>> import numpy as np
    >>> [x.tolist() for x, y in Batches(np.arange(5), np.zeros((5, 3)), batch_size=2)]
    [[0, 1], [2, 3], [4]]

    Yields tuples of arrays (..., batch_size, ...), the last one shorter or, with ``drop_last``, left out. Each array
    stays on its device; the order is drawn on the host by ``rng``, whose state ``state_dict`` keeps. Without shuffling
    the parts are views.

    ``axis`` is where the batches are cut: in all arrays, or in each its own, as ``axis=(1, 0)`` of sequences (T, N, F)
    and labels (N,). The attribute ``axis`` is the first array's.

    Raises TypeError for things that are not arrays; ValueError for lengths that differ along ``axis``, another number
    of axes than of arrays, no data, or a batch size that gives no batch.
    """

    owner = "Batches"

    def __init__(
        self,
        *arrays: Array,
        batch_size: int,
        shuffle: bool = False,
        drop_last: bool = False,
        rng: Rng = None,
        axis: int | Sequence[int] = 0,
    ) -> None:
        if not arrays:
            raise ValueError("Batches: no arrays; expected at least one")
        self.batch_size = whole_number("Batches", "batch_size", batch_size)
        self.shuffle, self.drop_last = each_true_or_false("Batches", shuffle=shuffle, drop_last=drop_last)
        each = list(axis) if isinstance(axis, Sequence) else [axis] * len(arrays)
        if len(each) != len(arrays):
            raise ValueError(f"Batches: axis has {len(each)} numbers; expected one, or {len(arrays)} for the arrays")
        self.axes = tuple(whole_number("Batches", "axis", number, 0) for number in each)
        self.axis = self.axes[0]
        for position, (array, number) in enumerate(zip(arrays, self.axes, strict=True)):
            if isinstance(array, Tensor):
                raise TypeError(f"Batches: argument {position} is a {type(array).__name__}; pass its .data")
            namespace(**{f"Batches: argument {position}": array})
            if array.ndim <= number:
                shape = tuple(array.shape)
                raise ValueError(f"Batches: argument {position} has shape {shape}; it has no axis {number}")
        lengths = [int(array.shape[number]) for array, number in zip(arrays, self.axes, strict=True)]
        along = f"axis {self.axis}" if len(set(self.axes)) == 1 else f"axes {self.axes}"
        if len(set(lengths)) > 1:
            raise ValueError(f"Batches: the arrays have lengths {lengths} along {along}; expected equal ones")
        if lengths[0] == 0:
            raise ValueError(f"Batches: the arrays are empty along {along}")
        if drop_last and batch_size > lengths[0]:
            raise ValueError(
                f"Batches: batch_size is {batch_size}, but there are {lengths[0]}: drop_last leaves nothing"
            )
        self.arrays, self.length = arrays, lengths[0]
        self.rng = generator(rng)

    def __len__(self) -> int:
        """The number of batches."""
        whole, rest = divmod(self.length, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        return self.parts(0, 1)

    def parts(self, rank: int, size: int) -> Iterator[tuple[Array, ...]]:
        """One epoch of the parts that one of several ranks computes."""
        orders = None
        if self.shuffle:
            order = self.rng.permutation(self.length)
            orders = [backend_of(array).asarray(order) for array in self.arrays]
        for k in range(len(self)):
            first = k * self.batch_size
            rows = rows_of(rank, size, min(self.batch_size, self.length - first))
            part = slice(first + rows.start, first + rows.stop)
            if orders is None:
                pairs = zip(self.arrays, self.axes, strict=True)
                yield tuple(array[(*[slice(None)] * axis, part, ...)] for array, axis in pairs)
            else:
                taken = zip(self.arrays, orders, self.axes, strict=True)
                yield tuple(namespace(array).take(array, order[part], axis=axis) for array, order, axis in taken)
