"""Equal arrays laid out differently in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]


def contiguous(array: Host) -> Host:
    """C order."""
    return np.array(array, order="C")


def transposed(array: Host) -> Host:
    """Fortran order."""
    return np.array(array, order="F")


def strided(array: Host) -> Host:
    """Every other element of a wider array, with NaN in between."""
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, dtype=array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def backward(array: Host) -> Host:
    """Negative strides along the last axis."""
    return np.array(array[..., ::-1], order="C")[..., ::-1]


def read_only(array: Host) -> Host:
    """C order, not writeable."""
    fixed = array.copy()
    fixed.flags.writeable = False
    return fixed


LAYOUTS = (contiguous, transposed, strided, backward, read_only)
