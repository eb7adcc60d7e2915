"""Weights out of PyTorch's files: their pickles are read as data, by a reader that knows no code.

What ``torch.save`` has written since PyTorch 1.6: a zip file of a pickle and, beside it, the bytes of each storage.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from typing import Any, BinaryIO, ClassVar

import numpy as np

from xprnn.storage import ModelFileError
from xprnn.whole_files import Path_, checked_path

STORAGES = {
    "BoolStorage": "?", "ByteStorage": "u1", "CharStorage": "i1", "ShortStorage": "<i2", "IntStorage": "<i4",
    "LongStorage": "<i8", "HalfStorage": "<f2", "FloatStorage": "<f4", "DoubleStorage": "<f8", "BFloat16Storage": "",
}  # fmt: skip
OPCODES = (
    "PROTO FRAME STOP MARK POP MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET NONE NEWTRUE NEWFALSE BININT "
    "BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST "
    "APPEND APPENDS EMPTY_DICT SETITEM SETITEMS GLOBAL STACK_GLOBAL BINPERSID REDUCE BUILD"
)
CODES = [getattr(pickle, name)[0] for name in OPCODES.split()]
Host = np.ndarray[Any, Any]


def load(path: Path_) -> Any:
    """What ``torch.save`` wrote to a file: arrays by name, ``layer.load_state_dict(load(path))``.

    A file may hold dicts, lists, numbers and texts around its tensors, such as ``{"model": ..., "epoch": 3}``, and
    comes back as them. Tensors become NumPy arrays on the host that must not be written to; bfloat16 and float16 become
    float32, which holds each of their numbers. PyTorch itself is not needed, and nothing in a file is ever run.

    Raises FileNotFoundError or another OSError where it cannot be read; ModelFileError, a ValueError, where it is
    truncated, corrupt, older than PyTorch 1.6, or holds anything else, such as a whole module, which is code.
    """
    with open(checked_path(path), "rb") as file:
        try:
            if not zipfile.is_zipfile(file):
                raise ValueError(
                    "it is no zip file, as torch.save has written since PyTorch 1.6; where PyTorch can read it, "
                    "torch.save(torch.load(path), path) makes one of it"
                )
            with zipfile.ZipFile(file) as archive:
                return _Archive(archive, file).read()
        except Exception as error:  # zipfile, pickle and NumPy have many of their own
            raise ModelFileError(f"load: {path} is truncated, corrupt or no file of weights: {error}") from error


class _Archive:
    """The records of a file, none of which may be larger than it."""

    def __init__(self, archive: zipfile.ZipFile, file: BinaryIO) -> None:
        self._archive, infos = archive, archive.infolist()
        size = file.seek(0, 2)
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos) or sum(i.file_size for i in infos) > size:
            raise ValueError("its records are compressed, or larger than the file; torch.save writes neither")
        pickles = [info.filename for info in infos if info.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"it has {len(pickles)} records data.pkl; expected one")
        self._root = pickles[0].removesuffix("data.pkl")
        if any(i.filename == f"{self._root}byteorder" and archive.read(i) != b"little" for i in infos):
            raise ValueError("it was written on a machine of another byte order")
        self._storages: dict[tuple[str, str], Host] = {}

    def read(self) -> Any:
        """What the pickle says."""
        with self._archive.open(f"{self._root}data.pkl") as file:
            return _Reader(file, self).load()

    def storage(self, saved: Any) -> Host:
        """The numbers of a storage, flat; one array for all tensors that share it."""
        kind, tag, key, _, count = saved
        if kind != "storage" or not isinstance(tag, _Storage):
            raise ValueError(f"it refers to {type(tag).__name__}; expected a storage")
        if (tag.name, key) not in self._storages:
            self._storages[tag.name, key] = _numbers(tag.name, self._archive.read(f"{self._root}data/{key}"))
        numbers = self._storages[tag.name, key]
        if len(numbers) != count:
            raise ValueError(f"storage {key} has {len(numbers)} numbers; expected {count}")
        return numbers


def _numbers(storage: str, data: bytes) -> Host:
    if storage == "BFloat16Storage":  # the upper half of a float32
        numbers = (np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    else:
        numbers = np.frombuffer(data, STORAGES[storage])
    numbers = numbers.astype(np.float32) if numbers.dtype == np.float16 else numbers
    numbers.flags.writeable = False
    return numbers


class _Storage:
    """The name of a type of storage."""

    def __init__(self, name: str) -> None:
        self.name = name


def _tensor(
    numbers: Any, offset: Any, size: Any, stride: Any, grad: Any = None, hooks: Any = None, bits: Any = None
) -> Host:
    """A view of a storage. Raises ValueError for one that reaches beyond it, or is larger, and for ``bits``: that its
    numbers stand for their negatives or conjugates.
    """
    if bits:
        raise ValueError("a tensor's sign is not in its numbers; save tensor.resolve_neg(), or a clone of it")
    if not isinstance(numbers, np.ndarray) or numbers.ndim != 1:
        raise ValueError("a tensor has no storage")
    shape, steps = _whole(size), _whole(stride)
    (start,) = _whole((offset,))
    count = 1
    for length in shape:  # of Python's integers, which do not overflow
        count *= length
    last = start + sum((length - 1) * step for length, step in zip(shape, steps, strict=True))
    if count and last >= len(numbers):
        raise ValueError(f"a tensor of shape {shape} reaches beyond its storage of {len(numbers)} numbers")
    if count > len(numbers):
        raise ValueError(f"a tensor of shape {shape} is expanded from {len(numbers)} numbers; save a clone of it")
    if not count:
        return np.empty(shape, numbers.dtype)
    strides = tuple(step * numbers.itemsize for step in steps)
    return np.lib.stride_tricks.as_strided(numbers[start:], shape, strides, writeable=False)


def _whole(numbers: Any) -> tuple[int, ...]:
    if not isinstance(numbers, tuple) or len(numbers) > 64 or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError("a tensor's shape, strides or offset are no whole numbers")
    return numbers


def _parameter(data: Any, *_: Any) -> Any:
    return data


KNOWN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


class _Reader(pickle._Unpickler):  # the one in Python, which takes no more memory than it has read
    """Of pickle's operations those that data need, and of names those of tensors."""

    stack: list[Any]

    def __init__(self, file: Any, archive: _Archive) -> None:
        super().__init__(file)
        self._records = archive

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return _Storage(name)
        if (module, name) not in KNOWN and name.startswith("_rebuild_"):
            raise ValueError(
                f"it holds a tensor by {module}.{name}, and no plain one of bool, int8 to int64, uint8 or floating "
                "numbers; save tensor.to_dense(), .dequantize() or .float()"
            )
        if (module, name) not in KNOWN:
            raise ValueError(f"it holds {module}.{name}, which is code and not data; save a state_dict")
        return KNOWN[module, name]

    def persistent_load(self, saved: Any) -> Any:
        return self._records.storage(saved)

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        if not any(function is known for known in KNOWN.values()):
            raise ValueError("it calls what is no function")
        self.stack[-1] = function(*arguments)

    def load_build(self) -> None:
        """Attributes of an OrderedDict, such as the versions of modules: passed over."""
        self.stack.pop()

    dispatch: ClassVar[Any] = {code: pickle._Unpickler.dispatch[code] for code in CODES} | {
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
    }
