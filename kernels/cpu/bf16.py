"""Products of bfloat16 with sums of float32: the other operand, rounded beside the weights.

Compiled code knows by the type of packed weights whether they are rounded. Where they are not, what stands here is
nothing, and rows are multiplied where they lie. Where they are, rows are rounded into ``space`` first: to pairs of 16
bits where the host has an instruction for these, and elsewhere to float32 with the same values, so that results agree
but for the order of sums.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from .compiling import kernel
from .host import BF16_DOT
from .intrinsics import offset
from .product import PAIRED

LOWER = np.uint16 if BF16_DOT else np.float32
"""What rounded rows are kept as."""


def _nearest(builder: Any, number: Any) -> Any:
    """The bits of the bfloat16 that is nearest to a float32, ties to even, in a word; a NaN stays one."""
    word = ir.IntType(32)
    bits, half = builder.bitcast(number, word), ir.Constant(word, 16)
    odd = builder.and_(builder.lshr(bits, half), ir.Constant(word, 1))
    rounded = builder.lshr(builder.add(bits, builder.add(odd, ir.Constant(word, 0x7FFF))), half)
    quiet = builder.or_(builder.lshr(bits, half), ir.Constant(word, 0x40))
    return builder.select(builder.fcmp_unordered("uno", number, number), quiet, rounded)


@intrinsic
def bfloat16_bits(typingctx: Any, number: Any) -> Any:
    """The 16 bits of the bfloat16 that is nearest to a float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.trunc(_nearest(builder, args[0]), ir.IntType(16))

    return types.uint16(types.float32), codegen


@intrinsic
def bfloat16_pair(typingctx: Any, first: Any, second: Any) -> Any:
    """Those of two numbers, beside each other in the place of one float32: to be moved, not to be reckoned with."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        low, high = (_nearest(builder, number) for number in args)
        return builder.bitcast(builder.or_(builder.shl(high, ir.Constant(high.type, 16)), low), ir.FloatType())

    return types.float32(types.float32, types.float32), codegen


@intrinsic
def from_bfloat16_bits(typingctx: Any, bits: Any) -> Any:
    """The float32 of a bfloat16."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(32)
        return builder.bitcast(builder.shl(builder.zext(args[0], word), ir.Constant(word, 16)), ir.FloatType())

    return types.float32(types.uint16), codegen


def lowered(w, exact, rounded):
    """One or the other number, by whether weights at an address are exact or rounded to bfloat16."""
    raise NotImplementedError


@overload(lowered)
def _lowered(w, exact, rounded):
    if w.dtype == types.int16:
        return lambda w, exact, rounded: rounded
    return lambda w, exact, rounded: exact


def operand(a, steps, step, rows, row, k, space, w):
    """Rows (S, R, K) of A as a product with W takes them: themselves, or rounded to bfloat16 in ``space``.

    Steps and rows are ``step`` and ``row`` elements apart; in ``space`` they are as close as ``deep(w, k)`` allows.
    """
    raise NotImplementedError


@overload(operand)
def _operand(a, steps, step, rows, row, k, space, w):
    if w.dtype != types.int16:
        return lambda a, steps, step, rows, row, k, space, w: a

    def rounded(a, steps, step, rows, row, k, space, w):
        for s in range(steps):
            for r in range(rows):
                round_row(offset(a, s * step + r * row), k, offset(space, (s * rows + r) * deep(w, k)), deep(w, k))
        return space

    return rounded


@kernel
def round_row(source, k, target, wide):
    """A row of float32 rounded to bfloat16, and zeros behind it."""
    for j in range(k):
        target[j] = as_lower(source[j], target)
    for j in range(k, wide):
        target[j] = 0


def as_lower(value, target):
    """A number rounded to bfloat16: its bits, or as a float32 where an address points to such."""
    raise NotImplementedError


@overload(as_lower)
def _as_lower(value, target):
    if target.dtype == types.uint16:
        return lambda value, target: bfloat16_bits(value)
    return lambda value, target: from_bfloat16_bits(bfloat16_bits(value))


def deep(w, k):
    """How many rows weights of K have at an address: as :meth:`Storage.depth`."""
    raise NotImplementedError


@overload(deep)
def _deep(w, k):
    group = PAIRED.group if w.dtype == types.int16 else 1
    if group == 1:
        return lambda w, k: k
    return lambda w, k: (k + group - 1) // group * group


def space_for(w, count):
    """Room for so many numbers of rounded rows; none where weights in an array are exact."""
    raise NotImplementedError


@overload(space_for)
def _space_for(w, count):
    if w.dtype == types.int16:
        return lambda w, count: np.empty(count, LOWER)
    return lambda w, count: np.empty(0, w.dtype)
