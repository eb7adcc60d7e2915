"""Numbers of 8 bits: what a row and a weight become, and the instruction that multiplies them.

A row x of K numbers becomes codes q = round(127 x / m), m = max|x|, and its scale m / 127; a row of a weight likewise,
once for all. Then

    (W x)_n  =  scale_x scale_n sum_k q_k W_nk

Instructions take some neighbours of K at a time, ``GROUP``: packing lays W out in panels as product.py does, of groups
in the place of rows, all numbers of a group beside each other in one lane of 32 bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiling import plain_kernel
from .host import TILE, features
from .intrinsics import offset
from .product import padded

Array = np.ndarray[Any, Any]
VECTORS = TILE.vectors  # of a whole panel
LARGEST, LEAST = 127, 1e-30  # of a code; of max|x|, below which a row counts as zeros, since 127 / m must be finite
ROUND = 1.5 * 2.0**23  # adding it to a float32 leaves the nearest integer in its lowest bits
i8, i16, i32, f32 = (*(ir.IntType(bits) for bits in (8, 16, 32)), ir.FloatType())


class Unit(NamedTuple):
    """What multiplies and adds up: an instruction by LLVM's name, the bytes of its vectors, and how it has codes.

    With ``offset`` 128 those of x are unsigned numbers of 8 bits, four to a lane, else signed ones of 16 bits, two to a
    lane.
    """

    instruction: str
    vector_bytes: int
    offset: int

    @property
    def group(self) -> int:
        """Numbers of x in a lane of 32 bits."""
        return 4 if self.offset else 2

    @property
    def code(self) -> type[np.generic]:
        """The type of the codes of x."""
        return np.uint8 if self.offset else np.int16

    @property
    def lanes(self) -> int:
        """Columns in a vector."""
        return self.vector_bytes // 4

    def width(self, size: int) -> int:
        """How many codes a row of so many numbers has, with the zeros that fill its last group."""
        return -(-size // self.group) * self.group


def units(have: str) -> list[Unit]:
    """The units of a host by its features, the fastest first. The last one is plain instructions of LLVM."""
    found = []
    wide, narrow = "+avx512f" in have, "+avx2" in have
    if wide and "+avx512vnni" in have:
        found.append(Unit("llvm.x86.avx512.vpdpbusd.512", 64, 128))
    if "+avxvnni" in have or ("+avx512vnni" in have and "+avx512vl" in have):
        found.append(Unit("llvm.x86.avx512.vpdpbusd.256", 32, 128))
    if wide and "+avx512bw" in have:
        found.append(Unit("llvm.x86.avx512.pmaddw.d.512", 64, 0))
    if narrow:
        found.append(Unit("llvm.x86.avx2.pmadd.wd", 32, 0))
    return [*found, Unit("", 16, 0)]


UNIT = units(features())[0]
GROUP, CODE, LANES = UNIT.group, UNIT.code, UNIT.lanes


class Packed(NamedTuple):
    """A weight (N, K) for these products: codes in panels, the sums that columns start from, and their scales."""

    codes: Array
    starts: Array
    scales: Array


def pack(codes: Array, scales: Array, unit: Unit = UNIT) -> Packed:
    """Codes (N, K) and scales (N,) of the rows of a weight; zeros fill up the columns of the last vector."""
    count, size = codes.shape
    columns, width = padded(count, 4), unit.width(size)
    whole = np.zeros((columns, width), np.int8)
    whole[:count, :size] = codes
    groups = whole.reshape(columns, width // unit.group, unit.group).swapaxes(0, 1)  # (K/G, N, G)
    panel = VECTORS * unit.lanes
    panels = [groups[:, low : low + panel].reshape(-1) for low in range(0, columns, panel)]
    starts = np.zeros(columns, np.int32)
    starts[:count] = -unit.offset * codes.sum(axis=1, dtype=np.int32)
    wide = np.zeros(columns, np.float32)
    wide[:count] = scales
    return Packed(np.concatenate([*panels, np.zeros(0, np.int8)]), starts, wide)


@intrinsic
def _larger(typingctx: Any, most: Any, x: Any) -> Any:
    """The larger of some bits and those of |x|: for floats they are in the same order as the numbers, NaN above all."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.and_(builder.bitcast(args[1], i32), ir.Constant(i32, 0x7FFFFFFF))
        return builder.select(builder.icmp_signed(">", bits, args[0]), bits, args[0])

    return types.int32(types.int32, types.float32), codegen


@intrinsic
def _float_of(typingctx: Any, bits: Any) -> Any:
    """The float32 of a bit pattern."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], f32)

    return types.float32(types.int32), codegen


@intrinsic
def _code(typingctx: Any, number: Any, like: Any) -> Any:
    """The nearest integer, ties to even, as codes are stored where an address points to."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(builder.fadd(args[0], ir.Constant(f32, ROUND)), i32)
        if signature.args[1].dtype == types.uint8:
            return builder.xor(builder.trunc(bits, i8), ir.Constant(i8, -128))
        return builder.trunc(bits, i16)

    return like.dtype(types.float32, like), codegen


@plain_kernel
def _code_row(x, size, codes, width):
    """Write the codes of a row, and return its scale; NaN where x is not finite."""
    most = np.int32(0)
    for k in range(size):
        most = _larger(most, x[k])
    top = _float_of(most)
    inverse = np.float32(LARGEST) / top if top > np.float32(LEAST) else np.float32(0)
    for k in range(size):
        codes[k] = _code(x[k] * inverse, codes)
    for k in range(size, width):
        codes[k] = _code(np.float32(0), codes)
    if inverse == np.float32(0):
        return top * np.float32(0)  # NaN of what is not finite
    return top / np.float32(LARGEST)


@plain_kernel
def code_rows(x, apart, size, rows, codes, width, scales):
    """The codes of some rows, ``apart`` numbers from each other, one after the other, and their scales."""
    for row in range(rows):
        scales[row] = _code_row(offset(x, row * apart), size, offset(codes, row * width), width)
