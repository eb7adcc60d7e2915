"""Arrays in HDF5: only what lies in the file itself, uncompressed, and so no more than its size."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from xprnn.interop.extras import needed

Host = np.ndarray[Any, Any]
P = ParamSpec("P")
R = TypeVar("R")


def guarded(method: Callable[P, R]) -> Callable[P, R]:
    """A method whose errors, as the library gives them for damaged files, are ValueErrors."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except (ValueError, MemoryError):
            raise
        except Exception as error:  # the library has many of its own
            raise ValueError(f"truncated, corrupt, or not HDF5 as Keras writes it: {error}") from None

    return call


class Hdf5:
    """An HDF5 file in memory. Its methods raise ValueError for what is not as it should be.

    Links to elsewhere, external and virtual arrays, and filters, which may be programs, are never followed.
    """

    def __init__(self, content: bytes) -> None:
        self._h5py, self._left = needed("h5py", "a file of Keras", "keras"), len(content)
        _check_heaps(content)
        self.root = self._opened(content)

    @guarded
    def _opened(self, content: bytes) -> Any:
        return self._h5py.File(io.BytesIO(content), "r")

    @guarded
    def find(self, group: Any, *names: str) -> Any:
        """What stands below a group under these names, one after the other; None where there is nothing."""
        for part in "/".join(names).split("/"):
            link = group.get(part, getlink=True)
            if link is None:
                return None
            if not isinstance(link, self._h5py.HardLink):
                raise ValueError(f"{part} is a link to elsewhere, which is not followed")
            group = group[part]
        return group

    def arrays(self, group: Any) -> list[Host]:
        """The arrays "0", "1", ... of a group; none where it is None."""
        found: list[Host] = []
        while group is not None and (dataset := self.find(group, str(len(found)))) is not None:
            found.append(self.array(dataset))
        return found

    @guarded
    def array(self, dataset: Any) -> Host:
        """The numbers of a dataset, of floating dtype and finite."""
        if not isinstance(dataset, self._h5py.Dataset) or dataset.dtype.kind != "f" or dataset.shape is None:
            raise ValueError("an entry is not an array of floating numbers")
        name, size = dataset.name, math.prod(map(int, dataset.shape)) * dataset.dtype.itemsize
        if dataset.is_virtual or dataset.external is not None or dataset.id.get_create_plist().get_nfilters():
            raise ValueError(f"{name} is compressed or lies elsewhere; expected plain numbers in the file")
        if size > dataset.id.get_storage_size() or size > self._left:
            raise ValueError(f"{name} has shape {dataset.shape}, more than the file holds")
        self._left -= size
        found = dataset[()]
        if not np.isfinite(found).all():
            raise ValueError(f"{name} has numbers that are not finite")
        return found

    @guarded
    def words(self, group: Any, name: str) -> list[str] | None:
        """An attribute of words, which Keras parts into several where it is long; None where there is none."""
        if name in group.attrs:
            return self._attribute(group, name)
        found: list[str] = []
        number = 0
        while (part := f"{name}{number}") in group.attrs:
            found += self._attribute(group, part)
            number += 1
        return found if number else None

    @guarded
    def text(self, group: Any, name: str) -> str | None:
        """An attribute of one text; None where there is none."""
        return "".join(self._attribute(group, name)) if name in group.attrs else None

    def _attribute(self, group: Any, name: str) -> list[str]:
        held = group.attrs.get_id(name)
        count = math.prod(map(int, held.shape or ()))
        if count * held.dtype.itemsize > self._left:
            raise ValueError(f"{name} has shape {held.shape}, more than the file holds")
        words = np.ravel(group.attrs[name]) if count else ()
        return [word.decode() if isinstance(word, bytes) else str(word) for word in words]


def _check_heaps(content: bytes) -> None:
    """Raise ValueError for a heap of texts that HDF5's library would walk for ever: it has a free place of no size.

    A heap: "GCOL", a version, its size at 8; from 16 on places of a number (0: free), at 8 their size, and the content
    in eights; the size of a free one counts these 16 bytes too.
    """
    left, start = len(content) // 4, content.find(b"GCOL")
    while start >= 0:
        at, end = start + 16, min(start + int.from_bytes(content[start + 8 : start + 16], "little"), len(content))
        while at + 16 <= end:
            free, size = content[at : at + 2] == b"\0\0", int.from_bytes(content[at + 8 : at + 16], "little")
            left -= 1
            if left < 0 or (free and size < 16):
                raise ValueError("truncated, corrupt, or not HDF5 as Keras writes it: a heap of texts is damaged")
            at += size if free else 16 + (size + 7) // 8 * 8
        start = content.find(b"GCOL", start + 4)
