"""Pieces of LLVM that Numba has no words for: addresses, bit patterns, and a block of a product kept in registers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.types.misc import unliteral
from numba.extending import intrinsic

from ..kinds import MOST_PARTS
from .host import BF16_DOT, TILE, features


@intrinsic
def address(typingctx: Any, array: Any, index: Any) -> Any:
    """Where element ``index`` of a contiguous array lies, counted over all axes.

    The address does not keep the array: Numba frees one that a function has made after its last use by name, so that
    name must stand in the loop that works at the address, or be an argument of the function that does.
    """

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
def retyped(typingctx: Any, pointer: Any, kind: Any) -> Any:
    """The same address, of numbers of another type."""
    target = types.CPointer(kind.instance_type)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(target))

    return target(pointer, kind), codegen


# --- addresses of all parts of a state, as a tuple -------------------------------------------------------------------


@intrinsic
def addresses(typingctx: Any, arrays: Any, index: Any) -> Any:
    """Of each of some contiguous arrays of one type, the address of element ``index``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, count = signature.args[0].dtype, signature.args[0].count
        parts = [builder.extract_value(args[0], part) for part in range(count)]
        found = [builder.gep(context.make_array(array)(context, builder, a).data, [args[1]]) for a in parts]
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(types.CPointer(arrays.dtype.dtype), arrays.count)(arrays, types.intp), codegen


@intrinsic
def offsets(typingctx: Any, pointers: Any, elements: Any) -> Any:
    """Some addresses, each so many elements further on."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        parts = [builder.extract_value(args[0], part) for part in range(signature.args[0].count)]
        return context.make_tuple(builder, signature.return_type, [builder.gep(a, [args[1]]) for a in parts])

    return pointers(pointers, types.intp), codegen


@intrinsic
def offsets_apart(typingctx: Any, pointers: Any, elements: Any, others: Any) -> Any:
    """Some addresses: the first so many elements further on, and the others by another number."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        parts = [builder.extract_value(args[0], part) for part in range(signature.args[0].count)]
        found = [builder.gep(part, [args[2] if number else args[1]]) for number, part in enumerate(parts)]
        return context.make_tuple(builder, signature.return_type, found)

    return pointers(pointers, types.intp, types.intp), codegen


@intrinsic
def all_parts(typingctx: Any, pointers: Any, elements: Any) -> Any:
    """The addresses of all parts of any state, from those of its first and its second, which others follow.

    They are so many elements apart; what a state has not is of no use.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first, second = (builder.extract_value(args[0], part) for part in range(2))
        steps = [builder.mul(args[1], ir.Constant(args[1].type, part)) for part in range(MOST_PARTS - 1)]
        found = [first, *[builder.gep(second, [step]) for step in steps]]
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(pointers.dtype, MOST_PARTS)(pointers, types.intp), codegen


@intrinsic
def spread(typingctx: Any, pointer: Any, elements: Any) -> Any:
    """An address for each part of any state: the given one, and others so many elements apart."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        steps = [builder.mul(args[1], ir.Constant(args[1].type, part)) for part in range(MOST_PARTS)]
        return context.make_tuple(builder, signature.return_type, [builder.gep(args[0], [step]) for step in steps])

    return types.UniTuple(pointer, MOST_PARTS)(pointer, types.intp), codegen


@intrinsic
def lanes(typingctx: Any, pointer: Any) -> Any:
    """How many elements of what an address points to fill a vector."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(ir.IntType(64), TILE.lanes(signature.args[0].dtype.bitwidth // 8))

    return types.intp(pointer), codegen


def _copy_of(elements: Callable[[int], int]) -> Any:
    @intrinsic
    def copy(typingctx: Any, target: Any, source: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            align = signature.args[0].dtype.bitwidth // 8
            value = builder.load(vector_at(builder, args[1], 0, elements(align)), align=align)
            builder.store(value, vector_at(builder, args[0], 0, elements(align)), align=align)
            return context.get_dummy_value()

        return types.void(target, source), codegen

    return copy


copy_vector, copy_half, copy_tile = map(_copy_of, (TILE.lanes, lambda size: TILE.lanes(size) // 2, lambda _: TILE.rows))
"""As many elements as fill a vector, or half of one, or as a tile has rows, from one address to another."""


@intrinsic
def call_at(typingctx: Any, function: Any, arguments: Any) -> Any:
    """Call the kernel at an address, which returns nothing, with arguments of the types that it was compiled for."""
    given = tuple(unliteral(kind) for kind in arguments)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        each = enumerate(zip(signature.args[1], given, strict=True))
        values = [context.cast(builder, builder.extract_value(args[1], k), came, kind) for k, (came, kind) in each]
        called = context.call_conv.get_function_type(types.none, given)
        place = builder.inttoptr(args[0], called.as_pointer())
        unused = [cgutils.alloca_once(builder, kind.pointee) for kind in called.args[:2]]  # a result, and an exception
        builder.call(place, [*unused, *context.get_arg_packer(given).as_arguments(builder, values)])
        return context.get_dummy_value()

    return types.void(types.intp, arguments), codegen


JOB = types.intp, types.intp  # what a job is called with: where its arguments lie, and the number of a part


@intrinsic
def job_of(typingctx: Any, function: Any, arguments: Any) -> Any:
    """The address of code for :func:`call_job` that calls a kernel with arguments of the types of these, and a part."""
    signature = function.get_call_type(typingctx, (*arguments, types.intp), {})

    def codegen(context: Any, builder: Any, _: Any, args: Any) -> Any:
        kind = context.call_conv.get_function_type(types.none, JOB)
        job = ir.Function(builder.module, kind, builder.module.get_unique_name("job"))
        job.linkage = "internal"
        inner = ir.IRBuilder(job.append_basic_block())
        where, part = context.get_arg_packer(JOB).from_arguments(inner, job.args[2:])
        given = inner.load(inner.inttoptr(where, context.get_value_type(arguments).as_pointer()))
        call = context.get_function(function, signature)
        context.add_linking_libs(getattr(call, "libs", ()))
        call(inner, [*cgutils.unpack_tuple(inner, given), part])
        context.call_conv.return_value(inner, context.get_dummy_value())
        return builder.ptrtoint(job, ir.IntType(64))

    return types.intp(function, arguments), codegen


@intrinsic
def lying(typingctx: Any, arguments: Any) -> Any:
    """The address of a copy of a tuple, which lies there as long as the calling function runs."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(cgutils.alloca_once_value(builder, args[0]), ir.IntType(64))

    return types.intp(arguments), codegen


@intrinsic
def call_job(typingctx: Any, job: Any, arguments: Any, part: Any) -> Any:
    """Call what :func:`job_of` gave with what is :func:`lying` somewhere, and say whether it failed."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], context.call_conv.get_function_type(types.none, JOB).as_pointer())
        status, _ = context.call_conv.call_function(builder, place, types.none, JOB, args[1:])
        return status.is_error

    return types.boolean(types.intp, types.intp, types.intp), codegen


# --- threads at work on one array ------------------------------------------------------------------------------------


@intrinsic
def claim(typingctx: Any, flag: Any) -> Any:
    """Set a flag, an integer at an address, and say whether this thread was the first to do so."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        one = ir.Constant(args[0].type.pointee, 1)
        return builder.icmp_signed("==", builder.atomic_rmw("xchg", args[0], one, "acq_rel"), ir.Constant(one.type, 0))

    return types.boolean(flag), codegen


@intrinsic
def replace(typingctx: Any, counter: Any, seen: Any, number: Any) -> Any:
    """Set an integer at an address if it is still the one that was seen, and say whether it was."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.extract_value(builder.cmpxchg(*args, "acq_rel", "acquire"), 1)

    return types.boolean(counter, types.int64, types.int64), codegen


@intrinsic
def count_up(typingctx: Any, counter: Any) -> Any:
    """Add 1 to an integer at an address, after all that this thread has written."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.atomic_rmw("add", args[0], ir.Constant(args[0].type.pointee, 1), "acq_rel")
        return context.get_dummy_value()

    return types.void(counter), codegen


@intrinsic
def read_count(typingctx: Any, counter: Any) -> Any:
    """An integer at an address, and with it the sight of what was written before others counted it up."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(args[0], "acquire", 8)

    return types.int64(counter), codegen


@intrinsic
def publish(typingctx: Any, counter: Any, number: Any) -> Any:
    """Set an integer at an address, which this thread alone changes, after all that it has written."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[1], args[0], "release", 8)
        return context.get_dummy_value()

    return types.void(counter, types.int64), codegen


@intrinsic
def give_way(typingctx: Any) -> Any:
    """Let another thread have this core, if one wants it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
        builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(32), []), name), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def breathe(typingctx: Any) -> Any:
    """Say to the processor that this is a loop that waits, where there is an instruction for that."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if "+sse2" in features():
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), codegen


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


@intrinsic
def single_power(typingctx: Any, shifted: Any) -> Any:
    """The power of two of the integer in the lowest bits of a float32; here, since Numba's integers are wide."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(32)
        exponent = builder.add(builder.bitcast(args[0], word), ir.Constant(word, 127))
        return builder.bitcast(builder.shl(exponent, ir.Constant(word, 23)), ir.FloatType())

    return types.float32(types.float32), codegen


AT_ONCE = 4  # steps of K in the loop of a tile
LINE = 64  # bytes in a cache line


def make_tile(rows: int, widths: tuple[int, ...]) -> Any:
    """An intrinsic that adds a block of a product: C[rows, columns] += A[rows, K] W, some vectors of columns wide.

    W is packed in panels: K rows of ``TILE.columns`` neighbours, one panel after another, the last one maybe narrower
    (product.py). The accumulators stay in registers over all K steps; a step loads one row of each panel and one value
    of each row of A. A[r, k] lies ``r * row + k * step`` elements from its start, so A may be a transposed array.
    ``vectors`` must be one of the ``widths``: each is a loop of its own. That of a whole panel goes on to as many
    ``panels`` as are asked for.
    """

    @intrinsic
    def tile(
        typingctx: Any, a: Any, row: Any, step: Any, w: Any, k: Any, c: Any, ldc: Any, vectors: Any, panels: Any
    ) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            element = context.get_data_type(signature.args[5].dtype)
            a, row, step, w, k, c, ldc, vectors, panels = args
            for width in widths:
                with builder.if_then(builder.icmp_signed("==", vectors, ir.Constant(vectors.type, width))):
                    if width != TILE.vectors:
                        _emit_block(builder, element, rows, width, a, row, step, w, k, c, ldc)
                        continue
                    columns = ir.Constant(k.type, width * TILE.lanes(signature.args[5].dtype.bitwidth // 8))
                    with cgutils.for_range(builder, panels) as panel:
                        start = builder.mul(panel.index, columns)
                        here, to = builder.gep(w, [builder.mul(start, k)]), builder.gep(c, [start])
                        _emit_block(builder, element, rows, width, a, row, step, here, k, to, ldc)
            return context.get_dummy_value()

        return types.void(a, types.intp, types.intp, w, types.intp, c, types.intp, types.intp, types.intp), codegen

    return tile


def _emit_block(
    builder: Any, element: Any, rows: int, width: int, a: Any, row: Any, step: Any, w: Any, k: Any, c: Any, ldc: Any
) -> None:
    """The instructions of a block of ``rows`` rows and ``width`` vectors."""
    size = 4 if isinstance(element, ir.FloatType) else 8
    c_rows = [builder.gep(c, [builder.mul(ldc, ir.Constant(ldc.type, r))]) for r in range(rows)]
    for row_of_c in c_rows:  # of a large C, its lines come from memory while the products are taken
        for first in range(0, width * TILE.vector_bytes, LINE):
            _fetch(builder, builder.gep(row_of_c, [ir.Constant(ldc.type, first // size)]))
    block = emit_products(builder, element, rows, width, TILE.vectors, a, row, step, w, k)
    for r in range(rows):
        for v in range(width):
            # C comes last: in a sum over many blocks of K, small terms would be lost beside it one by one.
            place = vector_at(builder, c_rows[r], v)
            builder.store(builder.fadd(builder.load(place, align=size), block[r][v]), place, align=size)


def _fetch(builder: Any, place: Any) -> None:
    """Have the line of an address in the cache soon, to be read and written there."""
    byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
    fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    builder.call(fetch, [builder.bitcast(place, byte), *[ir.Constant(i32, number) for number in (1, 3, 1)]])


def vector_at(builder: Any, base: Any, number: int, lanes: int | None = None) -> Any:
    """The address of one of the vectors that begin at an address of numbers; they are whole unless ``lanes`` says."""
    element = base.type.pointee
    lanes = lanes or TILE.lanes(4 if isinstance(element, ir.FloatType) else 8)
    place = builder.gep(base, [ir.Constant(ir.IntType(64), number * lanes)])
    return builder.bitcast(place, ir.VectorType(element, lanes).as_pointer())


def broadcast(builder: Any, number: Any, vector: Any) -> Any:
    """A number in all lanes of a vector."""
    undefined, i32 = ir.Constant(vector, ir.Undefined), ir.IntType(32)
    one = builder.insert_element(undefined, number, ir.Constant(i32, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(i32, vector.count), [0] * vector.count))


def emit_fma(builder: Any, a: Any, b: Any, c: Any = None) -> Any:
    """a b + c of vectors, c being zeros where there is none, as products begin."""
    # fmuladd and not fma: where there is no such instruction, it is a product and a sum and not a library call.
    vector = a.type
    name = f"llvm.fmuladd.v{vector.count}f{32 if isinstance(vector.element, ir.FloatType) else 64}"
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
    return builder.call(fma, [a, b, ir.Constant(vector, [0.0] * vector.count) if c is None else c])


def emit_products(
    builder: Any, element: Any, rows: int, width: int, panel: int, a: Any, row: Any, step: Any, w: Any, k: Any,
    lanes: int | None = None,
) -> list[list[Any]]:  # fmt: skip
    """The instructions for a block of A W, with W in panels of so many vectors, and what they leave, by rows.

    Vectors are whole, or have so many ``lanes``.
    """
    size = 4 if isinstance(element, ir.FloatType) else 8
    lanes = lanes or TILE.lanes(size)
    vector, i32, i64 = ir.VectorType(element, lanes), ir.IntType(32), ir.IntType(64)
    bf16 = isinstance(w.type.pointee, ir.IntType)  # the upper 16 bits of a float32
    pairs = isinstance(a.type.pointee, ir.IntType)  # of A too, two neighbours of K in a lane

    def times(value: Any, number: int) -> Any:
        return builder.mul(value, ir.Constant(i64, number))

    def weights_at(base: Any, number: int) -> Any:
        if not bf16:
            return builder.load(vector_at(builder, base, number, lanes), align=size)
        halves = ir.VectorType(w.type.pointee, lanes)
        place = builder.bitcast(builder.gep(base, [ir.Constant(i64, number * lanes)]), halves.as_pointer())
        upper = builder.shl(builder.zext(builder.load(place, align=2), words), ir.Constant(words, [16] * lanes))
        return builder.bitcast(upper, vector)

    def pairs_at(base: Any, number: int) -> Any:
        place = builder.bitcast(builder.gep(base, [ir.Constant(i64, number * 2 * lanes)]), words.as_pointer())
        return builder.load(place, align=2)

    def multiply_add(x: Any, weights: Any, total: Any) -> Any:
        if not pairs:
            return emit_fma(builder, x, weights, total)
        # By its types of old, which every LLVM takes.
        dot = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector, words, words]), BF16_DOT)
        return builder.call(dot, [total, x, weights])

    words = ir.VectorType(i32, lanes)
    if pairs:  # a step is of two numbers
        k_steps, each, weights_at = builder.lshr(k, ir.Constant(i64, 1)), 2, pairs_at
        a, row = builder.bitcast(a, i32.as_pointer()), builder.lshr(row, ir.Constant(i64, 1))
    else:
        k_steps, each = k, 1
    panels = [min(panel, width - first) for first in range(0, width, panel)]  # vectors in each
    starts = [builder.gep(w, [times(k, p * panel * lanes)]) for p in range(len(panels))]
    block = [[cgutils.alloca_once(builder, vector) for _ in range(width)] for _ in range(rows)]
    for r in range(rows):
        for v in range(width):
            builder.store(ir.Constant(vector, [0.0] * lanes), block[r][v])

    def unrelated(value: Any) -> Any:
        """The same, but LLVM does not see where it comes from, and reckons no row's address from that of another.

        That takes a quarter more instructions: no longer, unless other work shares the core and its decoder.
        """
        kind = ir.FunctionType(value.type, [value.type])
        return value if rows == 1 else builder.asm(kind, "", "=r,0", [value], False)

    a_rows = [unrelated(builder.gep(a, [times(row, r)])) for r in range(rows)]
    column = cgutils.alloca_once_value(builder, ir.Constant(i64, 0))
    done = ir.Constant(i64, 0)
    for count in (AT_ONCE, 1):
        left = builder.sub(k_steps, done)
        stop = builder.add(done, builder.sub(left, builder.urem(left, ir.Constant(i64, count))))
        with cgutils.for_range_slice(builder, done, stop, ir.Constant(i64, count), i64) as (index, _):
            bases = [
                builder.gep(start, [times(index, each * vectors * lanes)])
                for start, vectors in zip(starts, panels, strict=True)
            ]
            for number in range(count):
                weights = [
                    weights_at(base, number * each * vectors + v)
                    for base, vectors in zip(bases, panels, strict=True)
                    for v in range(vectors)
                ]
                here = builder.load(column)
                for r in range(rows):
                    value = builder.load(builder.gep(a_rows[r], [here]), align=2 if pairs else size)
                    x = broadcast(builder, value, words if pairs else vector)
                    for v in range(width):
                        builder.store(multiply_add(x, weights[v], builder.load(block[r][v])), block[r][v])
                builder.store(unrelated(builder.add(here, step)), column)
        done = stop
    return [[builder.load(place) for place in places] for places in block]


def turned(builder: Any, rows: list[Any]) -> list[Any]:
    """The columns of a square block, of as many vectors as each of these has elements."""
    rows, lanes = list(rows), len(rows)
    half = lanes // 2
    while half:  # swap the two quarters beside the diagonal, in blocks of every size
        for low in (r for r in range(lanes) if not r & half):
            a, b = rows[low], rows[low + half]
            first = [c if not c & half else lanes + c - half for c in range(lanes)]
            second = [c + half if not c & half else lanes + c for c in range(lanes)]
            rows[low] = builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), lanes), first))
            rows[low + half] = builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), lanes), second))
        half //= 2
    return rows


@intrinsic
def transpose(typingctx: Any, source: Any, source_step: Any, target: Any, target_step: Any) -> Any:
    """Write a square block of as many rows as a vector has elements as its columns; steps lead from row to row."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_data_type(signature.args[0].dtype)
        size = signature.args[0].dtype.bitwidth // 8
        lanes = TILE.lanes(size)
        vector, i64 = ir.VectorType(element, lanes), ir.IntType(64)

        def row_at(base: Any, step: Any, number: int) -> Any:
            place = builder.gep(base, [builder.mul(step, ir.Constant(i64, number))])
            return builder.bitcast(place, vector.as_pointer())

        rows = turned(builder, [builder.load(row_at(args[0], args[1], r), align=size) for r in range(lanes)])
        for r in range(lanes):
            builder.store(rows[r], row_at(args[2], args[3], r), align=size)
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp), codegen
