"""The libraries that other formats belong to, which are no dependencies."""

from __future__ import annotations

import importlib
from typing import Any


def needed(library: str, owner: str, extra: str | None = None) -> Any:
    """A library by name. Raises ImportError that names the extra to install, the library's name unless it is said."""
    try:
        return importlib.import_module(library)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == library
        why = "which is not installed" if missing else f"which does not import ({error})"
        raise ImportError(f"{owner} needs {library}, {why}: pip install 'xprnn[{extra or library}]'") from error
