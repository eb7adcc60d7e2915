"""Buckets: batches of sequences that are about equally long, so that little of a batch is padding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from xprnn.arguments import each_true_or_false, whole_number
from xprnn.backend import Array, backend_of, dtype_name, namespace
from xprnn.data.batching import Batches
from xprnn.data.padding import alike, held, is_left, side_by_side
from xprnn.data.portions import rows_of
from xprnn.data.rows import Rows
from xprnn.randomness import Rng, generator
from xprnn.tensor import Tensor


class Buckets(Batches):
    """Padded batches of sequences of similar length; each ``iter()`` is an epoch, as of :class:`Batches`.

    >>> buckets = Buckets([[1, 2], [3], [4, 5, 6]], np.array([0, 1, 0]), batch_size=2)
    >>> [(x.T.tolist(), lengths.tolist(), label.tolist()) for x, lengths, label in buckets]
    [([[4, 5, 6], [1, 2, 0]], [3, 2], [0, 0]), ([[3]], [1], [1])]

    A list of sequences gives two arrays of each batch, padded (T, B, ...) and lengths (B,); an array (N, ...) gives its
    rows. T is the longest of the batch.

    The order: with ``shuffle`` all sequences are shuffled, cut into pools of ``pool`` batches, sorted by length inside
    each pool and cut into batches, which are then shuffled. A larger pool means less padding, and batches that differ
    less from epoch to epoch; ``pool=1`` is plain shuffling. Without ``shuffle`` the longest come first, so that running
    out of memory shows at once. ``np.arange(N)`` as one of the arrays tells where each row came from.

    Parameters
    ----------
    data
        Lists of N sequences, as :func:`pad_sequences` takes them, or Rows, and arrays (N, ...). Lengths of the first
        list decide, then those of the next.
    value
        What stands in place of the missing steps: one for all lists, or one for each.
    side
        "right" or "left", where the padding is.
    drop_last
        Leave out what does not fill a batch.

    Raises
    ------
    TypeError, ValueError
        Things that are no sequences or arrays, or that differ in N; no list of sequences among them; settings.
    """

    def __init__(
        self,
        *data: Any,
        batch_size: int,
        shuffle: bool = False,
        pool: int = 100,
        value: float | Sequence[float] = 0,
        batch_first: bool = False,
        drop_last: bool = False,
        rng: Rng = None,
        side: str = "right",
    ) -> None:
        owner = "Buckets"
        self.batch_size = whole_number(owner, "batch_size", batch_size)
        self.pool = whole_number(owner, "pool", pool)
        self.left = is_left(owner, side)
        self.shuffle, self.batch_first, self.drop_last = each_true_or_false(
            owner, shuffle=shuffle, batch_first=batch_first, drop_last=drop_last
        )
        self.axis = 0 if batch_first else 1
        self.data = [_part(owner, position, part) for position, part in enumerate(data)]
        lists = [part for part in self.data if isinstance(part, (list, Rows))]
        if not lists:
            raise ValueError(f"{owner}: there is no list of sequences among {len(data)} arguments")
        sizes = [len(part) if isinstance(part, (list, Rows)) else int(part.shape[0]) for part in self.data]
        if len(set(sizes)) > 1:
            raise ValueError(f"{owner}: the arguments have lengths {sizes}; expected equal ones")
        self.length = sizes[0]
        if drop_last and self.batch_size > self.length:
            raise ValueError(
                f"{owner}: batch_size is {batch_size}, but there are {self.length}: drop_last leaves nothing"
            )
        values = list(value) if isinstance(value, Sequence) else [value] * len(lists)
        if len(values) != len(lists):
            raise ValueError(f"{owner}: value has {len(values)} numbers; expected one, or {len(lists)} for the lists")
        self.values = [held(owner, v, dtype_name(part[0])) for v, part in zip(values, lists, strict=True)]
        self.lengths = np.array(
            [part.lengths if isinstance(part, Rows) else [int(s.shape[0]) for s in part] for part in lists]
        )
        self.rng = generator(rng)
        self.padding = math.nan
        """The share of padding among all steps of the epoch that began last; NaN before the first."""

    def parts(self, rank: int, size: int) -> Iterator[tuple[Array, ...]]:
        """One epoch of the parts of one of several ranks, as long as the whole batches."""
        parts = self._epoch()
        real = sum(int(self.lengths[:, part].sum()) for part in parts)
        steps = sum(int(self.lengths[:, part].max(axis=1).sum()) * len(part) for part in parts)
        self.padding = 1.0 - real / steps if steps else 0.0
        for part in parts:
            yield tuple(self._batch(part, rows_of(rank, size, len(part))))

    def _epoch(self) -> list[np.ndarray]:
        """The numbers of the sequences in each batch."""
        order = self.rng.permutation(self.length) if self.shuffle else np.arange(self.length)
        if self.drop_last:  # before sorting, else it were always the shortest that are left out
            order = order[: len(self) * self.batch_size]
        step = self.batch_size * (self.pool if self.shuffle else len(self))
        order = np.concatenate([self._longest_first(order[k : k + step]) for k in range(0, len(order), step)])
        parts = [order[k * self.batch_size : (k + 1) * self.batch_size] for k in range(len(self))]
        return [parts[k] for k in self.rng.permutation(len(parts))] if self.shuffle else parts

    def _longest_first(self, numbers: np.ndarray) -> np.ndarray:
        """Sorted by length, with equal ones in the order in which they come."""
        return numbers[np.lexsort(-self.lengths[::-1, numbers])]

    def _batch(self, numbers: np.ndarray, part: slice) -> Iterator[Array]:
        """The rows ``part`` of a batch of sequences of these numbers."""
        rows, some = iter(zip(self.lengths, self.values, strict=True)), numbers[part]
        for source in self.data:
            if isinstance(source, (list, Rows)):
                lengths, value = next(rows)
                # One at least, of which nothing is taken where this part is empty: it says library, device and dtype.
                arrays = [source[k] for k in (some if len(some) else numbers[:1])]
                longest, axis = int(lengths[numbers].max()), 0 if self.batch_first else 1
                batch = side_by_side(arrays, longest, value, self.batch_first, self.left)
                yield batch if len(some) else batch[(*[slice(None)] * axis, slice(0), ...)]
                yield backend_of(arrays[0]).asarray(lengths[some], "int64")
            else:
                yield namespace(source).take(source, backend_of(source).asarray(some), axis=0)


def _part(owner: str, position: int, part: Any) -> Any:
    """An argument as a list of arrays, as rows that are made when asked for, or as an array (N, ...)."""
    if isinstance(part, Rows):
        return part
    if isinstance(part, (list, tuple)):
        return alike(f"{owner}: argument {position}", part)
    if isinstance(part, Tensor):
        raise TypeError(f"{owner}: argument {position} is a {type(part).__name__}; pass its .data")
    namespace(**{f"{owner}: argument {position}": part})
    if part.ndim < 1 or part.shape[0] == 0:
        raise ValueError(f"{owner}: argument {position} has shape {tuple(part.shape)}; expected (N, ...), N at least 1")
    return part
