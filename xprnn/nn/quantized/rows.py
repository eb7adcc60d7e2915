"""Weights as numbers of 8 bits, and what layers of them have in common."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from xprnn.backend import Array, backend_of, to_numpy
from xprnn.engine.int8 import LARGEST, LEAST, MOST_INPUTS
from xprnn.tape import is_recorded
from xprnn.tensor import Parameter, Tensor


def coded(owner: str, name: str, weight: Tensor) -> tuple[Parameter, Parameter]:
    """Codes (N, K) int8 and scales (N,) float32 of a weight (N, K), beside it: each row's largest number is 127.

    Raises ValueError for numbers that are not finite, and rows that are too long for sums of 32 bits.
    """
    home, w = backend_of(weight.data), to_numpy(weight.data).astype(np.float32)
    if not np.isfinite(w).all():
        raise ValueError(f"{owner}: {name} holds numbers that are not finite")
    if w.shape[1] > MOST_INPUTS:
        raise ValueError(f"{owner}: {name} has {w.shape[1]} columns; expected at most {MOST_INPUTS}")
    top = np.abs(w).max(axis=1)
    good = top > LEAST
    safe = np.where(good, top, np.float32(1.0))
    codes = np.where(good[:, None], np.rint(w * (np.float32(LARGEST) / safe)[:, None]), 0.0).astype(np.int8)
    scales = np.where(good, safe / np.float32(LARGEST), np.float32(0.0))
    return frozen(home.asarray(codes)), frozen(home.asarray(scales))


def frozen(array: Array) -> Parameter:
    """A Parameter that no optimizer moves."""
    return Parameter(array, requires_grad=False)


def refuse_gradients(owner: str, tensors: Iterable[Tensor]) -> None:
    """Raise RuntimeError where a gradient is asked for."""
    if is_recorded(tensors):
        raise RuntimeError(
            f"{owner}: a gradient is asked for, but weights of 8 bits only infer: train the model in float32 and "
            "quantize it again; to infer, call it under no_grad() or with an x that requires no gradient"
        )
