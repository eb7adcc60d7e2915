"""array_api_strict, which finds the same faults, in half of the time.

For each array it makes a dtype and compares it with up to thirteen others, one by one in Python, and before Python 3.12
it takes each index through the slow check of a protocol. Sets, in which one dtype of each kind is found without being
compared, and a class that Python remembers give the same answers. What another version has by other names stays as it
is.
"""

from abc import ABCMeta

from array_api_strict import _array_object, _dtypes


class Index(metaclass=ABCMeta):  # noqa: B024
    """typing.SupportsIndex, looked at once for each type."""

    @classmethod
    def __subclasshook__(cls, other):
        return hasattr(other, "__index__")


def one_of_each(make, dtypes):
    """What makes dtypes of NumPy's, giving those that there are."""
    known = {getattr(dtype, "_np_dtype", None): dtype for dtype in dtypes}
    return lambda np_dtype: known.get(np_dtype) or make(np_dtype)


def same_or(equal):
    """A comparison of which the answer is known where something is compared with itself."""
    return lambda self, other: self is other or equal(self, other)


if hasattr(_array_object, "DType") and isinstance(getattr(_dtypes, "_all_dtypes", None), tuple):
    _array_object.DType = one_of_each(_array_object.DType, _dtypes._all_dtypes)
    _dtypes.DType.__eq__ = same_or(_dtypes.DType.__eq__)
for module in (_array_object, _dtypes):
    if isinstance(getattr(module, "_all_dtypes", None), tuple):
        module._all_dtypes = frozenset(module._all_dtypes)
if hasattr(_array_object, "SupportsIndex"):
    _array_object.SupportsIndex = Index
for name, dtypes in getattr(_dtypes, "_dtype_categories", {}).items():
    _dtypes._dtype_categories[name] = frozenset(dtypes)
