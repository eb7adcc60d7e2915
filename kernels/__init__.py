"""Compiled kernels, installed as ``xprnn.kernels``. They know arrays and numbers, never xprnn."""

from __future__ import annotations

import importlib


def numba_status() -> str:
    """Numba's version where it imports, else why it does not. Imports it."""
    try:
        numba = importlib.import_module("numba")
    except Exception as error:  # a broken compiler stack raises far more than ImportError
        return f"unavailable ({type(error).__name__}: {error})"
    return str(numba.__version__)
