"""Flags: arguments that are True or False, and nothing that only counts as either."""

from __future__ import annotations

from typing import Any

import numpy as np


def true_or_false(owner: str, name: str, flag: Any) -> bool:
    """A bool of Python or NumPy, as Python's. Raises ValueError for anything else: "no" would be true."""
    if flag is True or flag is False:  # at once, since calls ask too
        return flag
    if not isinstance(flag, np.bool_):
        raise ValueError(f"{owner}: {name} is {flag!r}; expected True or False")
    return bool(flag)
