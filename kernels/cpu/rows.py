"""Rows of numbers copied, cleared and added, and their products added."""

from __future__ import annotations

from .compiling import kernel


@kernel
def copy(target, source, size):
    """target[:size] = source[:size]."""
    for j in range(size):
        target[j] = source[j]


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
