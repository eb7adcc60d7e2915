"""Rows of numbers copied, cleared and added, and their products added."""

from __future__ import annotations

from ..scalar_cells import ZERO
from .compiling import kernel, summing_kernel
from .intrinsics import offset


@kernel
def copy(target, source, size):
    """target[:size] = source[:size]."""
    for j in range(size):
        target[j] = source[j]


@kernel
def copy_rows(target, target_step, source, source_step, rows, size):
    """The same of some rows, which are so far apart."""
    for row in range(rows):
        copy(offset(target, row * target_step), offset(source, row * source_step), size)


@summing_kernel
def finite(a, step, rows, size):
    """Whether all numbers of some rows are: 0 times each is 0 then, and their sum is taken by whole vectors."""
    if step == size:  # rows that follow each other are one
        rows, size = 1, rows * size
    for row in range(rows):
        total, here = ZERO * a[row * step], offset(a, row * step)
        for j in range(1, size):
            total += ZERO * here[j]
        if total != ZERO:  # NaN
            return False
    return True


@kernel
def clear(target, size):
    """target[:size] = 0."""
    for j in range(size):
        target[j] = 0


@kernel
def multiples(target, number, source, size):
    """target[:size] = number source[:size], and 0 in the place of -0, as a sum with 0 has it."""
    for j in range(size):
        target[j] = ZERO + number * source[j]


@kernel
def add(target, source, size):
    """target[:size] += source[:size]."""
    for j in range(size):
        target[j] += source[j]


@kernel
def add_product(target, a, b, size):
    """target[:size] += a[:size] b[:size]."""
    for j in range(size):
        target[j] += a[j] * b[j]


@kernel
def add_times(target, number, source, size):
    """target[:size] += number source[:size]."""
    for j in range(size):
        target[j] += number * source[j]
