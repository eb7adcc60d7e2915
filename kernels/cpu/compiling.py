"""How kernels are compiled, and where the result is kept between processes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import config

from .host import features

# error_model: without it a check for zero before each division keeps loops from being vectorised.
# contract: fused multiply-add. Nothing that lets NaN or infinity be assumed away, or sums be reordered.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True, "fastmath": {"contract"}}
SUMMING = OPTIONS | {"fastmath": {"contract", "reassoc"}}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call, and keep the machine code on disk where a folder can be written.

    To see whether kept code is still good, Numba looks at a function's own file only. The folder's name therefore holds
    a digest of all the kernels' files, the compiler's version and the CPU's features.
    """
    return _compiled(function, OPTIONS)


def summing_kernel(function: Callable[..., Any]) -> Any:
    """The same of a function that sums over a loop: its terms may be added in another order, by whole vectors."""
    return _compiled(function, SUMMING)


def inlined_kernel(function: Callable[..., Any]) -> Any:
    """The same of a function of many arguments that every step calls: it becomes part of whoever calls it."""
    return _compiled(function, OPTIONS | {"forceinline": True})


def _compiled(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    folder = cache_folder()
    if folder is None:
        return numba.njit(**options)(function)
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        return numba.njit(cache=True, **options)(function)
    finally:
        config.CACHE_DIR = before


@cache
def cache_folder() -> Path | None:
    """Below NUMBA_CACHE_DIR, XDG_CACHE_HOME or ~/.cache; None where nothing can be written there."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {config.CPU_NAME} {features()}".encode())
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), *here.parent.glob("*.py")]):
        digest.update(path.read_bytes())
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(base) / "xprnn" / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None
