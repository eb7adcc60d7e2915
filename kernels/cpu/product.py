"""Matrix products over packed weights: rows of A times W, added to rows of C.

Packing lays W (K, N) out in panels of as many columns as a tile has, each panel contiguous; the last one has as few
vectors as hold its columns, and zeros where there are none. ``multiply`` therefore adds zeros to the columns from N to
``padded(N)``, which C must have.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload, register_jitable

from . import threads
from .compiling import kernel, shared_kernel
from .host import BF16_DOT, IN_FLIGHT, TILE
from .intrinsics import address, copy_tile, copy_vector, lanes, make_tile, offset, transpose
from .scratch import lined

Array = np.ndarray[Any, Any]
VECTORS = TILE.vectors  # of a whole panel
VECTOR_BYTES = TILE.vector_bytes
ROWS = 6  # of a whole tile
FEWEST = -(-IN_FLIGHT // VECTORS)  # rows of a tile that keeps the processor busy
# Rows of B in a block. To begin a tile and to end it takes as long whatever it holds: of fewer vectors, it goes deeper.
DEPTH = 512 // VECTORS
# Bytes of a row of A^T whose numbers are read where they lie, each row from another line: with fewer vectors, sooner.
NARROW = 256 * VECTORS
PANELS = 1 << 14  # bytes of panels that a tile passes over at a time: they stay in the first cache for the next one
TILES = 1 << 18  # bytes of A^T in a block: in tiles, they stay in the second cache while all panels of B pass over them
TOGETHER = 8  # rows that are packed at a time: enough to write whole lines, few enough to read line after line
_narrow = tuple(range(1, VECTORS + 1))
_t6, _t5, _t4, _t3 = (make_tile(rows, _narrow) for rows in (6, 5, 4, 3))
# Few rows need more columns in flight, to hide the latency of a multiply-add.
_t2 = make_tile(2, (*_narrow, 2 * VECTORS))
_t1 = make_tile(1, (*range(1, 2 * VECTORS + 1), 4 * VECTORS))


@lru_cache
def padded(columns: int, itemsize: int) -> int:
    """How many columns C needs for a W of so many."""
    lanes = TILE.lanes(itemsize)
    return -(-columns // lanes) * lanes


@kernel
def padded_columns(columns, c):
    """The same in compiled code, for C of the type that an address points to."""
    wide = lanes(c)
    return (columns + wide - 1) // wide * wide


class Storage(NamedTuple):
    """How the numbers of packed weights are stored. Compiled code knows it by their type."""

    number: type[np.generic] | None
    """Their type; None for that of the weights."""
    bits: type[np.generic] | None
    """The integers that the weights are read as, to be rounded; None where they are not."""
    group: int = 1
    """Neighbours of K beside each other, for each column."""

    def dtype(self, weights: Any) -> Any:
        """The type of what is stored of weights of a type."""
        return weights if self.number is None else self.number

    def depth(self, k: int) -> int:
        """How many rows a packed W (K, N) has."""
        return -(-k // self.group) * self.group

    def numbers(self, stored: Array) -> Array:
        """The numbers that are stored, one by one."""
        return stored if self.bits is None else (stored.astype(self.bits) << 16).view(np.float32)

    def pack(self, w: Array) -> Array:
        """W (K, N), of any strides, in panels: (padded N, K) elements, of which only the number is in the shape."""
        k, n = w.shape
        if self.group == 2 and w.flags.fnc:
            return _pack_pairs(w.T, self.depth(k)).view(self.number)
        columnwise = w.flags.fnc  # Fortran's order, and not also C's
        flat = plain(w.T if columnwise else w)
        flat = flat if self.bits is None else flat.view(self.bits)
        packed = lined((padded(n, w.itemsize), k), self.number or w.dtype)
        if packed.size == 0:
            return packed
        panels, do = -(-n // TILE.columns(w.itemsize)), pack_columns if columnwise else pack_rows
        threads.share(lambda first, last: do(flat, n, packed, first, last), panels, 16.0 * w.size)
        if self.group == 1:
            return packed
        paired = lined((len(packed), self.depth(k)), packed.dtype)
        threads.share(lambda first, last: _pair(packed, paired, first, last), panels, 16.0 * w.size)
        return paired


EXACT = Storage(None, None)
BFLOAT16 = Storage(np.uint16, np.uint32)
"""Numbers of float32 rounded to the nearest bfloat16, and kept as its 16 bits."""
PAIRED = Storage(np.int16, np.uint32, 2 if BF16_DOT else 1)
"""The same for products whose other operand is rounded too (bf16.py), told apart by the type: in pairs, where the host
has an instruction for these."""
pack = EXACT.pack


def plain(array: Array) -> Array:
    """The array, or a copy: contiguous, aligned, writeable. For any other, Numba would compile everything anew."""
    return array if array.flags.carray else np.array(array, order="C")


def stored(value):
    """A weight as it is packed: itself, or of the bits of a float32 those of the nearest bfloat16."""
    raise NotImplementedError


@overload(stored)
def _stored(value):
    if value != types.uint32:
        return lambda value: value
    return _nearest_bf16


def _nearest_bf16(value):
    """Half of the last place kept is added, and just less than that to an even number; a NaN stays one."""
    if value & 0x7FFFFFFF > 0x7F800000:
        return np.uint16(value >> 16 | 0x40)
    return np.uint16((value + 0x7FFF + (value >> 16 & 1)) >> 16)


@kernel
def pack_rows(w, n, packed, first, last):
    """Panels first to last of W, whose rows are contiguous."""
    columns, k = packed.shape
    width = VECTORS * lanes(address(w, 0))
    for low in range(0, k, TOGETHER):
        for panel in range(first, last):
            start = panel * width
            wide = min(width, columns - start)
            for row in range(low, min(low + TOGETHER, k)):
                source, target = address(w, row * n + start), address(packed, start * k + row * wide)
                if n - start >= width:  # so many that it takes no loop
                    _copy(source, width, target, width)
                else:
                    _copy(source, n - start, target, wide)


@shared_kernel
def pack_columns(w, n, packed, first, last):
    """The same of a W whose columns are contiguous, as those of a parameter's transpose: w is (N, K)."""
    columns, k = packed.shape
    lane = lanes(address(w, 0))
    width, block = VECTORS * lane, np.empty(lane * lane, w.dtype)
    for panel in range(first, last):
        start = panel * width
        wide = min(width, columns - start)
        for j in range(start, start + wide, lane):
            pack_vector(address(w, j * k), k, n - j, address(packed, start * k + j - start), wide, address(block, 0))


@kernel
def pack_vector(source, k, used, target, wide, block):
    """A vector of columns in a panel that is so ``wide``, from rows (K); ``block`` has room for a square of vectors."""
    lane = lanes(source)
    for low in range(0, k, lane):
        if lane <= used and low + lane <= k:
            _turn_block(offset(source, low), k, offset(target, low * wide), wide, block)
        else:
            pack_block(offset(source, low), k, used, offset(target, low * wide), wide, min(lane, k - low), lane)


@kernel
def pack_block(source, source_step, used, target, target_step, rows, columns):
    """A block of columns to rows; zeros where there are no more columns."""
    for c in range(columns):
        for r in range(rows):
            target[r * target_step + c] = stored(source[c * source_step + r]) if c < used else 0


def _turn_block(source, source_step, target, target_step, block):
    """The same of a square block of whole vectors, by way of another where they are rounded."""
    raise NotImplementedError


@overload(_turn_block)
def _turned_block(source, source_step, target, target_step, block):
    if source.dtype == target.dtype:
        return lambda source, source_step, target, target_step, block: transpose(
            source, source_step, target, target_step
        )

    def rounded(source, source_step, target, target_step, block):
        size = lanes(source)
        transpose(source, source_step, block, size)
        for row in range(size):
            _copy(offset(block, row * size), size, offset(target, row * target_step), size)

    return rounded


def _pack_pairs(w: Array, depth: int) -> Array:
    """The transpose of W (N, K) rounded and packed: neighbours of K are beside each other in its rows, so that two of
    them are moved as if they were a float32.
    """
    n, width = len(w), TILE.columns(4)
    flat, rounded = plain(w).view(np.uint32), np.empty((n, depth), np.uint16)
    pairs = rounded.view(np.float32)
    packed = lined((padded(n, 4), depth // 2), np.float32)

    def work(first: int, last: int) -> None:
        round_rows(flat, rounded, first * width, min(last * width, n))
        pack_columns(pairs, n, packed, first, last)

    threads.share(work, -(-n // width), 32.0 * w.size)
    return packed


@kernel
def round_rows(w, rounded, first, last):
    """Rows first to last of W as they are stored, and zeros behind them."""
    for row in range(first, last):
        _copy(address(w, row * w.shape[1]), w.shape[1], address(rounded, row * rounded.shape[1]), rounded.shape[1])


@kernel
def _pair(packed, paired, first, last):
    """Panels first to last with two neighbours of K beside each other for each column; zeros where there is but one."""
    columns, k = packed.shape
    deep, width = paired.shape[1], VECTORS * VECTOR_BYTES // 4
    for panel in range(first, last):
        start = panel * width
        wide = min(width, columns - start)
        for row in range(0, k, 2):
            source, target = address(packed, start * k + row * wide), address(paired, start * deep + row * wide)
            if row + 1 < k:
                for j in range(wide):
                    target[2 * j], target[2 * j + 1] = source[j], source[wide + j]
            else:
                for j in range(wide):
                    target[2 * j], target[2 * j + 1] = source[j], 0


@shared_kernel
def _panels(a, row, step, apart, rows, w, k, c, ldc, vectors, panels):
    """All rows of one panel, or of some whole ones. Of A, packed tiles of six rows begin ``apart`` elements from each
    other; with 0, rows lie in a line, and the last ones that are more than a tile but too few for another are halved.
    """
    while rows > 0:
        taken = (rows + 1) // 2 if apart == 0 and ROWS < rows < ROWS + FEWEST else min(rows, ROWS)
        if taken == 6:
            _t6(a, row, step, w, k, c, ldc, vectors, panels)
        elif taken == 5:
            _t5(a, row, step, w, k, c, ldc, vectors, panels)
        elif taken == 4:
            _t4(a, row, step, w, k, c, ldc, vectors, panels)
        elif taken == 3:
            _t3(a, row, step, w, k, c, ldc, vectors, panels)
        elif taken == 2:
            _t2(a, row, step, w, k, c, ldc, vectors, panels)
        else:
            _t1(a, row, step, w, k, c, ldc, vectors, panels)
        a, c = offset(a, taken * row if apart == 0 else apart), offset(c, taken * ldc)
        rows -= taken


@shared_kernel
def multiply(a, groups, group_stride, rows, lda, w, k, columns, c, c_group_stride, ldc):
    """C += A W, for ``groups`` groups of ``rows`` rows. a, w, c are addresses, strides and columns count elements.

    Groups let one pass over the weights serve several steps of a sequence whose rows do not follow each other.
    """
    wide = lanes(c)
    left, together = columns // wide, PANELS // max(k * VECTORS * VECTOR_BYTES, 1)
    while left > 0:
        vectors = min(left, VECTORS)
        if groups == 1 and rows == 1:
            vectors = 4 * VECTORS if left >= 4 * VECTORS else min(left, 2 * VECTORS)
            _t1(a, lda, 1, w, k, c, ldc, vectors, 1)
        elif groups == 1 and rows == 2 and left >= 2 * VECTORS:
            vectors = 2 * VECTORS
            _t2(a, lda, 1, w, k, c, ldc, vectors, 1)
        else:
            panels = max(min(left // VECTORS, together), 1)
            for g in range(groups):
                here, to = offset(a, g * group_stride), offset(c, g * c_group_stride)
                _panels(here, lda, 1, 0, rows, w, k, to, ldc, vectors, panels)
            vectors *= panels
        w, c = offset(w, vectors * wide * k), offset(c, vectors * wide)
        left -= vectors


@kernel
def multiply_transposed(a, b, c, first, last):
    """C[first:last] += (A^T B)[first:last], for A (K, M), B (K, N), C (M, padded N): a sum of outer products."""
    multiply_transposed_part(a, b, c, first, last, 0, b.shape[1])


@shared_kernel
def multiply_transposed_part(a, b, c, first, last, low_column, high_column):
    """The same of some columns of C alone, from the beginning of a vector on.

    Both are packed a block of K at a time: B in panels that stay in the first cache while all rows of C pass over them,
    A in tiles, since a column of it would take a cache line, and maybe the same set of lines, for each number. What is
    narrow goes without: a B that is one panel as it is, and an A whose rows are a few lines.
    """
    size, columns = b.shape
    lane, across, used = VECTOR_BYTES // b.itemsize, a.shape[1], high_column - low_column
    width, high = VECTORS * lane, TILES // (DEPTH * a.itemsize) // ROWS * ROWS
    packed_a, packed_b = across * a.itemsize > NARROW, columns > width or columns % lane != 0 or used < columns
    panels = np.empty(DEPTH * (used + lane) if packed_b else 0, b.dtype)
    tiles = np.empty(DEPTH * min(-(-(last - first) // ROWS) * ROWS, high) if packed_a else 0, a.dtype)
    for low in range(0, size, DEPTH):
        depth = min(DEPTH, size - low)
        right = address(b, low * columns + low_column)
        if packed_b:
            _pack_panels(right, columns, depth, used, address(panels, 0))
            right = address(panels, 0)
        for row in range(first, last, high):
            rows = min(high, last - row)
            left, step, apart = address(a, low * across + row), across, 0
            if packed_a:
                _pack_tiles(left, across, depth, rows, address(tiles, 0))
                left, step, apart = address(tiles, 0), ROWS, depth * ROWS
            for start in range(0, used, width):
                vectors = -(-min(width, used - start) // lane)
                to = address(c, row * c.shape[1] + low_column + start)
                here = offset(right, start * depth)
                _panels(left, 1, step, apart, rows, here, depth, to, c.shape[1], vectors, 1)


@register_jitable(inline="always")  # for Python too
def turns(n, k, rows, like):
    """Whether a sum of d^T y, for d (R, N) and y (R, K) of some type, is taken as the transpose of y^T d.

    What is on the left is packed number by number unless it is narrow, and what is on the right by whole vectors: the
    left is best the narrower one, unless of so few ``rows`` that to turn the sum takes longer. And a panel is best
    filled, if only by the other one; but not if these are panels.
    """
    lane = VECTOR_BYTES // like.itemsize
    return k < n and ((k < VECTORS * lane and k % lane != 0) or (n * like.itemsize > NARROW and rows > DEPTH))


@shared_kernel
def turn(total, out, first, last):
    """Rows first to last of out (N, K) = the transpose of ``total`` (K, padded N), by square blocks of vectors."""
    k, columns, lane = out.shape[1], total.shape[1], lanes(address(out, 0))
    for row in range(first, last, lane):
        for column in range(0, k, lane):
            source, target = address(total, column * columns + row), address(out, row * k + column)
            if row + lane <= last and column + lane <= k:
                transpose(source, columns, target, k)
            else:
                pack_block(source, columns, lane, target, k, min(lane, last - row), min(lane, k - column))


@kernel
def _copy(source, used, target, size):
    """Some numbers, and zeros behind them."""
    for j in range(used):
        target[j] = stored(source[j])
    for j in range(used, size):
        target[j] = 0


@kernel
def _pack_tiles(a, stride, depth, rows, target):
    """So many numbers of each row of A, whose rows are ``stride`` apart, six by six."""
    whole = rows // ROWS
    for low in range(0, depth, TOGETHER):
        high = min(low + TOGETHER, depth)
        for tile in range(whole):
            for k in range(low, high):
                copy_tile(offset(target, (tile * depth + k) * ROWS), offset(a, k * stride + tile * ROWS))
        for k in range(low, high):
            for r in range(whole * ROWS, rows):
                target[(whole * depth + k) * ROWS + r - whole * ROWS] = a[k * stride + r]


@kernel
def _pack_panels(b, stride, depth, used, target):
    """So many columns of B, whose rows are ``stride`` apart, in panels; zeros where the last vector has no more."""
    lane = lanes(b)
    width = VECTORS * lane
    for low in range(0, depth, TOGETHER):
        high = min(low + TOGETHER, depth)
        for start in range(0, used, width):
            here, source, to = min(width, used - start), offset(b, start), offset(target, start * depth)
            wide = -(-here // lane) * lane
            for k in range(low, high):
                if here == width:
                    for v in range(VECTORS):
                        copy_vector(offset(to, k * width + v * lane), offset(source, k * stride + v * lane))
                else:
                    _copy(offset(source, k * stride), here, offset(to, k * wide), wide)


@shared_kernel
def add_rows(a, total, first, last):
    """total[first:last] += the sum of the rows of A, in those columns; block by block, since long sums lose digits."""
    part = total[first:last]
    block = np.empty_like(part)
    for low in range(0, a.shape[0], DEPTH):
        block[:] = 0
        for k in range(low, min(low + DEPTH, a.shape[0])):
            row = a[k, first:last]
            for j in range(block.size):
                block[j] += row[j]
        for j in range(part.size):
            part[j] += block[j]
