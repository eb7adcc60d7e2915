"""A sequence that is alone, without a way back: all steps in registers (units.py), weights packed in the same call.

Numbers are those of loops.py, one by one. With one row, each product waits for weights to come from the second cache,
and what stands around it counts: pre-activations that are stored and read again, packing, calls from Python. Hence
weights are brought into the order of units.py here, in compiled code; streams, which are opened once, have ``by_unit``
and ``panels`` there, and need no function to be compiled for it.
"""

from __future__ import annotations

import numpy as np

from ..kinds import KINDS, PARTS
from . import units
from .around import aligned, total_bias
from .compiling import kernel, shared_kernel
from .intrinsics import address, addresses, all_parts, lanes, offsets, spread
from .product import VECTORS, multiply, pack_block, pack_vector, padded_columns
from .recurrence import slots_of, state_after
from .rows import copy

KEPT = tuple(kind.kept for kind in KINDS)


@kernel
def _packed(w, count, size, columns, width):
    """W (count*H, K), packed in panels so ``width`` of columns in the order of units.py."""
    k, lane, whole = w.shape[1], units.in_vector(size, w.itemsize), lanes(address(w, 0))
    block = np.empty(whole * whole, w.dtype)
    packed = aligned(columns, k, w)
    for j in range(0, columns, lane):
        unit, gate = j // lane // count * lane, j // lane % count
        start = j // width * width
        target = address(packed, start * k + j - start)
        rows = address(w, (gate * size + unit) * k)
        if lane == whole:
            pack_vector(rows, k, size - unit, target, min(width, columns - start), address(block, 0))
        else:
            pack_block(rows, k, size - unit, target, min(width, columns - start), k, lane)
    return packed


@kernel
def _by_unit(numbers, count, size, target):
    """Numbers (count*H) in that order, and zeros for the units that fill up the last vector."""
    lane = units.in_vector(size, target.itemsize)
    for vector in range(count * ((size + lane - 1) // lane)):
        unit, gate = vector // count * lane, vector % count
        for j in range(lane):
            target[vector * lane + j] = numbers[gate * size + unit + j] if unit + j < size else 0


@shared_kernel
def walk(kind, w_ih, w_hh, b_ih, b_hh, x, initial, after, reverse, block):
    """The states ``after`` every step, from the ``initial`` one; biases may be empty.

    The input product is done for a ``block`` of steps at a time.
    """
    size, gates, products = w_hh.shape[1], units.GATES[kind], units.PRODUCTS[kind]
    stride = units.room(size, x.itemsize)
    columns = padded_columns(gates * stride, address(x, 0))
    tile = units.width(kind, size, x.itemsize) * products * units.in_vector(size, x.itemsize)
    packed_ih = _packed(w_ih, gates, size, columns, VECTORS * lanes(address(x, 0)))
    packed_hh = _packed(w_hh, products, size, products * stride, tile)
    total = total_bias(kind, b_ih, b_hh, size, KEPT[kind] * size, w_hh)
    bias = np.zeros(columns + stride, x.dtype)  # and what a product that stays apart starts from
    _by_unit(total[: gates * size], gates, size, bias)
    _by_unit(total[gates * size :], KEPT[kind] - gates, size, bias[columns:])
    states = aligned(2 * PARTS[kind], stride, x)
    for part in range(PARTS[kind]):
        copy(address(states, part * stride), all_parts(addresses(initial, 0), size)[part], size)
    _steps(kind, x, packed_ih, packed_hh, bias, states, aligned(block, columns, x), after, reverse)


@kernel
def _steps(kind, x, w_ih, w_hh, bias, states, z, after, reverse):
    """The same of packed weights. ``states`` (2 S, R) are the old parts and the new ones, in whole vectors."""
    steps, inputs, size, (block, columns) = x.shape[0], x.shape[2], after[0].shape[2], z.shape
    parts, stride = states.shape[0] // 2, states.shape[1]
    slots, back = slots_of(kind, after[1]), -1 if reverse else 1
    results, only = all_parts(addresses(after, 0), slots * size), inputs == 1
    all_kept = parts > 1 and slots == steps
    whole = steps - (stride - 1) // size if not reverse else steps if stride == size else 0
    w, w_x, apart = address(w_hh, 0), address(w_ih, 0), address(bias, columns)
    old, new = spread(address(states, 0), stride), spread(address(states, parts * stride), stride)
    for begin in range(0, steps, block):
        count = min(block, steps - begin)
        first, low = (steps - 1 - begin, steps - begin - count) if reverse else (begin, begin)
        if not only:
            for row in range(count):
                copy(address(z, row * columns), address(bias, 0), columns)
            x_here = address(x, low * inputs)
            multiply(x_here, 1, 0, count, inputs, w_x, inputs, columns, address(z, 0), 0, columns)
        z_here = address(bias, 0) if only else address(z, (first - low) * columns)
        units.steps(
            kind, size, w, z_here, 0 if only else back * columns, only, address(x, first * inputs), back, w_x, apart,
            old, new, offsets(results, first * size), 2 if all_kept else 1, back * size, count, whole - begin,
            begin,
        )  # fmt: skip
        if count & 1:
            old, new = new, old
    last = state_after(results, 0 if reverse else steps - 1, slots, size)
    for part in range(1, parts):
        copy(last[part], old[part], size)
