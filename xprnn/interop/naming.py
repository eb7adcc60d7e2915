"""What errors call a part of a model."""

from __future__ import annotations

from typing import Any


def called(path: str, part: Any) -> str:
    """Its place and its kind; of a whole model the kind alone."""
    return f"{path} ({type(part).__name__})" if path else type(part).__name__
