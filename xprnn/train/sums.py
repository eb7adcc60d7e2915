"""Gradients of all ranks, summed in flat buckets while the walk back goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from xprnn.backend import Array, dtype_name, zeros_beside
from xprnn.tensor import Tensor
from xprnn.train.communicator import Communicator
from xprnn.train.joined import Joined, kind_of
from xprnn.train.wire import Narrow

BUCKET = 2**18
"""Numbers that are summed at once: few enough for the first sums to begin early, and many for a message."""

Begun = tuple[list[int], Joined, Callable[[], Array]]
"""Positions of parameters, their gradients as one array, and what waits for its sum."""


class Sums:
    """What an optimizer's parameters get from all ranks.

    Which parameters a bucket has never changes: in what order a library adds up depends on where in a message a number
    stands, so that a resumed run, which knows nothing of the steps before it, must send the same ones. A parameter
    without a gradient is zeros in them.

    A bucket is begun when the gradients of those of its parameters that are in the walk are whole. All ranks begin the
    same ones in the same order, whatever their own walks come to first: a plan made after the first step of the buckets
    that had a gradient anywhere, in the order in which rank 0 came to their ends, and made anew after a step in which
    others had one.
    """

    def __init__(self, communicator: Communicator, parameters: Sequence[Tensor]) -> None:
        self.communicator, self.parameters = communicator, parameters
        self._buckets = list(self._joinable(reversed(range(len(parameters)))))  # about as walks come to them
        self._bucket_of = {id(parameters[k]): number for number, bucket in enumerate(self._buckets) for k in bucket}
        self._begin_sums = [self._sum_of(bucket) for bucket in self._buckets]
        self._plan: list[int] = []
        self._anew()

    def _anew(self) -> None:
        """Begin the plan again: nothing of it is done yet."""
        self._begun: list[Begun] = []
        self._wanting: Counter[int] = Counter()  # parameters of each bucket that are still to come
        self._ended: dict[int, None] = {}  # buckets, in the order in which their last ones have come

    @property
    def begun(self) -> bool:
        """Whether the other ranks must begin something, lest this one wait for it forever."""
        return bool(self._begun)

    def expect(self, leaves: Iterable[Tensor]) -> None:
        """A walk begins, at whose end nothing more will be added to the gradients of any parameter in this step."""
        distinct = {id(leaf) for leaf in leaves}
        self._wanting = Counter(self._bucket_of[each] for each in distinct if each in self._bucket_of)
        self._begin_whole()

    def whole(self, parameter: Tensor) -> None:
        """The walk has come to the end of this parameter's gradient."""
        bucket = self._bucket_of.get(id(parameter))
        if bucket is not None:
            self._wanting[bucket] -= 1
            self._ended.pop(bucket, None)
            self._ended[bucket] = None  # the last one now
            self._begin_whole()

    def _begin_whole(self) -> None:
        while len(self._begun) < len(self._plan) and not self._wanting[bucket := self._plan[len(self._begun)]]:
            self._begin(bucket)

    def finish(self, held: Sequence[bool]) -> list[tuple[Tensor, Array]]:
        """The sums of the parameters that have a gradient anywhere, as ``held`` says in all ranks."""
        wanted = [k for k, anywhere in enumerate(held) if anywhere]
        buckets = {self._bucket_of[id(self.parameters[k])] for k in wanted}
        for bucket in [*self._plan[len(self._begun) :], *sorted(buckets.difference(self._plan))]:
            self._begin(bucket)
        sums = self._waited()
        if buckets != set(self._plan):
            first = [bucket for bucket in self.communicator.broadcast(list(self._ended)) if bucket in buckets]
            self._plan = list(dict.fromkeys([*first, *sorted(buckets)]))
        self._anew()
        return [(self.parameters[k], sums[k]) for k in wanted]

    def drop(self) -> None:
        """End what any rank has begun, where there is to be no step."""
        for bucket in self._plan[len(self._begun) :]:
            self._begin(bucket)
        self._waited()
        self._anew()

    def _begin(self, bucket: int) -> None:
        positions = self._buckets[bucket]
        joined = Joined([self._gradient(k) for k in positions])
        self._begun.append((positions, joined, self._begin_sums[bucket](joined.array)))

    def _gradient(self, k: int) -> Array:
        data, gradient = self.parameters[k].data, self.parameters[k].grad
        return zeros_beside(data, data.shape) if gradient is None else gradient.data

    def _waited(self) -> dict[int, Array]:
        """What was begun, by the positions of parameters."""
        sums: dict[int, Array] = {}
        for positions, joined, wait in self._begun:
            sums.update(zip(positions, joined.apart(wait(), {}), strict=True))
        return sums

    def _sum_of(self, bucket: Sequence[int]) -> Callable[[Array], Callable[[], Array]]:
        """What begins the sum of a bucket."""
        dtype = dtype_name(self.parameters[bucket[0]].data)
        narrow = self.communicator.wire == "bfloat16" and dtype == "float32"
        return Narrow(self.communicator).begin if narrow else self.communicator.begin_sum

    def _joinable(self, positions: Iterable[int]) -> Iterator[list[int]]:
        """Parameters that can be joined, of so many numbers together or one large one."""
        kinds: dict[object, list[int]] = {}
        for k in positions:
            data = self.parameters[k].data
            bucket = kinds.setdefault(kind_of(data), [])
            if bucket and sum(self.parameters[j].size for j in bucket) + data.size > BUCKET:
                yield [*bucket]
                bucket.clear()
            bucket.append(k)
        yield from kinds.values()
