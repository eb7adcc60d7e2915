"""A small layer's whole way forward in one compiled call: few steps of few sequences, as the step of a single cell.

Numbers are those of loops.py, one by one. Here the calls from Python take longer than the arithmetic, and so would
packing weights that are multiplied by few rows (unpacked.py). In a single step of a wide layer too: each thread packs
no more than it multiplies at once.
"""

from __future__ import annotations

import numpy as np

from ..kinds import KINDS, PARTS, Kind
from . import threads
from .arguments import NEVER
from .around import PRODUCTS, multiply_once, packed_transpose, total_bias
from .compiling import kernel, shared_kernel
from .host import TILE
from .intrinsics import address, addresses, all_parts, call_at, lanes, offset
from .product import multiply
from .recurrence import (
    APART,
    BLOCK_BYTES,
    PLACE,
    SECOND,
    TURNS,
    first_product,
    may_be_infinite,
    room_beyond,
    second_product,
    slots_of,
    state_after,
)
from .rows import copy
from .unpacked import FEW

PACKING = 8  # rows with which products take as long as packing does
ONCE = 64  # rows of a single step with which it takes as long to pack weights for all threads as for each
GATES = tuple(kind.gates for kind in KINDS)


def serves(about: Kind, own: int, size: int, inputs: int, steps: int, batch: int, row_bytes: int) -> bool:
    """Whether a call is small enough, of units that see ``own`` others, whose rows of z take so many bytes."""
    rows = steps * batch
    if not about.even or own != size:
        return False
    if rows <= FEW:
        return True
    work = 2.0 * size * (inputs * about.gates + size * len(about.places))  # operations of a row
    return rows * row_bytes <= BLOCK_BYTES and max(rows, PACKING) * work < threads.SERIAL_BELOW


def multiplies_once(size: int, steps: int, batch: int, itemsize: int) -> bool:
    """Whether weights meet so few rows in a single step that each thread had better pack a panel when it comes to it,
    as :func:`walk` does where no product has padding.
    """
    return steps == 1 and FEW < batch <= ONCE and size % TILE.lanes(itemsize) == 0


@shared_kernel
def walk(kind, equations, w_ih, w_hh, b_ih, b_hh, diagonals, x, initial, after, z, reverse):
    """The states ``after`` every step of x (T, B, I), from the ``initial`` one (B, H); biases may be empty.

    z (T, B, N) gets what a way back needs. False, and nothing is done, where an array does not fit the others.
    """
    (steps, batch, inputs), size, columns = x.shape, w_hh.shape[1], z.shape[2]
    rows, apart = steps * batch, batch * size
    few = rows <= FEW or (steps == 1 and size % lanes(address(z, 0)) == 0)
    if not _fit(kind, w_ih, w_hh, b_ih, b_hh, x, initial, after, z):
        return False
    bias = total_bias(kind, b_ih, b_hh, size, columns, x)
    both, whole = PRODUCTS[kind] * size, GATES[kind] * size
    w_x = packed_transpose(w_ih[: 0 if few else whole])
    w_first = packed_transpose(w_hh[: 0 if few else both])
    w_second = packed_transpose(w_hh[whole if few else both :])
    for row in range(rows):
        copy(address(z, row * columns), address(bias, 0), columns)
    if few:
        multiply_once(address(x, 0), rows, inputs, w_ih[:whole], inputs, address(z, 0), columns)
    else:
        multiply(address(x, 0), 1, 0, rows, inputs, address(w_x, 0), inputs, w_x.shape[0], address(z, 0), 0, columns)
    beyond, slots = np.empty(room_beyond(address(z, 0), 0 if few else batch), x.dtype), slots_of(kind, after[1])
    before, results = all_parts(addresses(initial, 0), apart), all_parts(addresses(after, 0), slots * apart)
    wild = not few and may_be_infinite(kind, before[0], size, batch)
    for k in range(steps):
        t = steps - 1 - k if reverse else k
        old = before if k == 0 else state_after(results, t + 1 if reverse else t - 1, slots, apart)
        here, h = address(z, t * batch * columns), old[0]
        if few:
            multiply_once(h, batch, size, w_hh[:both], size, here, columns)
            if APART[kind]:
                to = offset(here, PLACE[kind] * size)
                multiply_once(h, batch, size, w_hh[both : both + SECOND[kind] * size], size, to, columns)
        else:
            first_product(
                kind, h, h, size, address(w_first, 0), w_first.shape[0], size, here, columns, size, batch, h,
                address(beyond, 0), wild,
            )  # fmt: skip
            second_product(
                kind, 0, h, h, size, address(w_second, 0), w_second.shape[0], here, columns, address(bias, 0),
                w_x.shape[0], address(diagonals, 0), size, False, address(NEVER, 0), batch, h, address(beyond, 0),
                wild,
            )  # fmt: skip
        call_at(
            equations,
            (
                kind, here, columns, old, state_after(results, t, slots, apart), address(diagonals, 0), size, size,
                False, address(NEVER, 0), batch,
            ),
        )  # fmt: skip
    return True


@kernel
def _fit(kind, w_ih, w_hh, b_ih, b_hh, x, initial, after, z):
    """Whether the shapes of all arrays are those of one call."""
    (steps, batch, inputs), (products, size), whole = x.shape, w_hh.shape, w_ih.shape[0]
    fits = whole == GATES[kind] * size and products == whole and w_ih.shape[1] == inputs
    fits = fits and b_ih.size == b_hh.size and (b_ih.size == whole or b_ih.size == 0)
    for part in range(PARTS[kind]):
        kept = after[part].shape[0] if part > 0 else steps
        fits = fits and initial[part].shape == (batch, size) and after[part].shape == (kept, batch, size)
        fits = fits and (kept == steps or kept == min(TURNS, steps))
    return fits and z.shape[0] == steps and z.shape[1] == batch
