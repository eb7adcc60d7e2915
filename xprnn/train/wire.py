"""Sums whose numbers travel as bfloat16, half the bytes of float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xprnn.backend import Array, backend_of, dtype_name, to_numpy
from xprnn.train.communicator import Communicator

Host = np.ndarray[Any, Any]

WIRES = ("float32", "bfloat16")

QUIETLY = np.errstate(over="ignore", invalid="ignore")
"""For numbers that are not finite, whose step is refused anyway."""


class Narrow:
    """The sum of one bucket, step by step, with error feedback (Seide et al. 2014, "1-bit stochastic gradient descent
    and its application to data-parallel distributed training of speech DNNs").

    Each rank rounds its float32 numbers to bfloat16 and sends to each other one its share of them; that one adds up in
    float32, in the order of ranks, rounds the sums, and sends them to all. What both roundings take away is kept, and
    added before the next one, so that over many steps nothing is lost but the rest of the last.
    """

    def __init__(self, communicator: Communicator) -> None:
        self.communicator, self.size = communicator, communicator.size
        self._own: Host | float = 0.0  # what was not sent of this rank's numbers, and of the sums of its share
        self._sums: Host | float = 0.0

    @QUIETLY
    def begin(self, array: Array) -> Callable[[], Array]:
        """As ``begin_sum`` of a communicator, of float32 numbers."""
        numbers = to_numpy(array).reshape(-1)
        shares = np.zeros((self.size, -(-numbers.size // self.size)), np.float32)
        shares.reshape(-1)[: numbers.size] = numbers
        words, self._own = _rounded(shares + self._own)
        arrived = self.communicator.begin_swap(words)

        @QUIETLY
        def wait() -> Array:
            first, *others = _widened(arrived())
            for other in others:
                first += other
            words, self._sums = _rounded(first + self._sums)
            whole = _widened(self.communicator.begin_swap(np.stack([words] * self.size))())
            found = whole.reshape(-1)[: numbers.size].reshape(array.shape)
            return backend_of(array).asarray(found, dtype_name(array))

        return wait


def _rounded(numbers: Host) -> tuple[Host, Host]:
    """The 16 bits of the nearest bfloat16, ties to even, and what was rounded away."""
    bits = numbers.view(np.uint32)
    words = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
    words = np.where(np.isnan(numbers), (bits >> 16) | 0x40, words).astype(np.uint16)  # a NaN stays one
    return words, numbers - _widened(words)


def _widened(words: Host) -> Host:
    """The float32 of bfloat16s."""
    return (words.astype(np.uint32) << 16).view(np.float32)
