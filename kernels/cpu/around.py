"""What stands around the loops of a small layer, in one compiled function each: packing, and sums for the gradients.

Numbers are those of product.py and sums.py, one by one. What is saved is Python between them, which in a small layer
takes as long as the arithmetic, and handing over each of them to threads. Serves plain cells and affine maps, whose
weights each thread packs for itself.
"""

from __future__ import annotations

import numpy as np

from ..kinds import KINDS, Kind
from . import loops, threads
from .compiling import kernel, shared_kernel
from .desk import share_out
from .intrinsics import address, job_of, lanes, lying, offset
from .product import ROWS, VECTORS, multiply, multiply_transposed, pack_columns, pack_rows, pack_vector, padded_columns
from .recurrence import BLOCK_BYTES
from .rows import clear, copy, multiples
from .scratch import LINE
from .sums import cut, outer_share, row_share
from .unpacked import FEW, multiply_unpacked

PRODUCTS, APART = tuple(kind.products[0] for kind in KINDS), tuple(kind.apart for kind in KINDS)
OWN = tuple(kind.places[-1] if kind.apart else 0 for kind in KINDS)  # the block of a product that stays apart
OWN_BYTES = 1 << 21  # of weights that each thread packs for itself; of more, caches that threads share should have one


def serves(about: Kind, own: int, size: int, operations: float) -> bool:
    """Whether a cell is plain enough, of units that see all others, and so many operations are for one thread."""
    return about.even and own == size and threads.shares(2, operations) == 1


@shared_kernel
def aligned(rows, columns, like):
    """Memory that begins on a cache line, without which each vector of weights that is read would lie in two."""
    room = np.empty(rows * columns + LINE // like.itemsize, like.dtype)
    first = -room.ctypes.data % LINE // like.itemsize
    return room[first : first + rows * columns].reshape(rows, columns)


@shared_kernel
def packed_transpose(w):
    """The transpose of W, packed in memory that begins on a cache line."""
    n, k = w.shape
    packed = aligned(padded_columns(n, address(w, 0)), k, w)
    pack_columns(w, n, packed, 0, _panels(n, w))
    return packed


@kernel
def packed(w):
    """W (K, N) packed as it is."""
    k, n = w.shape
    panels = aligned(padded_columns(n, address(w, 0)), k, w)
    pack_rows(w, n, panels, 0, _panels(n, w))
    return panels


@kernel
def _panels(columns, w):
    """How many panels so many columns take."""
    width = VECTORS * lanes(address(w, 0))
    return (columns + width - 1) // width


@shared_kernel
def multiply_once(a, rows, lda, w, k, c, ldc):
    """C += A W^T for weights W (N, K) that are multiplied once, N in whole vectors unless rows are few: of more, each
    panel is packed in the first caches, and multiplied there. a and c are addresses, of rows so far apart.
    """
    n = len(w)
    if rows <= FEW:
        multiply_unpacked(a, rows, lda, address(w, 0), k, n, c, ldc)
        return
    lane = lanes(c)
    width = min(VECTORS * lane, n)
    panel, block = aligned(width, k, w), np.empty(lane * lane, w.dtype)
    for start in range(0, n, VECTORS * lane):
        wide = min(width, n - start)
        for j in range(0, wide, lane):
            source, target = address(w, (start + j) * k), address(panel, j)
            pack_vector(source, k, lane, target, wide, address(block, 0))
        multiply(a, 1, 0, rows, lda, address(panel, 0), k, wide, offset(c, start), 0, ldc)


@shared_kernel
def total_bias(kind, b_ih, b_hh, size, columns, like):
    """What rows of z start from, as that of sequence.py."""
    bias = np.zeros(columns, like.dtype)
    if b_ih.size > 0:
        both = PRODUCTS[kind] * size
        for j in range(both):
            bias[j] = b_ih[j] + b_hh[j]
        if APART[kind]:
            for j in range(size):
                bias[both + j], bias[OWN[kind] * size + j] = b_ih[both + j], b_hh[both + j]
    return bias


@kernel
def prepare(kind, w_ih, w_hh, b_ih, b_hh, columns):
    """weight_ih packed, weight_hh packed for the first product of a step and for the second, and what z starts from.

    Biases may be empty; ``columns`` are those of a row of z.
    """
    size = w_hh.shape[1]
    both = PRODUCTS[kind] * size
    bias = total_bias(kind, b_ih, b_hh, size, columns, w_hh)
    return packed_transpose(w_ih), packed_transpose(w_hh[:both]), packed_transpose(w_hh[both:]), bias


@shared_kernel
def walk(kind, equations, w_ih, w_hh, b_ih, b_hh, diagonals, columns, x, states, control, span):
    """:func:`loops.walk` with weights that are packed here, and pre-activations that are thrown away unless it keeps
    them.

    Each thread packs for itself: what one processor has written comes slowly to another.
    """
    b0, b1, _, block, keep = span
    w_x, first, second, bias = prepare(kind, w_ih, w_hh, b_ih, b_hh, columns)
    weights, (initial, after, z) = (first, second, diagonals, w_hh.shape[1]), states
    if not keep:
        z = aligned(block * (b1 - b0), columns, x).reshape(block, b1 - b0, columns)
    loops.walk(kind, equations, x, w_x, bias, weights, (initial, after, z), control, span, None)


@kernel
def _walk_part(kind, equations, weights, diagonals, columns, x, states, control, reverse, keep, parts, part):
    """:func:`walk` of one of so many parts of the batch."""
    (steps, batch, _), (w_ih, w_hh, b_ih, b_hh) = x.shape, weights
    b0, b1 = batch * part // parts, batch * (part + 1) // parts
    block = min(max(BLOCK_BYTES // ((b1 - b0) * columns * x.itemsize), 1), steps)
    span = b0, b1, reverse, block, keep
    walk(kind, equations, w_ih, w_hh, b_ih, b_hh, diagonals, columns, x, states, control, span)


@kernel
def shared_walk(desk, kind, equations, weights, diagonals, columns, x, states, control, reverse, keep, parts):
    """The same of all parts, shared out at a desk; ``weights`` are those that :func:`walk` takes one by one."""
    arguments = kind, equations, weights, diagonals, columns, x, states, control, reverse, keep, parts
    if not share_out(desk, job_of(_walk_part, arguments), lying(arguments), parts):
        raise MemoryError("no memory for packed weights and pre-activations")


@kernel
def _product(x, packed_w, b, out, first, last):
    """Rows first to last of out (R, O) = x W + b, for x (R, I) and W packed; b may be empty."""
    rows, outputs = out.shape
    columns = padded_columns(outputs, address(out, 0))
    y = out if columns == outputs else np.empty((rows, columns), out.dtype)
    for row in range(first, last):
        to = address(y, row * columns)
        clear(to, columns)
        copy(to, address(b, 0), b.size)
    loops.rows_times(x, packed_w, y, first, last)
    if columns != outputs:
        for row in range(first, last):
            copy(address(out, row * outputs), address(y, row * columns), outputs)


@kernel
def affine(x, w, b, out):
    """out (R, O) = x W^T + b, for x (R, I) and W (O, I); b may be empty."""
    _product(x, packed_transpose(w), b, out, 0, len(out))


@shared_kernel
def gradients(dz, x, w, dx, dw, db, apart, dzh, h0, hs, reverse, dw_hh, db_hh, share):
    """Those of x, W and b in x W^T + b, from dz (R, O) for rows x (R, I), and where dw_hh is not empty of h W_hh^T.

    The rows are then of T*B sequences at a step, and so are those of hs, the states after it; h0 (B, H) are before the
    first. ``dzh`` is dz unless that product stays ``apart``. What is not asked for is empty, and so may all be that is
    for h. Of each there comes a ``share``, two numbers of sums.SHARES, with the same bits whatever it is.
    """
    if dx.size > 0:
        first, last = cut(len(dx), ROWS, share)
        if dz.shape[1] == 1:  # of one output: each row is a number times the only row of W
            for row in range(first, last):
                multiples(address(dx, row * dx.shape[1]), dz[row, 0], address(w, 0), dx.shape[1])
        else:
            _product(dz, packed(w), db[:0], dx, first, last)
    if dw.size > 0:
        outer_share(dz, x, dz[:0], x[:0], dw, share)
    if db.size > 0:
        row_share(dz, db, share)
    if dw_hh.size > 0:
        rows, batch = hs.shape[0], h0.shape[0]
        if reverse:  # each step started from the state after the step before, and the first from the initial one
            outer_share(dzh[: rows - batch], hs[batch:], dzh[rows - batch :], h0, dw_hh, share)
        else:
            outer_share(dzh[batch:], hs[: rows - batch], dzh[:batch], h0, dw_hh, share)
    if db_hh.size > 0:
        if apart:
            row_share(dzh, db_hh, share)
        else:
            first, last = cut(db.size, lanes(address(db, 0)), share)
            copy(address(db_hh, first), address(db, first), last - first)


@kernel
def stack_products(a, b, c, left, right):
    """C (N, M, padded L) = A B, for A (N, M, K) and B (N, K, L), or for ``left`` and ``right`` their transposes."""
    rows, columns = c.shape[1:]
    wide, k = b.shape[1] if right else b.shape[2], a.shape[1] if left else a.shape[2]
    packed, panels = aligned(columns, k, c), _panels(columns, c)
    for n in range(len(c)):
        clear(address(c, n * rows * columns), rows * columns)
        if left:
            multiply_transposed(a[n], b[n], c[n], 0, rows)
        else:
            if right:
                pack_columns(b[n], wide, packed, 0, panels)
            else:
                pack_rows(b[n], wide, packed, 0, panels)
            loops.rows_times(a[n], packed, c[n], 0, rows)
