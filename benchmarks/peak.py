"""How many multiply-adds a second this machine can do: the register tile on operands that stay in the first cache."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from xprnn.kernels.cpu.compiling import kernel
from xprnn.kernels.cpu.host import TILE
from xprnn.kernels.cpu.intrinsics import address
from xprnn.kernels.cpu.product import multiply

WEIGHTS, OPERATIONS = 1 << 14, 1e9
"""Bytes of the packed weights, half of a first cache, and operations of a thread in a round: enough that what begins a
tile, or a round, does not count.
"""


@kernel
def _spin(a: Any, w: Any, c: Any, repeats: Any) -> None:
    rows, k = a.shape
    for _ in range(repeats):
        multiply(address(a, 0), 1, 0, rows, k, address(w, 0), k, c.shape[1], address(c, 0), 0, c.shape[1])


def peak(threads: int, rounds: int = 7) -> float:
    """Floating-point operations a second in float32, all threads together; the best of a few rounds."""
    columns = TILE.columns(4)
    depth = WEIGHTS // (4 * columns)
    places = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []

    def work(number: int) -> None:
        if places:  # else Linux leaves two threads that woke on one processor there for a while
            os.sched_setaffinity(0, {places[number % len(places)]})
        shapes = (TILE.rows, depth), (columns, depth), (TILE.rows, columns)
        _spin(*[np.zeros(shape, "float32") for shape in shapes], repeats)

    once = 2.0 * TILE.rows * depth * columns
    repeats = round(OPERATIONS / once)
    operations = once * repeats * threads
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
        best = np.inf
        for _ in range(rounds):
            start = time.perf_counter()
            list(pool.map(work, range(threads)))
            best = min(best, time.perf_counter() - start)
    return operations / best
