"""What is asked of one array of any library: a copy, a sum, a copy on the host. NumPy's own take the shortest way."""

from __future__ import annotations

from typing import Any

import array_api_compat as compat
import numpy as np

from xprnn.backend.namespaces import Array, is_ours, library, namespace


def copied(array: Array) -> Array:
    """A copy, contiguous in the order of its axes."""
    return array.copy() if type(array) is np.ndarray else namespace(array).asarray(array, copy=True)


def ones_like(array: Array) -> Array:
    """Ones of the shape, library, device and dtype of an array."""
    if type(array) is not np.ndarray:
        return namespace(array).ones_like(array)
    ones = np.empty(array.shape, array.dtype)
    ones.fill(1)  # takes half of the time of np.ones
    return ones


def summed(array: Array) -> Array:
    """The sum of all numbers."""
    if type(array) is np.ndarray:  # likewise
        return np.add.reduce(array, axis=None)
    return namespace(array).sum(array)


def reshaped(array: Array, shape: tuple[int, ...]) -> Array:
    """The same elements in another shape; one length may be -1."""
    return array.reshape(shape) if type(array) is np.ndarray else namespace(array).reshape(array, shape)


def to_numpy(array: Any) -> np.ndarray[Any, Any]:
    """Copy an array, or a Tensor's data, to the host. A NumPy array is returned as it is."""
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "numpy"):  # a Tensor of ours, and also one of PyTorch's
        return np.asarray(array.numpy())
    if compat.is_cupy_array(array):
        return np.asarray(array.get())
    if (nulls := _nulls(array)) > 0:
        raise ValueError(f"the {type(array).__name__} has {nulls} nulls, which no array can hold: fill or drop them")
    if hasattr(array, "__dlpack__") and not hasattr(array, "__array__") and not is_ours(array):
        return np.from_dlpack(array)
    if is_ours(array) or not hasattr(array, "__array__"):  # the rest are of other libraries, which know how
        xp = namespace(array)
        if library(xp) == "array_api_strict":
            array = compat.to_device(array, xp.Device("CPU_DEVICE"))
    return np.asarray(array)


def _nulls(array: Any) -> int:
    """How many numbers an Arrow array lacks, which would be NaN in NumPy."""
    if not hasattr(array, "__arrow_c_array__") and not hasattr(array, "__arrow_c_stream__"):
        return 0
    count = getattr(array, "null_count", 0)
    count = count() if callable(count) else count  # a method in Polars
    return count if isinstance(count, int) else 0  # that of a table is a table
