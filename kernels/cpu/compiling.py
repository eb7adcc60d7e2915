"""How kernels are compiled, and where the result is kept between processes."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import config

from .host import features
from .kept_code import KeptCode

# error_model: without it a check for zero before each division keeps loops from being vectorised.
# contract: fused multiply-add. Nothing that lets NaN or infinity be assumed away, or sums be reordered.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True, "fastmath": {"contract"}}
PLAIN = OPTIONS | {"fastmath": False}
SUMMING = OPTIONS | {"fastmath": {"contract", "reassoc"}}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call, and keep the machine code on disk where a folder can be written."""
    return _compiled(function, OPTIONS)


def plain_kernel(function: Callable[..., Any]) -> Any:
    """The same without fused multiply-adds, which LLVM may choose otherwise where a loop ends than within it.

    An element then has the same bits wherever a share of columns begins.
    """
    return _compiled(function, PLAIN)


def summing_kernel(function: Callable[..., Any]) -> Any:
    """The same of a function that sums over a loop: its terms may be added in another order, by whole vectors."""
    return _compiled(function, SUMMING)


def inlined_kernel(function: Callable[..., Any]) -> Any:
    """The same of a function of many arguments that every step calls: it becomes part of whoever calls it."""
    return _compiled(function, OPTIONS | {"forceinline": True})


def _compiled(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    dispatcher, folder = numba.njit(**options)(function), cache_folder()
    if folder is not None and not config.DISABLE_JIT:
        dispatcher._cache = KeptCode(function, folder)  # where njit(cache=True) puts Numba's
    return dispatcher


@cache
def cache_folder() -> Path | None:
    """Below NUMBA_CACHE_DIR, XDG_CACHE_HOME or ~/.cache; None where there is no home.

    Its name holds a digest of what the machine code depends on: all the kernels' files, the versions of Python and of
    the compiler, and the CPU's features.
    """
    versions = f"{sys.version_info[:2]} {numba.__version__} {llvmlite.__version__}"
    digest = hashlib.sha256(f"{versions} {config.CPU_NAME} {features()}".encode())
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), *here.parent.glob("*.py")]):
        digest.update(path.read_bytes())
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if base.startswith("~"):
        return None
    return Path(base).absolute() / "xprnn" / digest.hexdigest()[:16]
