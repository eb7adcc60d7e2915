"""Calls from Python for what takes about a microsecond: types that are known, and arrays that are only lent.

To find out what types arguments have, and to hold on to arrays, takes Numba's calls as long as a small layer takes for
ten steps. Here a kernel is called by the very function that it was compiled to. Of an array, on which its caller holds,
the fields are read before other threads may run, who could give it another shape; compiled code then looks at them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import NativeValue, make_attribute_wrapper, register_jitable, register_model, unbox

PLAIN, WRITEABLE = 0x101, 0x400  # NumPy's flags: of what is contiguous in the order of C, and aligned
MOST_AXES = 3
EXTENTS = ("last", "before", "third")
NUMBERS = ("address", "axes", "flags", "dtype", *EXTENTS)
HEAD = object.__basicsize__  # of an object, before its own fields; other builds of Python have more


class Place(types.Type):  # type: ignore[misc]
    """``at``: where the numbers of an array of a type lie; nothing but an array may be given."""

    def __init__(self, of: types.Type) -> None:
        self.of = of
        super().__init__(f"place of {of} lent by an object of {HEAD} bytes")


class Lent(types.Type):  # type: ignore[misc]
    """Fields of an array of numbers of a type; nothing but an array may be given.

    ``at``, as of a place, and the same as an integer, ``address``; how many ``axes`` there are, NumPy's ``flags`` and
    the id of the ``dtype``; and the extents of the ``last`` axis, of the one ``before`` and of the ``third`` from the
    end, 0 where there are not so many axes, or more than three.
    """

    def __init__(self, of: types.Type) -> None:
        self.of = of
        super().__init__(f"array of {of} lent by an object of {HEAD} bytes")


@register_model(Place)
class _PlaceModel(models.StructModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Place) -> None:
        super().__init__(manager, kind, [("at", types.CPointer(kind.of))])


@register_model(Lent)
class _LentModel(models.StructModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Lent) -> None:
        numbers = [(name, types.intp) for name in NUMBERS]
        super().__init__(manager, kind, [("at", types.CPointer(kind.of)), *numbers])


make_attribute_wrapper(Place, "at", "at")
for _name in ("at", *NUMBERS):
    make_attribute_wrapper(Lent, _name, _name)


def _field(builder: Any, given: Any, number: int) -> Any:
    """Of a ``PyArrayObject``, whose fields NumPy's own macros read in the code of all that was compiled for it."""
    word, half = ir.IntType(types.intp.bitwidth), ir.IntType(32)
    # head; data, axes, extents, strides, base, dtype, flags
    fields = [ir.ArrayType(ir.IntType(8), HEAD), word, half, word.as_pointer(), word, word, word, half]
    array = builder.bitcast(given, ir.LiteralStructType(fields).as_pointer())
    return builder.load(cgutils.gep_inbounds(builder, array, 0, number))


@unbox(Place)
def _place_of(kind: Place, given: Any, c: Any) -> NativeValue:
    place = cgutils.create_struct_proxy(kind)(c.context, c.builder)
    place.at = c.builder.inttoptr(_field(c.builder, given, 1), place.at.type)
    return NativeValue(place._getvalue())


@unbox(Lent)
def _fields_of(kind: Lent, given: Any, c: Any) -> NativeValue:
    lent = cgutils.create_struct_proxy(kind)(c.context, c.builder)
    c.builder.call(_reader(kind, c.context, c.builder.module), [given, lent._getpointer()])
    return NativeValue(lent._getvalue())


def _reader(kind: Lent, context: Any, module: Any) -> Any:
    """The function that reads those fields: there is one for all arrays, each of which else took as much to compile."""
    name, word = f"lent_{kind.of}", ir.IntType(types.intp.bitwidth)
    if name in module.globals:
        return module.globals[name]
    to = context.get_value_type(kind).as_pointer()
    reader = ir.Function(module, ir.FunctionType(ir.VoidType(), [context.get_value_type(types.pyobject), to]), name)
    reader.linkage = "internal"
    reader.attributes.add("noinline")
    builder = ir.IRBuilder(reader.append_basic_block())
    address, axes, extents, dtype, flags = (_field(builder, reader.args[0], number) for number in (1, 2, 3, 6, 7))
    lent = cgutils.create_struct_proxy(kind)(context, builder, ref=reader.args[1])
    axes = builder.sext(axes, word)
    lent.address, lent.at = address, builder.inttoptr(address, lent.at.type)
    lent.axes, lent.dtype, lent.flags = axes, dtype, builder.sext(flags, word)
    few = builder.icmp_signed("<=", axes, ir.Constant(word, MOST_AXES))
    for number, extent in enumerate(EXTENTS):
        there = builder.and_(few, builder.icmp_signed(">", axes, ir.Constant(word, number)))
        setattr(lent, extent, ir.Constant(word, 0))
        with builder.if_then(there):
            place = builder.gep(extents, [builder.sub(axes, ir.Constant(word, number + 1))])
            setattr(lent, extent, builder.load(place))
    builder.ret_void()
    return reader


@register_jitable
def count_of(array):
    """How many numbers an array has; -1 where its extents do not say."""
    count = array.last if 0 < array.axes <= MOST_AXES else -1
    if array.axes > 1:
        count *= array.before
    if array.axes > 2:
        count *= array.third
    return count


@register_jitable
def holds(array, count, dtype):
    """Whether an array is contiguous and aligned, of so many numbers of this dtype."""
    return array.dtype == dtype and array.flags & PLAIN == PLAIN and count_of(array) == count


def call_of(kernel: Any, signature: tuple[types.Type, ...], *first: Any) -> Callable[..., Any]:
    """The function that a kernel is for arguments of these types, of which the first are given already, and held.

    It believes that all others are what they should be.
    """
    return partial(kernel.compile(signature), *first)
