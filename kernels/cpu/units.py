"""Steps of one sequence whose pre-activations never leave the registers: some units at a time, from product to state.

In a small layer, storing pre-activations, reading them again for the equations, and asking whether
the arrays of those overlap takes longer than the arithmetic. Here a block of units has the vectors of all its gates in
one tile: the product with h, then the cell's equations on these very registers. Sums and equations are
those of ``multiply`` and ``gates.step``, number by number.

For that the gates of some units must be neighbours: pre-activations come a vector of units after another, of each a
vector for each gate, with zeros for the units that fill up the last one. The weights of a tile are one panel. Where
half a vector of AVX-512 holds all units, vectors are half as long: there are processors that take it in two halves. An
input of one number, as audio has, is multiplied here too, while the products with h wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from .. import scalar_cells
from ..kinds import GRU, KINDS, LSTM
from .activations import sigmoid, tanh
from .compiling import inlined_kernel, kernel, shared_kernel
from .host import TILE
from .intrinsics import (
    broadcast,
    copy_half,
    copy_vector,
    emit_fma,
    emit_products,
    lanes,
    offset,
    offsets,
    vector_at,
)
from .lanes import Lanes
from .product import VECTOR_BYTES

Array = np.ndarray[Any, Any]
GATES, PRODUCTS = tuple(kind.gates for kind in KINDS), tuple(len(kind.places) for kind in KINDS)
WIDEST = {LSTM: 2, GRU: 4}  # vectors of units in a tile: enough products to hide what a multiply-add takes
CACHED = 1 << 14  # bytes of weights in a tile, of a layer whose weights are too many for the first cache
HALVED = int(VECTOR_BYTES == 64)  # whether vectors may be half as long
KEEPING_UP = 4 * 64 // VECTOR_BYTES  # vectors of products at once that keep up with the second cache

_cells = scalar_cells.build(lambda equation: equation, tanh, sigmoid)


def _lstm(z: list[Lanes], h: Lanes, c: Lanes) -> tuple[Lanes, ...]:
    _, _, _, c_new = _cells.lstm_state(*z[:3], c)
    return _cells.lstm_output(z[3], c_new)[1], c_new


def _gru(z: list[Lanes], h: Lanes) -> tuple[Lanes, ...]:
    return _cells.gru(*z, h)[-1:]


def _make_tile(number: int, equations: Callable[..., tuple[Lanes, ...]]) -> Any:
    """An intrinsic that moves some vectors of units on.

    ``h`` is the whole old h, ``w`` the weights of these units alone; ``z`` is what the input gives to their gates, to
    which an ``only`` number x times ``w_x`` is yet to be added, and ``apart`` what a product that stays apart starts
    from; ``old`` and ``new`` are the parts of their states. No whole vector is one of half the length.
    """
    about, products = KINDS[number], PRODUCTS[number]

    @intrinsic
    def tile(
        typingctx: Any, h: Any, size: Any, w: Any, z: Any, only: Any, x: Any, w_x: Any, apart: Any, old: Any, new: Any,
        vectors: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            h, size, w, z, only, x, w_x, apart, old, new, vectors = args
            element = context.get_data_type(signature.args[0].dtype)
            align = 4 if isinstance(element, ir.FloatType) else 8
            zero, one = (ir.Constant(size.type, number) for number in range(2))

            def emit(unit: int, sums: list[Any]) -> None:
                def vector_of(base: Any, number: int) -> Any:
                    return vector_at(builder, base, number, sums[0].type.count)

                def read(base: Any, number: int) -> Any:
                    return builder.load(vector_of(base, number), align=align)

                places = range(unit * about.gates, (unit + 1) * about.gates)
                inputs = [cgutils.alloca_once_value(builder, read(z, place)) for place in places]
                with builder.if_then(only):
                    given = builder.load(x, align=align)
                    for place, start in zip(places, inputs, strict=True):
                        product = emit_fma(builder, broadcast(builder, given, sums[0].type), read(w_x, place))
                        builder.store(builder.fadd(builder.load(start), product), start)
                gates = [*map(builder.load, inputs)] + [read(apart, unit)] * (about.kept - about.gates)
                for place, product in zip(about.places, sums, strict=True):
                    gates[place] = builder.fadd(gates[place], product)
                parts = range(len(about.parts))
                before = [Lanes(builder, read(builder.extract_value(old, part), unit)) for part in parts]
                after = equations([Lanes(builder, gate) for gate in gates], *before)
                for part, state in zip(parts, after, strict=True):
                    builder.store(state.value, vector_of(builder.extract_value(new, part), unit), align=align)

            for width in range(1 - HALVED, WIDEST[number] + 1):
                with builder.if_then(builder.icmp_signed("==", vectors, ir.Constant(vectors.type, width))):
                    count, lanes = (width, TILE.lanes(align)) if width else (1, TILE.lanes(align) // 2)
                    wide = count * products
                    (sums,) = emit_products(builder, element, 1, wide, wide, h, zero, one, w, size, lanes)
                    for unit in range(count):
                        emit(unit, sums[unit * products : (unit + 1) * products])
            return context.get_dummy_value()

        return types.void(h, types.intp, w, z, types.boolean, x, z, apart, old, new, types.intp), codegen

    return tile


_lstm_tile, _gru_tile = _make_tile(LSTM, _lstm), _make_tile(GRU, _gru)
WIDE = tuple(WIDEST.get(number, 0) for number in range(len(KINDS)))


@register_jitable(inline="always")  # for Python too
def in_vector(size, itemsize):
    """Units in a vector: as many as fill it, or half of them if there are no more."""
    lane = VECTOR_BYTES // itemsize
    return lane >> HALVED * int(2 * size <= lane)


@register_jitable(inline="always")
def room(size, itemsize):
    """Units that vectors have room for."""
    lane = in_vector(size, itemsize)
    return (size + lane - 1) // lane * lane


@register_jitable(inline="always")
def width(kind, size, itemsize):
    """Vectors of units in a tile. Where the first cache cannot hold all weights, narrow tiles leave more of them there
    for the next step.
    """
    wide, products, vector = WIDE[kind], PRODUCTS[kind], VECTOR_BYTES
    if products * size * size * itemsize > 2 * CACHED:
        while wide * products * vector * size > CACHED and (wide - 1) * products >= KEEPING_UP:
            wide -= 1
    return wide


@kernel
def tiling(kind, size, stride, lane):
    """Vectors of units in a tile, and how many tiles there are: asked once for many steps, as divisions take long."""
    wide = width(kind, size, VECTOR_BYTES // lane)
    return wide, max((stride // lane + wide - 1) // wide, 1)


@inlined_kernel
def _tile(kind, h, size, w, z, only, x, w_x, apart, old, new, vectors):
    if kind == LSTM:
        _lstm_tile(h, size, w, z, only, x, w_x, apart, old, new, vectors)
    else:
        _gru_tile(h, size, w, z, only, x, w_x, apart, old, new, vectors)


@shared_kernel
def steps(kind, size, w, z, z_row, only, x, x_row, w_x, apart, old, new, to, parts, to_row, count, whole, turned):
    """So many steps of one sequence, from the ``old`` state, which takes turns with the ``new`` one.

    Both have :func:`room` for the units, as ``apart`` has. A step's z and x lie a row behind those of the step before,
    and so do the first ``parts`` of its state in ``to``, each of which may be written to as far as there is room in a
    state in the first ``whole`` steps. At every other step, from the first or the second one on as ``turned`` says, the
    last units come first, whose weights are still in the first cache.
    """
    lane = lanes(z)
    stride = room(size, VECTOR_BYTES // lane)
    wide, tiles = tiling(kind, size, stride, lane)
    for k in range(count):
        for number in range(tiles):
            tile = tiles - 1 - number if (k ^ turned) & 1 else number
            first = tile * wide * lane
            _tile(
                kind, old[0], size, offset(w, first * PRODUCTS[kind] * size), offset(z, first * GATES[kind]), only, x,
                offset(w_x, first * GATES[kind]), offset(apart, first), offsets(old, first), offsets(new, first),
                min(stride // lane - tile * wide, wide),
            )  # fmt: skip
        _copy(offset(to[0], k * to_row), new[0], size, stride, k < whole)
        if parts > 1:
            _copy(offset(to[1], k * to_row), new[1], size, stride, k < whole)
        z, x = offset(z, z_row), offset(x, x_row)
        old, new = new, old


@inlined_kernel
def _copy(target, source, size, stride, whole):
    """Numbers of a state, in whole vectors or one by one."""
    lane = lanes(target)
    if not whole:
        for j in range(size):
            target[j] = source[j]
    elif stride < lane:
        copy_half(target, source)
    else:
        for j in range(0, stride, lane):
            copy_vector(offset(target, j), offset(source, j))


def serves(kind: int, batch: int) -> bool:
    """Whether this is the way: of more sequences, tiles of several rows make better use of each weight that is read."""
    return kind in WIDEST and batch == 1


def by_unit(rows: Array, size: int) -> Array:
    """Rows (G*H, K) of weights, or numbers (G*H,), in the order of pre-activations: vectors of units, of each G."""
    count, lane = len(rows) // size, in_vector(size, rows.itemsize)
    wide, rest = room(size, rows.itemsize), rows.shape[1:]
    whole = np.zeros((count, wide, *rest), rows.dtype)
    whole[:, :size] = rows.reshape(count, size, *rest)
    return whole.reshape(count, wide // lane, lane, *rest).swapaxes(0, 1).reshape(count * wide, *rest)


def panels(kind: int, weight: Array, size: int) -> Array:
    """weight_hh as :func:`step` reads it, a panel for each tile, in a row (1, G*H*H)."""
    tile = width(kind, size, weight.itemsize) * PRODUCTS[kind] * in_vector(size, weight.itemsize)
    columns = by_unit(weight, size)
    return np.concatenate([columns[low : low + tile].T.reshape(1, -1) for low in range(0, len(columns), tile)], axis=1)
