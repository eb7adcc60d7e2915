"""What a step does around its equations, in every loop: the state that it starts from, and its second product."""

from __future__ import annotations

from ..kinds import FIRST_GENERAL, KINDS, PARTS
from .bf16 import deep, lowered, operand
from .compiling import inlined_kernel, kernel
from .intrinsics import call_at, lanes, offset, offsets_apart
from .product import multiply, padded_columns
from .rows import clear, copy, copy_rows, finite

APART, BETWEEN = tuple(kind.apart for kind in KINDS), tuple(kind.between for kind in KINDS)
GATES, KEPT = tuple(kind.gates for kind in KINDS), tuple(kind.kept for kind in KINDS)
FIRST, SECOND = (tuple(kind.products[number] for kind in KINDS) for number in range(2))
PLACE = tuple(kind.places[-kind.second] if kind.second else 0 for kind in KINDS)
BLOCK_BYTES = 1 << 18  # of pre-activations computed ahead: they must still be in the cache when their step comes
TURNS = 2  # steps that take turns where parts of a state are not kept: one before and one after each step


@kernel
def slots_of(kind, others):
    """Of how many steps there is room for parts of a state but h: of all, or of the last two, which take turns."""
    return others.shape[0] // max(PARTS[kind] - 1, 1)


@kernel
def state_after(after, t, slots, apart):
    """Where the parts of the state after step t lie; those of two steps are ``apart`` elements apart."""
    return offsets_apart(after, t * apart, t % max(slots, 1) * apart)


@inlined_kernel
def restarted(source, target, restart, rows, size):
    """Copy a part of the state to ``target``, where it is zero in rows in which a new sequence begins."""
    for b in range(rows):
        if restart[b] == 0:
            copy(offset(target, b * size), offset(source, b * size), size)
        else:
            clear(offset(target, b * size), size)


@inlined_kernel
def state_before(kind, k, t, reverse, initial, after, slots, apart, restarts, restart, spare, rows, size):
    """Where the parts of the state lie that step t starts from, the k-th: of the initial one, or of another step's.

    Where there are restarts, it is a copy in ``spare``, and zero in rows where a new sequence begins.
    """
    old = initial if k == 0 else state_after(after, t + 1 if reverse else t - 1, slots, apart)
    if not restarts:
        return old
    for part in range(PARTS[kind]):
        restarted(old[part], spare[part], restart, rows, size)
    return spare


@kernel
def room_beyond(z, rows):
    """How many numbers there may be ``beyond`` products of some rows: fewer than a vector has, of each row."""
    return rows * lanes(z)


@kernel
def may_be_infinite(kind, h, size, rows):
    """Whether h may be at some step while others of its row are finite, where padding lies among others' columns.

    From a finite h GRUs and MGUs come to a finite one; of functions that are chosen nobody knows.
    """
    return SECOND[kind] > 0 and (kind >= FIRST_GENERAL or not finite(h, size, rows, size))


@inlined_kernel
def _among_others(h, h_step, size, h_here, h_row, rows, w, w_columns, z, columns, used, beyond, wild):
    """The product with h, whose padding adds zeros to what is not of its ``used`` columns: these would be NaN where h
    is infinite, so that what lies there is put ``beyond`` and back.
    """
    end, over = offset(z, used), w_columns - used
    apart = wild and over > 0 and not finite(h, h_step, rows, size)
    if apart:
        copy_rows(beyond, over, end, columns, rows, over)
    multiply(h_here, 1, 0, rows, h_row, w, deep(w, size), w_columns, z, 0, columns)
    if apart:
        copy_rows(end, columns, beyond, over, rows, over)


@inlined_kernel
def first_product(kind, h, h_here, h_row, w, w_columns, own, z, columns, size, rows, space, beyond, wild):
    """The product with h that is added to the gates, of all units; or of heads of ``own`` units, each with its own.

    ``h_here`` is h as products take it, in rows ``h_row`` apart; ``wild`` says whether it :func:`may_be_infinite`. What
    lies where products have padding, be it of another gate or of other heads, is kept in :func:`room_beyond`.
    """
    if SECOND[kind]:
        used = FIRST[kind] * size
        _among_others(h, size, size, h_here, h_row, rows, w, w_columns, z, columns, used, beyond, wild)
        return
    if own == size:
        multiply(h_here, 1, 0, rows, h_row, w, deep(w, size), w_columns, z, 0, columns)
        return
    heads, wide, k = size // own, padded_columns(own, z), deep(w, own)
    apart = wide > own and not finite(h, size, rows, size)
    for head in range(heads):
        part = operand(offset(h, head * own), 1, 0, rows, size, own, space, w)
        for block in range(head, w_columns // wide, heads):
            matrix, to = offset(w, block * wide * k), offset(z, block * own)
            if apart:
                copy_rows(beyond, wide - own, offset(to, own), columns, rows, wide - own)
            multiply(part, 1, 0, rows, lowered(w, size, k), matrix, k, wide, to, 0, columns)
            if apart:
                copy_rows(offset(to, own), columns, beyond, wide - own, rows, wide - own)


@inlined_kernel
def heads_back(d, inner, w, gates_back, own, dh, dh_columns, size, rows, space, beyond):
    """The way back of it, where there are heads: dh += d W, for so many blocks of d."""
    heads, wide, k = size // own, padded_columns(own, dh), deep(w, own)
    apart = wide > own and not finite(d, inner, rows, gates_back * size)
    for block in range(gates_back * heads):
        part, to = operand(offset(d, block * own), 1, 0, rows, inner, own, space, w), offset(dh, block % heads * own)
        matrix = offset(w, block * wide * k)
        if apart:
            copy_rows(beyond, wide - own, offset(to, own), dh_columns, rows, wide - own)
        multiply(part, 1, 0, rows, lowered(w, inner, k), matrix, k, wide, to, 0, dh_columns)
        if apart:
            copy_rows(offset(to, own), dh_columns, beyond, wide - own, rows, wide - own)


@inlined_kernel
def second_product(
    kind, reset, h_old, h, h_row, w, w_columns, z, columns, bias, input_columns, diagonals, size, held, advance, rows,
    space, beyond, wild,
):  # fmt: skip
    """The product with h that stays apart from the sum, or waits for r: a GRU's for n alone, or all that is normalised.

    ``h_old`` goes into it, and ``h`` is that as products take it, in rows ``h_row`` apart. ``input_columns`` says how
    many columns of z the input product added to. The equations of ``reset`` lie there, and are given ``diagonals``.
    """
    deep_size = deep(w, size)
    if APART[kind]:
        own = offset(z, PLACE[kind] * size)
        if input_columns > GATES[kind] * size:  # zeros that it added beside its gates are NaN where x is infinite
            for b in range(rows):
                copy(offset(own, b * columns), offset(bias, PLACE[kind] * size), SECOND[kind] * size)
        multiply(h, 1, 0, rows, h_row, w, deep_size, w_columns, own, 0, columns)
    elif BETWEEN[kind]:
        n, product = offset(z, (GATES[kind] - 1) * size), offset(z, (KEPT[kind] - 1) * size)
        call_at(reset, (z, product, columns, h_old, diagonals, size, held, advance, rows))
        given = operand(product, 1, 0, rows, columns, size, space, w)
        row, used = lowered(w, columns, deep_size), SECOND[kind] * size
        _among_others(product, columns, size, given, row, rows, w, w_columns, n, columns, used, beyond, wild)
