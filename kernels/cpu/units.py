"""A step of one sequence whose pre-activations never leave the registers: some units at a time, from product to state.

In a small layer, storing pre-activations, reading them again for the equations, and asking whether
the arrays of those overlap takes longer than the arithmetic. Here a block of units has the vectors of all its gates in
one tile: the product with h, then the cell's equations on these very registers. Sums and equations are
those of ``multiply`` and ``gates.step``, number by number.

For that the gates of some units must be neighbours: pre-activations come a vector of units after another, of each a
vector for each gate, with zeros for the units that fill up the last one. The weights of a tile are one panel. Where
half a vector of AVX-512 holds all units, vectors are half as long: there are processors that take it in two halves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from .. import scalar_cells
from ..kinds import GRU, KINDS, LSTM
from .activations import sigmoid, tanh
from .compiling import inlined_kernel, kernel
from .host import TILE
from .intrinsics import emit_products, lanes, offset, offsets, vector_at
from .lanes import Lanes
from .product import VECTOR_BYTES

Array = np.ndarray[Any, Any]
GATES, PRODUCTS = tuple(kind.gates for kind in KINDS), tuple(len(kind.places) for kind in KINDS)
WIDEST = {LSTM: 2, GRU: 4}  # vectors of units in a tile: enough products to hide what a multiply-add takes
CACHED = 1 << 14  # bytes of weights in a tile, of a layer whose weights are too many for the first cache
HALVED = int(VECTOR_BYTES == 64)  # whether vectors may be half as long
IN_FLIGHT = 4 * 64 // VECTOR_BYTES  # vectors of products at once that keep up with the second cache

_cells = scalar_cells.build(lambda equation: equation, tanh, sigmoid)


def _lstm(z: list[Lanes], h: Lanes, c: Lanes) -> tuple[Lanes, ...]:
    _, _, _, c_new = _cells.lstm_state(*z[:3], c)
    return _cells.lstm_output(z[3], c_new)[1], c_new


def _gru(z: list[Lanes], h: Lanes) -> tuple[Lanes, ...]:
    return _cells.gru(*z, h)[-1:]


def _make_tile(number: int, equations: Callable[..., tuple[Lanes, ...]]) -> Any:
    """An intrinsic that moves some vectors of units on.

    ``h`` is the whole old h, ``w`` the weights of these units alone; ``z`` is what the input gives to their gates and
    ``apart`` what a product that stays apart starts from, ``old`` and ``new`` are the parts of their states. No whole
    vector is one of half the length.
    """
    about, products = KINDS[number], PRODUCTS[number]

    @intrinsic
    def tile(typingctx: Any, h: Any, size: Any, w: Any, z: Any, apart: Any, old: Any, new: Any, vectors: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            h, size, w, z, apart, old, new, vectors = args
            element = context.get_data_type(signature.args[0].dtype)
            align = 4 if isinstance(element, ir.FloatType) else 8
            zero, one = (ir.Constant(size.type, number) for number in range(2))

            def emit(unit: int, sums: list[Any]) -> None:
                def vector_of(base: Any, number: int) -> Any:
                    return vector_at(builder, base, number, sums[0].type.count)

                def read(base: Any, number: int) -> Any:
                    return builder.load(vector_of(base, number), align=align)

                gates = [read(z, unit * about.gates + gate) for gate in range(about.gates)]
                gates += [read(apart, unit)] * (about.kept - about.gates)
                for place, product in zip(about.places, sums, strict=True):
                    gates[place] = builder.fadd(gates[place], product)
                places = range(len(about.parts))
                before = [Lanes(builder, read(builder.extract_value(old, part), unit)) for part in places]
                after = equations([Lanes(builder, gate) for gate in gates], *before)
                for part, state in zip(places, after, strict=True):
                    builder.store(state.value, vector_of(builder.extract_value(new, part), unit), align=align)

            for width in range(1 - HALVED, WIDEST[number] + 1):
                with builder.if_then(builder.icmp_signed("==", vectors, ir.Constant(vectors.type, width))):
                    count, lanes = (width, TILE.lanes(align)) if width else (1, TILE.lanes(align) // 2)
                    wide = count * products
                    (sums,) = emit_products(builder, element, 1, wide, wide, h, zero, one, w, size, lanes)
                    for unit in range(count):
                        emit(unit, sums[unit * products : (unit + 1) * products])
            return context.get_dummy_value()

        return types.void(h, types.intp, w, z, apart, old, new, types.intp), codegen

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
        while wide * products * vector * size > CACHED and (wide - 1) * products >= IN_FLIGHT:
            wide -= 1
    return wide


@kernel
def tiling(kind, size, stride, lane):
    """Vectors of units in a tile, and how many tiles there are: asked once for many steps, as divisions take long."""
    wide = width(kind, size, VECTOR_BYTES // lane)
    return wide, max((stride // lane + wide - 1) // wide, 1)


@inlined_kernel
def _tile(kind, h, size, w, z, apart, old, new, vectors):
    if kind == LSTM:
        _lstm_tile(h, size, w, z, apart, old, new, vectors)
    else:
        _gru_tile(h, size, w, z, apart, old, new, vectors)


@kernel
def step(kind, size, stride, tiles, w, z, apart, old, new, turned):
    """One step of one sequence of ``size`` units, whose states have :func:`room` for ``stride``, as ``apart`` has.

    ``tiles`` are those of :func:`tiling`. ``turned`` begins with the last units: at every other step, the weights that
    were read last are still in the first cache.
    """
    h, lane, (wide, count) = old[0], lanes(z), tiles
    if count == 1:  # few units, whose steps a loop would make a tenth longer
        _tile(kind, h, size, w, z, apart, old, new, stride // lane)
        return
    for number in range(count):
        tile = count - 1 - number if turned else number
        vectors, first = min(stride // lane - tile * wide, wide), tile * wide * lane
        w_here, z_here = offset(w, first * PRODUCTS[kind] * size), offset(z, first * GATES[kind])
        _tile(kind, h, size, w_here, z_here, offset(apart, first), offsets(old, first), offsets(new, first), vectors)


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
