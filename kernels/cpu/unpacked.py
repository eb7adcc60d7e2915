"""Products of few rows with weights where they lie: to pack weights is to read them, write them, and read them again.

C += A W^T, for W (N, K) as parameters have it. Square blocks of W are turned in registers, so that sums are those of
product.py, number by number: a row has the same bits in any batch.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiling import shared_kernel
from .host import TILE
from .intrinsics import broadcast, emit_fma, lanes, offset, turned

FEW = 4  # rows; for more it pays to pack
# K up to which rows of two blocks are 32 KiB: of more, caches may have no room for all of these at once.
NEAR = (1 << 15) // (2 * TILE.vector_bytes)


def _make_tile(rows: int, blocks: int = 1, single: bool = False) -> Any:
    """An intrinsic that adds the products of so many rows of A with some rows of W.

    These are so many times as many as a vector has elements, or a ``single`` one.
    """

    @intrinsic
    def tile(typingctx: Any, a: Any, row: Any, w: Any, k: Any, c: Any, ldc: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            number = signature.args[4].dtype
            lane = 1 if single else TILE.lanes(number.bitwidth // 8)
            _emit(builder, ir.VectorType(context.get_data_type(number), lane), rows, blocks, *args)
            return context.get_dummy_value()

        return types.void(a, types.intp, w, types.intp, c, types.intp), codegen

    return tile


def _emit(
    builder: Any, vector: Any, rows: int, blocks: int, a: Any, row: Any, w: Any, k: Any, c: Any, ldc: Any
) -> None:
    """The instructions of such a tile: K in square blocks, and what is left of it one by one."""
    lane, size = vector.count, 4 if isinstance(vector.element, ir.FloatType) else 8
    i32, i64 = ir.IntType(32), ir.IntType(64)

    def place(base: Any, step: Any, number: int, more: Any) -> Any:
        return builder.gep(base, [builder.add(builder.mul(step, ir.Constant(i64, number)), more)])

    def whole(start: Any) -> Any:
        return builder.bitcast(start, vector.as_pointer())

    def add(totals: list[Any], at: Any, columns: list[Any]) -> None:
        """The products of columns of W^T with what stands from ``at`` on in each row of A."""
        for r, kept in enumerate(totals):
            total = builder.load(kept)
            for number, column in enumerate(columns):
                value = builder.load(place(a, row, r, builder.add(at, ir.Constant(i64, number))), align=size)
                total = emit_fma(builder, broadcast(builder, value, vector), column, total)
            builder.store(total, kept)

    def finish_reading() -> None:
        """Keep LLVM from reading the next block before this one is done, for which there are not the registers.

        The processor does, which is why there is more than one: in a block each product waits for the one before.
        """
        builder.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], True)

    zero = ir.Constant(vector, [0.0] * lane)
    sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(rows)] for _ in range(blocks)]
    steps = builder.udiv(k, ir.Constant(i64, lane))
    with cgutils.for_range(builder, steps, intp=i64) as loop:
        at = builder.mul(loop.index, ir.Constant(i64, lane))
        for number, totals in enumerate(sums):
            starts = [whole(place(w, k, number * lane + j, at)) for j in range(lane)]
            add(totals, at, turned(builder, [builder.load(start, align=size) for start in starts]))
            finish_reading()
    done = builder.mul(steps, ir.Constant(i64, lane))
    with cgutils.for_range(builder, builder.sub(k, done), intp=i64) as loop:
        at = builder.add(done, loop.index)
        for number, totals in enumerate(sums):
            column = ir.Constant(vector, ir.Undefined)
            for j in range(lane):
                value = builder.load(place(w, k, number * lane + j, at), align=size)
                column = builder.insert_element(column, value, ir.Constant(i32, j))
            add(totals, at, [column])
    for number, totals in enumerate(sums):
        for r, kept in enumerate(totals):
            to = whole(place(c, ldc, r, ir.Constant(i64, number * lane)))
            builder.store(builder.fadd(builder.load(to, align=size), builder.load(kept)), to, align=size)


_t1, _t2, _t3, _t4 = map(_make_tile, range(1, FEW + 1))
_two_blocks, _one_number = _make_tile(1, blocks=2), _make_tile(1, single=True)


@shared_kernel
def multiply_unpacked(a, rows, lda, w, k, columns, c, ldc):
    """C += A W^T for at most FEW rows of A, or none, ``lda`` apart, and W (columns, K); all are addresses."""
    lane, column = lanes(c), 0
    while columns - column >= lane:
        some, to, taken = offset(w, column * k), offset(c, column), lane
        if rows == 1 and k <= NEAR and columns - column >= 2 * lane:
            _two_blocks(a, lda, some, k, to, ldc)
            taken = 2 * lane
        elif rows == 1:
            _t1(a, lda, some, k, to, ldc)
        elif rows == 2:
            _t2(a, lda, some, k, to, ldc)
        elif rows == 3:
            _t3(a, lda, some, k, to, ldc)
        elif rows == 4:
            _t4(a, lda, some, k, to, ldc)
        column += taken
    for row in range(rows):
        for rest in range(column, columns):
            _one_number(offset(a, row * lda), lda, offset(w, rest * k), k, offset(c, row * ldc + rest), ldc)
