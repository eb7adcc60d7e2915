"""Where the tests in tests/gpu/ run: ``pytest -m gpu`` on a machine with a GPU and CuPy.

XPRNN_GPU_STAND_IN=array_api_strict runs what it can of them without one, to see that the tests themselves work.
"""

import os

import pytest

from xprnn.backend import available_backends, get_backend

NAME = os.environ.get("XPRNN_GPU_STAND_IN", "cupy")
REAL = NAME == "cupy"


def gpu():
    """The backend; skips the module that asks where there is none."""
    reason = available_backends()[NAME]
    if reason:
        pytest.skip(reason, allow_module_level=True)
    if REAL:
        return get_backend(NAME)
    import array_api_strict

    return get_backend(NAME, array_api_strict.Device("device1"))


needs_cupy = pytest.mark.skipif(not REAL, reason="a stand-in has no device memory, streams or kernels")
