"""Parts of many sequences that are predicted in one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

STEPS_AT_ONCE = 2**15  # padding too: a long sequence among short ones must not cost gigabytes


def portions(lengths: Sequence[int]) -> Iterator[list[int]]:
    """The numbers of sequences, the longest first, in parts of STEPS_AT_ONCE or of one sequence."""
    order, start = sorted(range(len(lengths)), key=lambda k: -lengths[k]), 0
    while start < len(order):
        stop = start + max(1, STEPS_AT_ONCE // lengths[order[start]])
        yield order[start:stop]
        start = stop
