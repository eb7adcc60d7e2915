"""Names of the columns of a table, held against those that a model was fitted with, as scikit-learn holds them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from xprnn.data.tables import is_table, names_given

SHOWN = 5
"""How many names an error tells of each kind."""


def feature_names(owner: str, X: Any) -> tuple[str, ...]:
    """The names of a table's columns where they are text, or of all tables of a list; else none.

    Raises TypeError for columns of which some are called by text and some are not, ValueError for tables of a list
    whose columns differ.
    """
    if isinstance(X, (list, tuple)) or (isinstance(X, np.ndarray) and X.dtype == object):
        named = ((k, feature_names(f"{owner}: row {k}", each)) for k, each in enumerate(X) if is_table(each))
        first, expected = next(named, (0, ()))
        for k, own in named:
            if own != expected:
                shown, wanted = (", ".join(map(repr, some)) or "no names" for some in (own, expected))
                raise ValueError(f"{owner}: row {k} has columns {shown}; expected {wanted}, as row {first}")
        return expected
    names = names_given(X)
    if all(isinstance(name, str) for name in names):
        return tuple(names)
    if any(isinstance(name, str) for name in names):
        kinds = ", ".join(sorted({type(name).__name__ for name in names}))
        raise TypeError(
            f"{owner}: X has columns called by {kinds}; expected text for all of them, or for none: of a frame of "
            "pandas, X.columns = X.columns.astype(str) makes it text"
        )
    return ()


def require_names(owner: str, X: Any, fitted: Sequence[str], columns: bool) -> None:
    """Raise ValueError for a table whose columns have other names than those fitted, or the same in another order.

    Where one of both has none there is a warning, as then nobody can tell; ``columns``: whether fitted on a table.
    """
    found, name = feature_names(owner, X), owner.partition(".")[0]
    if found and not fitted and columns:
        _warn(f"{owner}: X has feature names, but {name} was fitted without feature names")
    elif fitted and not found and getattr(X, "ndim", 0) == 2:
        _warn(f"{owner}: X does not have valid feature names, but {name} was fitted with feature names")
    elif found and fitted and found != tuple(fitted):
        raise ValueError(
            f"{owner}: The feature names should match those that were passed during fit.\n"
            + "".join(_differences(found, fitted))
        )


def _differences(found: Sequence[str], fitted: Sequence[str]) -> Iterator[str]:
    unseen, missing = set(found) - set(fitted), set(fitted) - set(found)
    if unseen:
        yield f"Feature names unseen at fit time:\n{_listed(unseen)}"
    if missing:
        yield f"Feature names seen at fit time, yet now missing:\n{_listed(missing)}"
    if not unseen and not missing:
        yield "Feature names must be in the same order as they were in fit.\n"


def _listed(names: Collection[str]) -> str:
    more = "- ...\n" if len(names) > SHOWN else ""
    return "".join(f"- {name}\n" for name in sorted(names)[:SHOWN]) + more


def _warn(message: str) -> None:
    """A warning at the line of whoever called the estimator."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].partition(".")[0] == "xprnn":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
