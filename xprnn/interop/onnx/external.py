"""Constants that lie in files beside the model, as PyTorch's exporter writes them unless it is told not to."""

from __future__ import annotations

import math
import os
import stat
from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]
Region = tuple[int, int]


class Beside:
    """The files in a model's folder, read where its constants say; of no folder, where the model was no file.

    A file is read no further than what it holds, and each of its bytes for one constant only, so that no more memory
    is taken than the files are long. What has the same bytes of the same type is the same array.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self._folder = folder
        self._read: dict[tuple[str, Region, np.dtype[Any]], Host] = {}
        self._lengths: dict[str, int] = {}
        """How many bytes of each file were read."""

    def array(self, name: str, tensor: Any, dtype: np.dtype[Any]) -> Host:
        """A constant. Raises ValueError, naming it, where it does not lie in a plain file beside the model."""
        if self._folder is None:
            raise ValueError(f"constant {name} lies in another file; load the model from its file, or with its weights")
        says = {entry.key: entry.value for entry in tensor.external_data}
        file = says.get("location", "")
        shape, size = tuple(tensor.dims), math.prod(tensor.dims) * dtype.itemsize
        offset, length = (self._number(name, says, key, default) for key, default in (("offset", 0), ("length", size)))
        if length != size:
            raise ValueError(f"constant {name} has {length} bytes in {file}; {dtype} of shape {shape} takes {size}")
        key = (file, (offset, length), dtype)
        if key not in self._read:
            self._read[key] = self._numbers(name, file, offset, length, dtype)
        return self._read[key].reshape(shape)

    def _number(self, name: str, says: dict[str, str], key: str, default: int) -> int:
        given = says.get(key, str(default))
        if not (given.isascii() and given.isdigit() and len(given) < 20):
            raise ValueError(f"constant {name} has {key} {given[:40]!r} in another file; expected a whole number")
        return int(given)

    def _numbers(self, name: str, file: str, offset: int, length: int, dtype: np.dtype[Any]) -> Host:
        if not file or file in (os.curdir, os.pardir) or any(mark in file for mark in "/\\:\0"):
            raise ValueError(f"constant {name} lies in {file!r}; expected a file beside the model")
        path = os.path.join(str(self._folder), file)
        try:
            found = os.lstat(path)
            if not stat.S_ISREG(found.st_mode):
                raise ValueError(f"constant {name} lies in {file}, which is no plain file")
            self._lengths[file] = self._lengths.get(file, 0) + length
            if offset + length > found.st_size or self._lengths[file] > found.st_size:
                raise ValueError(f"constant {name} takes {length} bytes from {offset} of {file}, which has not so many")
            return np.fromfile(path, dtype.newbyteorder("<"), length // dtype.itemsize, offset=offset).astype(dtype)
        except OSError as error:
            raise ValueError(f"constant {name} lies in {file}, which cannot be read: {error}") from error
