"""What `fit` asks of whatever joins several processes; the rooms above have those that do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from xprnn.backend import Array


class Communicator(Protocol):
    """How the ranks of one run reach each other: all call the same methods in the same order.

    Attributes
    ----------
    rank, size
        The number of this one, from 0, and how many there are.
    wire
        How float32 gradients travel: "float32", or "bfloat16" with error feedback, half the bytes.
    """

    rank: int
    size: int
    wire: str

    def sum(self, array: Array) -> Array:
        """The sum of the ranks' arrays, of one shape and dtype, in all ranks the same bits.

        It comes in the library and on the device of the array, and may have been written into it.
        """

    def begin_sum(self, array: Array) -> Callable[[], Array]:
        """Begin what :meth:`sum` does, and return at once what waits for it.

        The array is left alone until then. All ranks begin the same sums in the same order; what else they call may
        come before in one and after in another.
        """

    def begin_swap(self, array: Array) -> Callable[[], Array]:
        """Begin to send row k of an array (size, n) of the host to rank k; what waits gives a row of each rank.

        It is in one order with begun sums. Needed where ``wire`` is "bfloat16" only.
        """

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0, a small object; what others give is not looked at."""

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, small objects, in order, in all of them."""

    def abort(self, error: BaseException) -> None:
        """End all ranks, since this one has failed and will not come to where they wait for it."""


NEEDED = ("rank", "size", "wire", "sum", "begin_sum", "broadcast", "gather", "abort")


def check_communicator(owner: str, communicator: Any) -> None:
    """Raise TypeError for what is neither a communicator nor None."""
    if communicator is not None and not all(hasattr(communicator, name) for name in NEEDED):
        raise TypeError(
            f"{owner}: communicator is a {type(communicator).__name__}; expected one of xprnn.distributed, as world()"
        )
