"""What a step does around its equations, in every loop: the state that it starts from, and its second product."""

from __future__ import annotations

from ..kinds import KINDS, PARTS
from . import gates
from .compiling import inlined_kernel
from .intrinsics import offset, offsets
from .product import multiply, padded_columns
from .rows import clear, copy

APART, BETWEEN = tuple(kind.apart for kind in KINDS), tuple(kind.between for kind in KINDS)
GATES, KEPT = tuple(kind.gates for kind in KINDS), tuple(kind.kept for kind in KINDS)
SECOND = tuple(kind.second for kind in KINDS)
PLACE = tuple(kind.places[-kind.second] if kind.second else 0 for kind in KINDS)


@inlined_kernel
def state_before(kind, k, t, reverse, initial, after, apart, restarts, restart, spare, rows, size):
    """Where the parts of the state lie that step t starts from, the k-th: of the initial one, or of another step's.

    States after steps are ``apart`` elements apart. Where there are restarts, it is a copy in ``spare``, and zero in
    rows where a new sequence begins.
    """
    old = initial if k == 0 else offsets(after, (t + 1 if reverse else t - 1) * apart)
    if not restarts:
        return old
    for part in range(PARTS[kind]):
        source, target = old[part], spare[part]
        for b in range(rows):
            if restart[b] == 0:
                copy(offset(target, b * size), offset(source, b * size), size)
            else:
                clear(offset(target, b * size), size)
    return spare


@inlined_kernel
def first_product(h_old, w, w_columns, own, z, columns, size, rows):
    """The product with h that is added to the gates, of all units; or of heads of ``own`` units, each with its own."""
    if own == size:
        multiply(h_old, 1, 0, rows, size, w, size, w_columns, z, 0, columns)
        return
    heads, wide = size // own, padded_columns(own, z)
    for block in range(w_columns // wide):  # those of a gate are neighbours
        h = offset(h_old, block % heads * own)
        multiply(h, 1, 0, rows, size, offset(w, block * wide * own), own, wide, offset(z, block * own), 0, columns)


@inlined_kernel
def heads_back(d, inner, w, w_columns, own, dh, dh_columns, size, rows):
    """The way back of it, where there are heads: dh += d W."""
    heads, wide = size // own, padded_columns(own, dh)
    for block in range(w_columns // wide):
        to = offset(dh, block % heads * own)
        multiply(offset(d, block * own), 1, 0, rows, inner, offset(w, block * wide * own), own, wide, to, 0, dh_columns)


@inlined_kernel
def second_product(kind, h_old, w, w_columns, z, columns, bias, input_columns, size, held, advance, rows):
    """The product with h that stays apart from the sum, or waits for r: a GRU's for n alone, or all that is normalised.

    ``input_columns`` says how many columns of z the input product added to.
    """
    if APART[kind]:
        own = offset(z, PLACE[kind] * size)
        if input_columns > GATES[kind] * size:  # zeros that it added beside its gates are NaN where x is infinite
            for b in range(rows):
                copy(offset(own, b * columns), offset(bias, PLACE[kind] * size), SECOND[kind] * size)
        multiply(h_old, 1, 0, rows, size, w, size, w_columns, own, 0, columns)
    elif BETWEEN[kind]:
        n, product = offset(z, (GATES[kind] - 1) * size), offset(z, (KEPT[kind] - 1) * size)
        gates.reset(z, product, columns, h_old, size, held, advance, rows)
        multiply(product, 1, 0, rows, columns, w, size, w_columns, n, 0, columns)
