"""Checks of arguments, in the words that all layers and all of training share."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from xprnn.backend import dtype_name, plain
from xprnn.tensor import Tensor


def whole_number(owner: str, name: str, number: Any, least: int = 1) -> int:
    """An integer of Python or NumPy, as Python's. Raises ValueError for anything else and below the least."""
    if isinstance(number, bool) or not isinstance(number, numbers.Integral) or number < least:
        raise ValueError(f"{owner}: {name} is {number!r}; expected an integer of at least {least}")
    return int(number)


def real_number(owner: str, name: str, number: Any, expected: str, low: float = 0.0, high: float = math.inf) -> float:
    """A number of Python or NumPy from low to high, as Python's, whose dtype never widens float32 arrays."""
    if isinstance(number, bool) or not isinstance(number, numbers.Real) or not low <= float(number) <= high:
        raise ValueError(f"{owner}: {name} is {number!r}; expected {expected}")
    return float(number)


def probability(owner: str, name: str, number: Any) -> float:
    """A number from 0 to 1. Raises ValueError for anything else."""
    return real_number(owner, name, number, "a probability from 0 to 1", high=1.0)


def input_tensor(owner: str, name: str, x: Any, dtype: str | None = None) -> Tensor:
    """An argument as a Tensor, with its dtype checked. Raises TypeError naming the layer and the argument."""
    if not isinstance(x, Tensor):
        if not hasattr(x, "shape"):
            raise TypeError(f"{owner}: {name} is a {type(x).__name__}; expected an array or a Tensor")
        x = Tensor(x if type(x) is np.ndarray else plain(f"{owner}: {name}", x))
    if dtype is not None and dtype_name(x.data) != dtype:
        raise TypeError(
            f"{owner}: {name} has dtype {dtype_name(x.data)}; the layer has {dtype}: "
            f"cast {name}, or build the layer with dtype='float64'"
            if dtype_name(x.data) == "float64"
            else f"{owner}: {name} has dtype {dtype_name(x.data)}; expected {dtype}: cast it first"
        )
    return x
