"""Vectors of numbers in code that is being emitted: an equation written for numbers becomes instructions for vectors.

So the equations of ``scalar_cells.py`` and ``activations.py`` serve twice. Numba compiles them for numbers, and LLVM
makes loops of vectors of them if it finds that arrays do not overlap, which takes longer than the arithmetic of a small
layer. Run as plain Python on :class:`Lanes`, they write themselves down for registers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from .compiling import OPTIONS
from .host import TILE
from .intrinsics import bits_float, float_bits, single_power, vector_at

FLAGS = tuple(OPTIONS["fastmath"])


def _operation(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """An operator with the vector on its left, and with it on its right."""
    return lambda one, other: one._emit(name, one, other), lambda one, other: one._emit(name, other, one)


def _comparison(sign: str) -> Callable[..., Any]:
    """False for NaN, but for "!="."""

    def compare(one: Lanes, other: Any) -> Lanes:
        emit = one.builder.fcmp_unordered if sign == "!=" else one.builder.fcmp_ordered
        return Lanes(one.builder, emit(sign, one.value, one.like(other)))

    return compare


class Lanes:
    """A vector, or the truths of a comparison of two, where a builder stands. Numbers beside it stand for vectors."""

    __array_ufunc__ = None  # NumPy's numbers leave their operators to this class
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    @property
    def single(self) -> bool:
        """Whether the numbers are float32, or else float64."""
        return isinstance(self.value.type.element, ir.FloatType)

    __add__, __radd__ = _operation("fadd")
    __sub__, __rsub__ = _operation("fsub")
    __mul__, __rmul__ = _operation("fmul")
    __truediv__, __rtruediv__ = _operation("fdiv")
    __lt__, __gt__, __eq__, __ne__ = map(_comparison, ("<", ">", "==", "!="))

    def __neg__(self) -> Lanes:
        return Lanes(self.builder, self.builder.fneg(self.value))

    def __abs__(self) -> Lanes:
        kind = self.value.type
        name = f"llvm.fabs.v{kind.count}f{32 if self.single else 64}"
        function = cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(kind, [kind]), name)
        return Lanes(self.builder, self.builder.call(function, [self.value]))

    def __or__(self, other: Lanes) -> Lanes:
        return Lanes(self.builder, self.builder.or_(self.value, other.value))

    def like(self, other: Any) -> Any:
        """Another vector's value, or that of a number in all lanes."""
        if isinstance(other, Lanes):
            return other.value
        return ir.Constant(self.value.type, [float(other)] * self.value.type.count)

    def _emit(self, operation: str, left: Any, right: Any) -> Lanes:
        emit = getattr(self.builder, operation)
        return Lanes(self.builder, emit(self.like(left), self.like(right), flags=FLAGS))

    def choose(self, yes: Any, no: Any) -> Lanes:
        """One or the other vector, in each lane by these truths."""
        some = yes if isinstance(yes, Lanes) else no
        return Lanes(self.builder, self.builder.select(self.value, some.like(yes), some.like(no)))

    def two_to(self) -> Lanes:
        """What :func:`two_to` says."""
        kind = self.value.type
        whole = ir.VectorType(ir.IntType(64), kind.count)
        bits = self.builder.bitcast(self.value, whole)
        exponent = self.builder.add(bits, ir.Constant(whole, [1023] * kind.count))
        power = self.builder.shl(exponent, ir.Constant(whole, [52] * kind.count))
        return Lanes(self.builder, self.builder.bitcast(power, kind))


def choose(condition, yes, no):
    """``yes if condition else no``, for numbers and for vectors."""
    return condition.choose(yes, no)


@overload(choose)
def _choose(condition, yes, no):
    return lambda condition, yes, no: yes if condition else no


def two_to(shifted):
    """The power of two of the integer in the lowest bits of a number; for numbers, and for vectors of float64."""
    return shifted.two_to()


@overload(two_to)
def _two_to(shifted):
    if shifted == types.float32:
        return lambda shifted: single_power(shifted)
    return lambda shifted: bits_float((float_bits(shifted) + 1023) << 52)


def loop_of(equations: Callable[..., tuple[Lanes, ...]]) -> Any:
    """An intrinsic that reads rows, and writes others, of whole vectors; it says of how many numbers that was.

    ``equations`` takes a vector of each row that is read and gives one of each that is written. The rows, a tuple of
    addresses for either, may be the same, but must not overlap otherwise: nobody looks.
    """

    @intrinsic
    def loop(typingctx: Any, read: Any, written: Any, size: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            read, written, size = args
            align = signature.args[0].dtype.dtype.bitwidth // 8
            sources, targets = (
                [builder.extract_value(rows, k) for k in range(kind.count)]
                for rows, kind in zip((read, written), signature.args, strict=False)
            )
            lane = ir.Constant(size.type, TILE.lanes(align))
            vectors = builder.udiv(size, lane)
            with cgutils.for_range(builder, vectors, intp=size.type) as each:
                at = builder.mul(each.index, lane)
                places = [vector_at(builder, builder.gep(row, [at]), 0) for row in sources]
                results = equations(*[Lanes(builder, builder.load(place, align=align)) for place in places])
                for row, result in zip(targets, results, strict=True):
                    builder.store(result.value, vector_at(builder, builder.gep(row, [at]), 0), align=align)
            return builder.mul(vectors, lane)

        return types.intp(read, written, types.intp), codegen

    return loop
