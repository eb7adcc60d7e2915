"""Array libraries: which one an array belongs to, where new arrays are made, and how arrays move between the two.

Arrays carry their backend: code asks ``xp = namespace(x, w)`` and then speaks the Python array API standard
(https://data-apis.org/array-api/2024.12).
"""

from xprnn.backend.arrays import copied, ones_like, reshaped, summed, to_numpy
from xprnn.backend.namespaces import (
    DTYPES,
    NATIVE,
    Array,
    admit,
    dtype_name,
    library,
    namespace,
    plain,
    shared_namespace,
)
from xprnn.backend.places import (
    Backend,
    available_backends,
    backend_of,
    default_backend,
    devices,
    get_backend,
    synchronize,
    to_backend,
    use_backend,
    zeros_beside,
)

__all__ = [
    "Array",
    "Backend",
    "DTYPES",
    "NATIVE",
    "admit",
    "available_backends",
    "backend_of",
    "copied",
    "default_backend",
    "devices",
    "dtype_name",
    "get_backend",
    "library",
    "namespace",
    "ones_like",
    "plain",
    "reshaped",
    "shared_namespace",
    "summed",
    "synchronize",
    "to_backend",
    "to_numpy",
    "use_backend",
    "zeros_beside",
]
