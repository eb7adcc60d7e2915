"""Pieces of LLVM that Numba has no words for: addresses, bit patterns, and a block of a product kept in registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .host import TILE


@intrinsic
def address(typingctx: Any, array: Any, index: Any) -> Any:
    """Where element ``index`` of a contiguous array lies, counted over all axes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.gep(data, [args[1]])

    return types.CPointer(array.dtype)(array, types.intp), codegen


@intrinsic
def offset(typingctx: Any, pointer: Any, elements: Any) -> Any:
    """An address some elements further on."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.intp), codegen


@intrinsic
def float_bits(typingctx: Any, x: Any) -> Any:
    """The bit pattern of a float64 as an int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def bits_float(typingctx: Any, bits: Any) -> Any:
    """The float64 of a bit pattern."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


def make_tile(rows: int, panels: int) -> Any:
    """An intrinsic that adds a block of a product: C[rows, panels * columns] += A[rows, K] W.

    W is packed in panels: K rows of ``TILE.columns`` neighbours, one panel after another (product.py). The accumulators
    stay in registers over all K steps; a step loads one row of each panel and one value of each row of A. A[r, k] lies
    ``r * row + k * step`` elements from its start, so A may be a transposed array.
    """

    @intrinsic
    def tile(typingctx: Any, a: Any, row: Any, step: Any, w: Any, k: Any, c: Any, ldc: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            a_data, row_value, step_value, w_data, k_value, c_data, ldc_value = args
            element = context.get_data_type(signature.args[0].dtype)
            size = 4 if isinstance(element, ir.FloatType) else 8
            lanes, columns, width = TILE.lanes(size), TILE.columns(size), panels * TILE.vectors
            vector, i32, i64 = ir.VectorType(element, lanes), ir.IntType(32), ir.IntType(64)
            # fmuladd and not fma: where there is no such instruction, it is a product and a sum and not a library call.
            kind = ir.FunctionType(vector, [vector] * 3)
            fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{lanes}f{8 * size}")

            def vectors_at(base: Any, number: int) -> Any:
                return builder.bitcast(builder.gep(base, [ir.Constant(i64, number * lanes)]), vector.as_pointer())

            def times(value: Any, number: int) -> Any:
                return builder.mul(value, ir.Constant(i64, number))

            starts = [builder.gep(w_data, [times(k_value, p * columns)]) for p in range(panels)]
            c_rows = [builder.gep(c_data, [times(ldc_value, r)]) for r in range(rows)]
            block = [[cgutils.alloca_once(builder, vector) for _ in range(width)] for _ in range(rows)]
            for r in range(rows):
                for v in range(width):
                    builder.store(builder.load(vectors_at(c_rows[r], v), align=size), block[r][v])
            with cgutils.for_range(builder, k_value, intp=i64) as loop:
                here = times(loop.index, columns)
                weights = [
                    builder.load(vectors_at(builder.gep(start, [here]), v), align=size)
                    for start in starts
                    for v in range(TILE.vectors)
                ]
                undefined = ir.Constant(vector, ir.Undefined)
                everywhere = ir.Constant(ir.VectorType(i32, lanes), [0] * lanes)
                column = builder.mul(step_value, loop.index)
                for r in range(rows):
                    value = builder.load(builder.gep(a_data, [builder.add(times(row_value, r), column)]))
                    one = builder.insert_element(undefined, value, ir.Constant(i32, 0))
                    broadcast = builder.shuffle_vector(one, undefined, everywhere)
                    for v in range(width):
                        builder.store(
                            builder.call(fma, [broadcast, weights[v], builder.load(block[r][v])]), block[r][v]
                        )
            for r in range(rows):
                for v in range(width):
                    builder.store(builder.load(block[r][v]), vectors_at(c_rows[r], v), align=size)
            return context.get_dummy_value()

        return types.void(a, types.intp, types.intp, w, types.intp, c, types.intp), codegen

    return tile
