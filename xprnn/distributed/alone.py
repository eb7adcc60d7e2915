"""A rank that has nobody to talk to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xprnn.backend import Array


class Alone:
    """The communicator of one process: what it gives is what it gets."""

    rank, size, wire = 0, 1, "float32"

    def sum(self, array: Array) -> Array:
        """The array."""
        return array

    def begin_sum(self, array: Array) -> Callable[[], Array]:
        """What gives the array."""
        return lambda: array

    def begin_swap(self, array: Array) -> Callable[[], Array]:
        """The same."""
        return lambda: array

    def broadcast(self, value: Any) -> Any:
        """The value."""
        return value

    def gather(self, value: Any) -> list[Any]:
        """The value, in a list."""
        return [value]

    def abort(self, error: BaseException) -> None:
        """Nothing: the error goes its way."""
