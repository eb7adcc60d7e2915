"""Steps of complex numbers in registers, c' = p c + b element by element, and back.

A row has all real parts and then all imaginary ones, S each and in whole vectors. A few vectors of it go through all
steps before the next ones do, and what passes from step to step never leaves the registers. Every number meets the same
instructions, wherever it stands.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiling import kernel
from .host import TILE
from .intrinsics import lanes, offset, vector_at

AT_ONCE = TILE.vectors  # of real parts, and as many of imaginary ones

Complex = tuple[Any, Any]
"""Vectors of real and of imaginary parts, as values of LLVM."""


class _Emitter:
    """Instructions for rows of numbers of one type, where a builder stands."""

    def __init__(self, builder: Any, number: Any, apart: Any) -> None:
        self.builder, self.apart, self.size = builder, apart, 4 if isinstance(number, ir.FloatType) else 8
        self.vector = ir.VectorType(number, TILE.lanes(self.size))
        # fmuladd and not fma: where there is no such instruction, it is a product and a sum and not a library call.
        kind, name = ir.FunctionType(self.vector, [self.vector] * 3), f"v{self.vector.count}f{8 * self.size}"
        self._add_product = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.{name}")

    def read(self, row: Any, number: int) -> Complex:
        real, imaginary = (self.builder.load(place, align=self.size) for place in self._places(row, number))
        return real, imaginary

    def write(self, row: Any, number: int, values: Complex) -> None:
        for place, value in zip(self._places(row, number), values, strict=True):
            self.builder.store(value, place, align=self.size)

    def register(self, values: Complex) -> Complex:
        """Places that LLVM keeps in registers, with these values."""
        real, imaginary = (cgutils.alloca_once_value(self.builder, value) for value in values)
        return real, imaginary

    def held(self, places: Complex) -> Complex:
        return self.builder.load(places[0]), self.builder.load(places[1])

    def hold(self, places: Complex, values: Complex) -> None:
        for place, value in zip(places, values, strict=True):
            self.builder.store(value, place)

    def turned(self, p: Complex, c: Complex, b: Complex) -> Complex:
        """p c + b."""
        minus = self.builder.fneg(p[1])
        return self._sum(p[0], c[0], self._sum(minus, c[1], b[0])), self._sum(p[0], c[1], self._sum(p[1], c[0], b[1]))

    def turned_back(self, p: Complex, d: Complex, b: Complex) -> Complex:
        """conj(p) d + b."""
        return self.turned((p[0], self.builder.fneg(p[1])), d, b)

    def added(self, a: Complex, b: Complex) -> Complex:
        return self.builder.fadd(a[0], b[0]), self.builder.fadd(a[1], b[1])

    def zero(self) -> Complex:
        zeros = ir.Constant(self.vector, [0.0] * self.vector.count)
        return zeros, zeros

    def _sum(self, a: Any, b: Any, c: Any) -> Any:
        return self.builder.call(self._add_product, [a, b, c])

    def _places(self, row: Any, number: int) -> Complex:
        imaginary = self.builder.gep(row, [self.apart])
        return vector_at(self.builder, row, number), vector_at(self.builder, imaginary, number)


@intrinsic
def _turn(typingctx: Any, p: Any, old: Any, rows: Any, step: Any, steps: Any, apart: Any, vectors: Any) -> Any:
    """b in rows, ``step`` numbers from one to the next, becomes c, for so many ``vectors`` of S = ``apart``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        p, old, rows, step, steps, apart, vectors = args
        emit = _Emitter(builder, context.get_data_type(signature.args[0].dtype), apart)
        for width in range(1, AT_ONCE + 1):
            with builder.if_then(builder.icmp_signed("==", vectors, ir.Constant(vectors.type, width))):
                factors = [emit.read(p, v) for v in range(width)]
                c = [emit.register(emit.read(old, v)) for v in range(width)]
                with cgutils.for_range(builder, steps, intp=steps.type) as loop:
                    row = builder.gep(rows, [builder.mul(loop.index, step)])
                    for v in range(width):
                        new = emit.turned(factors[v], emit.held(c[v]), emit.read(row, v))
                        emit.hold(c[v], new)
                        emit.write(row, v, new)
        return context.get_dummy_value()

    return types.void(p, old, rows, types.intp, types.intp, types.intp, types.intp), codegen


@intrinsic
def _turn_back(
    typingctx: Any, p: Any, carry: Any, rows: Any, before: Any, step: Any, steps: Any, total: Any, apart: Any,
    vectors: Any,
) -> Any:  # fmt: skip
    """The way back, from the last of the rows: cotangents in them become complete, and ``carry`` that of c before all.

    ``before`` is c before the last of these steps, among rows as far apart; ``total`` gets the cotangent of p added.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        p, carry, rows, before, step, steps, total, apart, vectors = args
        emit = _Emitter(builder, context.get_data_type(signature.args[0].dtype), apart)
        for width in range(1, AT_ONCE + 1):
            with builder.if_then(builder.icmp_signed("==", vectors, ir.Constant(vectors.type, width))):
                factors = [emit.read(p, v) for v in range(width)]
                d, dp = ([emit.register(emit.read(row, v)) for v in range(width)] for row in (carry, total))
                with cgutils.for_range(builder, steps, intp=steps.type) as loop:
                    back = builder.neg(builder.mul(loop.index, step))
                    row, c = (builder.gep(last, [back]) for last in (rows, before))
                    for v in range(width):
                        whole = emit.added(emit.held(d[v]), emit.read(row, v))
                        emit.write(row, v, whole)
                        emit.hold(dp[v], emit.turned_back(emit.read(c, v), whole, emit.held(dp[v])))
                        emit.hold(d[v], emit.turned_back(factors[v], whole, emit.zero()))
                for v in range(width):
                    emit.write(carry, v, emit.held(d[v]))
                    emit.write(total, v, emit.held(dp[v]))
        return context.get_dummy_value()

    numbers = types.intp, types.intp, total, types.intp, types.intp
    return types.void(p, carry, rows, before, *numbers), codegen


@kernel
def turn(p, old, rows, step, steps, size):
    """c of each of some steps, from ``old`` before them, in the rows that have b."""
    lane = lanes(rows)
    for first in range(0, size, AT_ONCE * lane):
        vectors = min((size - first) // lane, AT_ONCE)
        _turn(offset(p, first), offset(old, first), offset(rows, first), step, steps, size, vectors)


@kernel
def turn_back(p, carry, rows, before, step, steps, total, size):
    """The way back through them; see :func:`_turn_back`."""
    lane = lanes(rows)
    for first in range(0, size, AT_ONCE * lane):
        vectors = min((size - first) // lane, AT_ONCE)
        _turn_back(
            offset(p, first), offset(carry, first), offset(rows, first), offset(before, first), step, steps,
            offset(total, first), size, vectors,
        )  # fmt: skip
