"""Gradients of all ranks, summed in flat buckets while the walk back goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from xprnn.backend import Array, dtype_name, zeros_beside
from xprnn.tensor import Tensor
from xprnn.train.communicator import Communicator
from xprnn.train.joined import Joined, kind_of
from xprnn.train.wire import Narrow

BUCKET = 2**18
"""Numbers that are summed at once: few enough for the first sums to begin early, and many for a message."""

Bucket = tuple[list[int], Callable[[Array], Callable[[], Array]]]
"""Positions of parameters, and what begins the sum of their gradients as one array."""

Begun = tuple[list[int], Joined, Callable[[], Array]]
"""Positions of parameters, their gradients as one array, and what waits for its sum."""


class Sums:
    """What an optimizer's parameters get from all ranks.

    A bucket is begun when the gradients of its parameters are whole. All ranks begin the same ones in the same order,
    whatever their own walks come to first: a plan made after the first step of what had a gradient anywhere, in the
    order in which rank 0 came to it, and made anew after a step in which other parameters had one. What roundings of
    the wire have left of a bucket is forgotten with its plan.
    """

    def __init__(self, communicator: Communicator, parameters: Sequence[Tensor]) -> None:
        self.communicator, self.parameters = communicator, parameters
        self._places = {id(parameter): k for k, parameter in enumerate(parameters)}
        self._take_up([])

    def _take_up(self, positions: Iterable[int]) -> None:
        """Plan a step of these parameters."""
        self._plan = list(self._buckets(positions))
        self._bucket_of = {k: number for number, (bucket, _) in enumerate(self._plan) for k in bucket}
        self._anew()

    def _anew(self) -> None:
        """Nothing of the plan is done yet."""
        self._begun: list[Begun] = []
        self._order: list[int] = []  # in which gradients became whole
        self._wanting = [len(bucket) for bucket, _ in self._plan]

    @property
    def begun(self) -> bool:
        """Whether the other ranks must begin something, lest this one wait for it forever."""
        return bool(self._begun)

    def whole(self, parameter: Tensor) -> None:
        """Nothing more will be added to its gradient in this step."""
        k = self._places.get(id(parameter))
        if k is None:
            return
        self._order.append(k)
        if k in self._bucket_of:
            self._wanting[self._bucket_of[k]] -= 1
            while len(self._begun) < len(self._plan) and not self._wanting[len(self._begun)]:
                self._begin(self._plan[len(self._begun)])

    def finish(self, held: Sequence[bool]) -> list[tuple[Tensor, Array]]:
        """The sums of the parameters that have a gradient anywhere, as ``held`` says in all ranks."""
        wanted = [k for k, anywhere in enumerate(held) if anywhere]
        for bucket in self._plan[len(self._begun) :]:
            self._begin(bucket)
        for bucket in self._buckets(k for k in wanted if k not in self._bucket_of):
            self._begin(bucket)
        sums = self._waited()
        if set(wanted) == self._bucket_of.keys():
            self._anew()
        else:
            first = [k for k in self.communicator.broadcast(self._order) if held[k]]
            self._take_up(dict.fromkeys([*first, *wanted]))
        return [(self.parameters[k], sums[k]) for k in wanted]

    def drop(self) -> None:
        """End what any rank has begun, where there is to be no step."""
        for bucket in self._plan[len(self._begun) :]:
            self._begin(bucket)
        self._waited()
        self._anew()

    def _begin(self, bucket: Bucket) -> None:
        positions, begin = bucket
        joined = Joined([self._gradient(k) for k in positions])
        self._begun.append((positions, joined, begin(joined.array)))

    def _gradient(self, k: int) -> Array:
        data, gradient = self.parameters[k].data, self.parameters[k].grad
        return zeros_beside(data, data.shape) if gradient is None else gradient.data

    def _waited(self) -> dict[int, Array]:
        """What was begun, by the positions of parameters."""
        sums: dict[int, Array] = {}
        for positions, joined, wait in self._begun:
            sums.update(zip(positions, joined.apart(wait(), {}), strict=True))
        return sums

    def _buckets(self, positions: Iterable[int]) -> Iterator[Bucket]:
        """Parameters that can be joined, of so many numbers together or one large one."""
        for bucket in self._joinable(positions):
            dtype = dtype_name(self.parameters[bucket[0]].data)
            narrow = self.communicator.wire == "bfloat16" and dtype == "float32"
            yield bucket, Narrow(self.communicator).begin if narrow else self.communicator.begin_sum

    def _joinable(self, positions: Iterable[int]) -> Iterator[list[int]]:
        kinds: dict[object, list[int]] = {}
        for k in positions:
            data = self.parameters[k].data
            bucket = kinds.setdefault(kind_of(data), [])
            if bucket and sum(self.parameters[j].size for j in bucket) + data.size > BUCKET:
                yield [*bucket]
                bucket.clear()
            bucket.append(k)
        yield from kinds.values()
