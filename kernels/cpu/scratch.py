"""Large arrays that no result keeps, used again: memory new from the system costs a tenth of a training step."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

KEPT_BYTES = 1 << 26  # a larger array is not held on to

_kept = threading.local()


def scratch(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """An array of any content; it is lost when this thread asks for the same name again."""
    dtype = np.dtype(dtype)
    count = math.prod(shape)
    if count * dtype.itemsize > KEPT_BYTES:
        return np.empty(shape, dtype)
    key = f"{name} {dtype}"
    array: np.ndarray[Any, Any] | None = getattr(_kept, key, None)
    if array is None or array.size < count:
        array = np.empty(count, dtype)
        setattr(_kept, key, array)
    return array[:count].reshape(shape)
