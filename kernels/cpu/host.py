"""What the host's vector units are, and the register tile that suits them."""

from __future__ import annotations

from typing import NamedTuple

from numba.core import config
from numba.core.codegen import get_host_cpu_features

IN_FLIGHT = 8  # accumulators that hide what a multiply-add takes: four cycles, of which each begins two


class Tile(NamedTuple):
    """A block of accumulators: so many rows, so many vectors of so many bytes in each."""

    rows: int
    vectors: int
    vector_bytes: int

    def lanes(self, itemsize: int) -> int:
        """Elements in a vector."""
        return self.vector_bytes // itemsize

    def columns(self, itemsize: int) -> int:
        """Elements in a row of the block: the width of a panel of packed weights."""
        return self.vectors * self.lanes(itemsize)


def features() -> str:
    """The features Numba compiles for: NUMBA_CPU_FEATURES where it is set, else the host's."""
    return config.CPU_FEATURES if config.CPU_FEATURES is not None else get_host_cpu_features()


def best_tile(have: str) -> Tile:
    """The tile for a list of CPU features.

    All accumulators, one row of weights and one broadcast value must fit the registers: 32 of 64 bytes with AVX-512,
    16 of 32 bytes with AVX2, 32 of 16 bytes with NEON, 16 of 16 bytes otherwise.
    """
    if "+avx512f" in have:
        return Tile(6, 4, 64)
    if "+avx2" in have and "+fma" in have:
        return Tile(6, 2, 32)
    if "+neon" in have or "+asimd" in have:
        return Tile(6, 4, 16)
    return Tile(6, 2, 16)


def bf16_dot(have: str) -> str:
    """LLVM's name of what multiplies pairs of bfloat16 and adds them up in float32; none where a host has it not."""
    return "llvm.x86.avx512bf16.dpbf16ps.512" if "+avx512f" in have and "+avx512bf16" in have else ""


TILE = best_tile(features())
BF16_DOT = bf16_dot(features())
