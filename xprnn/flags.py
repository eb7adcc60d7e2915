"""Checks that the tape needs too: of flags, True or False and not what only counts as either, and of lists."""

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


def several(owner: str, name: str, values: Any) -> list[Any]:
    """The things in a list, or in whatever gives them one after another. Raises TypeError for anything else."""
    try:
        return list(values)
    except TypeError:
        raise TypeError(f"{owner}: {name} is a {type(values).__name__}; expected a list") from None
