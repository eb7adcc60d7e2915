"""The gradient of a large batch, from smaller ones that are computed after each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, TypeVar

from xprnn.backend import Array, backend_of, dtype_name
from xprnn.tensor import Tensor
from xprnn.together import make, new_gradients
from xprnn.train.ranks import Ranks
from xprnn.train.weighted import Weight

T = TypeVar("T")


class Accumulated:
    """Adds up weight times gradient of each loss, of all ranks, and divides by the sum of weights.

    This is the gradient of the mean over all that the losses are means over. Where all weights are 0 it is 0.
    """

    def __init__(self, parameters: Sequence[Tensor], ranks: Ranks) -> None:
        self.parameters, self.ranks, self._finished = parameters, ranks, True
        self._total: Weight = 0.0

    def begin(self) -> None:
        """Before a batch: forget the gradients that were finished."""
        if self._finished:
            make([new_gradients(self.parameters, repeat(None))])
            self._total, self._finished = 0.0, False

    def add(self, loss: Tensor, weight: Weight, due: bool) -> None:
        """Walk back from a loss, releasing its graph; ``due`` says that it is the last one before a step."""
        home, dtype = backend_of(loss.data), dtype_name(loss.data)
        factor = home.xp.reshape(home.asarray(weight, dtype), loss.shape)
        self.ranks.backward(loss, factor, due)

    def count(self, weight: Weight) -> None:
        """Take what the losses weigh that all ranks have added."""
        self._total = self._total + weight

    def finish(self) -> None:
        """Make the gradients those of the mean."""
        sums = self.ranks.summed(self.parameters)
        divided = [Tensor(self._divided(total)) for _, total in sums]
        make([new_gradients([parameter for parameter, _ in sums], divided)])
        self._finished = True

    def _divided(self, gradient: Array) -> Array:
        if isinstance(self._total, float):
            return gradient / (self._total or 1.0)
        home = backend_of(gradient)
        total = home.asarray(self._total, dtype_name(gradient))
        return gradient / home.xp.where(total == 0, home.xp.ones_like(total), total)


def in_groups(items: Iterable[T], size: int) -> Iterator[tuple[T, bool]]:
    """Each item, and whether it is the last of its group of so many, or of all."""
    iterator, end, position = iter(items), object(), 0
    item: Any = next(iterator, end)
    while item is not end:
        position += 1
        full = position % size == 0
        # Nothing is drawn ahead of a step: truncated backpropagation computes with the parameters while it is iterated.
        following = end if full else next(iterator, end)
        yield item, full or following is end
        item = next(iterator, end) if full else following
