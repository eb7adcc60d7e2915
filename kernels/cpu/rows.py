"""Rows of numbers copied, cleared and added, and their products added."""

from __future__ import annotations

import math

from .compiling import kernel
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


@kernel
def finite(a, step, rows, size):
    """Whether all numbers of some rows are."""
    wrong = 0
    for row in range(rows):
        for j in range(size):
            wrong += not math.isfinite(a[row * step + j])
    return wrong == 0


@kernel
def clear(target, size):
    """target[:size] = 0."""
    for j in range(size):
        target[j] = 0


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
