"""array_api_strict, which finds the same faults, in a third of the time.

For each array it makes a dtype, compares it with up to thirteen others, one by one in Python, and the device with two
more; dtypes are hashed in Python wherever they are looked for; and before Python 3.12 it takes each index through the
slow check of a protocol. Here there is one dtype of each kind, which is found without being compared, arrays of these
on the usual devices are made at once, and a class that Python remembers gives the same answers. What another version
has by other names stays as it is.
"""

import sys
from abc import ABCMeta
from operator import attrgetter

import numpy as np
from array_api_strict import _array_object, _dtypes


class Index(metaclass=ABCMeta):  # noqa: B024
    """typing.SupportsIndex, looked at once for each type."""

    @classmethod
    def __subclasshook__(cls, other):
        return hasattr(other, "__index__")


def same_or(equal):
    """A comparison of which the answer is known where something is compared with itself."""
    return lambda self, other: self is other or equal(self, other)


def keep_one_of_each(kind, known):
    """Dtypes that are made, or copied, are those that there are, and are looked for by which they are."""
    kind.__new__ = lambda cls, np_dtype: known.get(np.dtype(np_dtype)) or object.__new__(cls)
    kind.__reduce__ = lambda self: (kind, (self._np_dtype.name,))
    kind.__eq__, kind.__hash__ = same_or(kind.__eq__), object.__hash__
    for name, module in sys.modules.items():
        for table in vars(module).values() if name.startswith("array_api_strict.") else ():
            if type(table) is dict:
                entries = list(table.items())
                table.clear()
                table.update(entries)  # whose keys have another hash now


def make_at_once(array, known):
    """Arrays are made and combined as ever, but where nothing can be wrong: those of known dtypes on usual devices, and
    two of the same dtype on the same one. What they have is read without a call in Python.
    """
    slowly, usual = array._new, {"CPU_DEVICE", "device1", "device2"}
    check_dtypes, check_device = array._check_allowed_dtypes, array._check_type_device

    def _new(cls, x, /, device):
        dtype = known.get(x.dtype) if isinstance(x, (np.ndarray, np.generic)) else None
        if dtype is None or getattr(device, "_device", None) not in usual:
            return slowly(x, device)
        made = object.__new__(cls)
        made._array, made._dtype, made._device = x if isinstance(x, np.ndarray) else np.asarray(x), dtype, device
        return made

    def same_dtype(self, other, category, op):
        alike = type(other) is array and other._dtype is self._dtype in _dtypes._dtype_categories[category]
        return other if alike else check_dtypes(self, other, category, op)

    def same_device(self, other):
        if type(other) is not array or other._device is not self._device:
            check_device(self, other)

    _new.__qualname__ = slowly.__qualname__  # by which arrays are pickled
    array._new, array._check_allowed_dtypes, array._check_type_device = classmethod(_new), same_dtype, same_device
    array.dtype, array.device = property(attrgetter("_dtype")), property(attrgetter("_device"))


if isinstance(getattr(_dtypes, "_all_dtypes", None), tuple) and hasattr(_array_object.Array, "_dtype"):
    known = {dtype._np_dtype: dtype for dtype in _dtypes._all_dtypes}
    keep_one_of_each(_dtypes.DType, known)
    make_at_once(_array_object.Array, known)
    for module in (_array_object, _dtypes):
        module._all_dtypes = frozenset(_dtypes._all_dtypes)
    for name, dtypes in _dtypes._dtype_categories.items():
        _dtypes._dtype_categories[name] = frozenset(dtypes)
if hasattr(_array_object, "SupportsIndex"):
    _array_object.SupportsIndex = Index
