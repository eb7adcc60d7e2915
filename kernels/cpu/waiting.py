"""Threads at work on one array, of which one waits for what others do."""

from __future__ import annotations

from .compiling import inlined_kernel
from .intrinsics import give_way, read_count

PATIENCE = 1000  # looks at a counter before another thread gets this core


@inlined_kernel
def wait_for(counter, count):
    """Until others have counted up to a number; what they wrote before is seen then."""
    looks = 0
    while read_count(counter) < count:
        looks += 1
        if looks > PATIENCE:
            give_way()
