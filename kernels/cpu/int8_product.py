"""Products of numbers of 8 bits: rows of codes times packed codes, added up as integers of 32 bits.

The sums are exact, so that every host, and array code, has the same integers, and without fused multiply-adds the same
bits of all that follows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiling import plain_kernel
from .int8_codes import CODE, GROUP, LANES, UNIT, VECTORS, Unit, code_rows
from .intrinsics import address, offset
from .rows import copy

i8, i16, i32, i64, f32 = (*(ir.IntType(bits) for bits in (8, 16, 32, 64)), ir.FloatType())


def make_tile(unit: Unit, rows: int, widths: tuple[int, ...]) -> Any:
    """An intrinsic that adds a block of a product, so many rows high and some vectors of columns wide, to C.

    ``groups`` are those of a row of codes; the other arguments are addresses, of the block's beginning.
    """

    @intrinsic
    def tile(
        typingctx: Any, codes: Any, scales: Any, w: Any, starts: Any, w_scales: Any, groups: Any, c: Any, ldc: Any,
        vectors: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            for width in widths:
                with builder.if_then(builder.icmp_signed("==", args[8], ir.Constant(i64, width))):
                    _emit_block(unit, builder, rows, width, *args[:8])
            return context.get_dummy_value()

        given = codes, scales, w, starts, w_scales, types.intp, c, types.intp, types.intp
        return types.void(*given), codegen

    return tile


def _emit_block(
    unit: Unit, builder: Any, rows: int, width: int, codes: Any, scales: Any, w: Any, starts: Any, w_scales: Any,
    groups: Any, c: Any, ldc: Any,
) -> None:  # fmt: skip
    """The instructions of a block."""
    lanes = unit.lanes
    whole, single = ir.VectorType(i32, lanes), ir.VectorType(f32, lanes)

    def at(base: Any, elements: Any, kind: Any) -> Any:
        place = builder.gep(base, [elements if isinstance(elements, ir.Value) else ir.Constant(i64, elements)])
        return builder.bitcast(place, kind.as_pointer())

    def read(base: Any, elements: Any, kind: Any, align: int = 4) -> Any:
        return builder.load(at(base, elements, kind), align=align)

    def everywhere(number: Any, kind: Any) -> Any:
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(i32, 0))
        return builder.shuffle_vector(one, one, ir.Constant(whole, [0] * lanes))

    def times(value: Any, number: int) -> Any:
        return builder.mul(value, ir.Constant(i64, number))

    block = [[cgutils.alloca_once(builder, whole) for _ in range(width)] for _ in range(rows)]
    for v in range(width):
        start = read(starts, v * lanes, whole)
        for r in range(rows):
            builder.store(start, block[r][v])
    sizes = [min(VECTORS, width - first) for first in range(0, width, VECTORS)]  # vectors of each panel
    firsts = [builder.gep(w, [times(groups, p * VECTORS * lanes * unit.group)]) for p in range(len(sizes))]
    with cgutils.for_range(builder, groups, intp=i64) as loop:
        weights = [
            _weights(unit, builder, at, first, builder.add(times(loop.index, vectors * lanes * unit.group), place))
            for first, vectors in zip(firsts, sizes, strict=True)
            for place in (ir.Constant(i64, v * lanes * unit.group) for v in range(vectors))
        ]
        for r in range(rows):
            row = builder.add(times(groups, r), loop.index)
            number = everywhere(read(codes, times(row, unit.group), i32, align=1), whole)
            for v in range(width):
                builder.store(_dot(unit, builder, builder.load(block[r][v]), number, weights[v]), block[r][v])
    for v in range(width):
        of_column = read(w_scales, v * lanes, single)
        for r in range(rows):
            scale = builder.fmul(
                everywhere(builder.load(builder.gep(scales, [ir.Constant(i64, r)])), single), of_column
            )
            product = builder.fmul(builder.sitofp(builder.load(block[r][v]), single), scale)
            place = at(builder.gep(c, [times(ldc, r)]), v * lanes, single)
            builder.store(builder.fadd(builder.load(place, align=4), product), place, align=4)


def _weights(unit: Unit, builder: Any, at: Any, base: Any, elements: Any) -> Any:
    """A vector of weights, as the unit takes them."""
    lanes = unit.lanes
    if unit.offset:
        return builder.load(at(base, elements, ir.VectorType(i32, lanes)), align=1)
    narrow = builder.load(at(base, elements, ir.VectorType(i8, 2 * lanes)), align=1)
    return builder.sext(narrow, ir.VectorType(i16, 2 * lanes))


def _dot(unit: Unit, builder: Any, total: Any, codes: Any, weights: Any) -> Any:
    """total + codes . weights in each lane."""
    lanes = unit.lanes
    whole, halves = ir.VectorType(i32, lanes), ir.VectorType(i16, 2 * lanes)
    module = builder.module
    if unit.offset:
        dot = cgutils.get_or_insert_function(module, ir.FunctionType(whole, [whole] * 3), unit.instruction)
        return builder.call(dot, [total, codes, weights])
    codes = builder.bitcast(codes, halves)
    if unit.instruction:
        pairs = cgutils.get_or_insert_function(module, ir.FunctionType(whole, [halves] * 2), unit.instruction)
        return builder.add(total, builder.call(pairs, [codes, weights]))
    wide = ir.VectorType(i32, 2 * lanes)
    products = builder.mul(builder.sext(codes, wide), builder.sext(weights, wide))
    for first in range(2):
        mask = ir.Constant(whole, [first + 2 * lane for lane in range(lanes)])
        total = builder.add(total, builder.shuffle_vector(products, products, mask))
    return total


_narrow = tuple(range(1, VECTORS + 1))
_t4, _t2 = (make_tile(UNIT, rows, _narrow) for rows in (4, 2))
_t1 = make_tile(UNIT, 1, (*_narrow, 2 * VECTORS))  # of one row more columns, to hide the latency of an instruction


@plain_kernel
def multiply(codes, scales, rows, groups, w, starts, w_scales, columns, c, ldc):
    """C += A W, for rows of codes with their scales; addresses, and numbers of elements."""
    left = columns // LANES
    while left > 0:
        vectors = min(left, VECTORS)
        if rows == 1:
            vectors = 2 * VECTORS if left >= 2 * VECTORS else vectors
            _t1(codes, scales, w, starts, w_scales, groups, c, ldc, vectors)
        else:
            row = 0
            while row < rows:
                a, s, target = offset(codes, row * groups * GROUP), offset(scales, row), offset(c, row * ldc)
                if rows - row >= 4:
                    _t4(a, s, w, starts, w_scales, groups, target, ldc, vectors)
                    row += 4
                elif rows - row >= 2:
                    _t2(a, s, w, starts, w_scales, groups, target, ldc, vectors)
                    row += 2
                else:
                    _t1(a, s, w, starts, w_scales, groups, target, ldc, vectors)
                    row += 1
        done = vectors * LANES
        w, starts, w_scales, c = (
            offset(w, done * groups * GROUP), offset(starts, done), offset(w_scales, done), offset(c, done),
        )  # fmt: skip
        left -= vectors


@plain_kernel
def linear_rows(x, w, starts, w_scales, bias, y, first, last):
    """Rows first to last of Y (R, N) = X W^T + b, for X (R, K)."""
    size, columns, count = x.shape[1], starts.size, y.shape[1]
    groups = (size + GROUP - 1) // GROUP
    codes, scales, c = np.empty(4 * groups * GROUP, CODE), np.empty(4, np.float32), np.empty(4 * columns, np.float32)
    for low in range(first, last, 4):
        rows = min(4, last - low)
        code_rows(address(x, low * size), size, size, rows, address(codes, 0), groups * GROUP, address(scales, 0))
        for k in range(rows):
            copy(address(c, k * columns), address(bias, 0), columns)
        multiply(
            address(codes, 0), address(scales, 0), rows, groups, address(w, 0), address(starts, 0),
            address(w_scales, 0), columns, address(c, 0), columns,
        )  # fmt: skip
        for k in range(rows):
            copy(address(y, (low + k) * count), address(c, k * columns), count)
