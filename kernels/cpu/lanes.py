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
from .intrinsics import bits_float, float_bits, single_power

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


AT_ONCE = 4  # vectors whose sums are kept apart, since each addition waits for the one before


def loop_of(equations: Callable[..., tuple[Lanes, ...]], sums: int = 0) -> Any:
    """An intrinsic that reads rows and writes others, vector by vector, and what fills none at the end one by one.

    ``equations`` takes a vector of each row that is read, then the numbers that are given, and gives one for each row
    that is written and last those whose sums the intrinsic returns. The rows, a tuple of addresses for either, may be
    the same, but must not overlap otherwise: nobody looks. Sums have one order, whatever else is done at the time.
    """

    @intrinsic
    def loop(typingctx: Any, read: Any, written: Any, numbers: Any, size: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            size = args[3]
            align = signature.args[0].dtype.dtype.bitwidth // 8
            sources, targets, given = (
                [builder.extract_value(group, k) for k in range(kind.count)]
                for group, kind in zip(args, signature.args[:3], strict=False)
            )
            element, word = context.get_value_type(signature.args[0].dtype.dtype), ir.IntType(32)
            whole, one = (ir.VectorType(element, count) for count in (TILE.lanes(align), 1))
            zero = {kind: ir.Constant(kind, [0.0] * kind.count) for kind in (whole, one)}
            totals = {
                kind: [[cgutils.alloca_once_value(builder, zero[kind]) for _ in range(sums)] for _ in range(copies)]
                for kind, copies in ((whole, AT_ONCE), (one, 1))
            }

            def spread(number: Any, kind: Any) -> Any:
                undefined, first = ir.Constant(kind, ir.Undefined), ir.Constant(word, 0)
                everywhere = ir.Constant(ir.VectorType(word, kind.count), [0] * kind.count)
                return builder.shuffle_vector(builder.insert_element(undefined, number, first), undefined, everywhere)

            def emit(kind: Any, index: Any, fixed: list[Any], into: list[Any]) -> None:
                def place(row: Any) -> Any:
                    return builder.bitcast(builder.gep(row, [index]), kind.as_pointer())

                values = [builder.load(place(row), align=align) for row in sources]
                results = equations(*[Lanes(builder, value) for value in (*values, *fixed)])
                for row, result in zip(targets, results, strict=False):
                    builder.store(result.value, place(row), align=align)
                for total, result in zip(into, results[len(targets) :], strict=True):
                    builder.store(builder.fadd(builder.load(total), result.value), total)

            start = ir.Constant(size.type, 0)
            for kind, copies in ((whole, AT_ONCE), (whole, 1), (one, 1))[0 if sums else 1 :]:
                step = ir.Constant(size.type, kind.count * copies)
                left = builder.sub(size, start)
                stop = builder.add(start, builder.sub(left, builder.urem(left, step)))
                fixed = [spread(number, kind) for number in given]
                with cgutils.for_range_slice(builder, start, stop, step, size.type) as (index, _):
                    for copy in range(copies):
                        at = builder.add(index, ir.Constant(size.type, copy * kind.count))
                        emit(kind, at, fixed, totals[kind][copy])
                start = stop

            def added(total: int) -> Any:
                vectors = [builder.load(copy[total]) for copy in totals[whole]]
                while len(vectors) > 1:
                    vectors = [builder.fadd(*pair) for pair in zip(vectors[::2], vectors[1::2], strict=True)]
                (vector,), half = vectors, whole.count // 2
                while half:
                    turned = ir.Constant(
                        ir.VectorType(word, whole.count), [(k + half) % whole.count for k in range(whole.count)]
                    )
                    vector, half = builder.fadd(vector, builder.shuffle_vector(vector, vector, turned)), half // 2
                first = ir.Constant(word, 0)
                rest = builder.extract_element(builder.load(totals[one][0][total]), first)
                return builder.fadd(builder.extract_element(vector, first), rest)

            if not sums:
                return context.get_dummy_value()
            return context.make_tuple(builder, signature.return_type, [added(total) for total in range(sums)])

        result = types.UniTuple(read.dtype.dtype, sums) if sums else types.void
        return result(read, written, numbers, types.intp), codegen

    return loop
